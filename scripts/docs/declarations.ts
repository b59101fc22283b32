import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** One line of an interface, with what its docstring says. */
export interface Member {
  readonly name: string;
  readonly optional: boolean;
  /** As it stands in the source, on one line. */
  readonly type: string;
  readonly doc: string;
}

/**
 * The members of an interface, those that it inherits first; of a `Pick<Interface, …>` or `Omit<Interface, …>`, the ones that it has. Reads the layout
 * that the formatter gives our sources, and nothing else: what it cannot read is an error, never a missing row.
 *
 * @throws {Error} where there is no such interface, or a member without a docstring
 */
export function membersOf(file: string, name: string): Member[] {
  const declared = declarationOf(
    file,
    name,
    new RegExp(`^(?:export )?(?:interface ${name}\\b|type ${name} = (?:Pick|Omit)<)`),
  );
  const { source } = declared;
  const picked = new RegExp(`^(?:export )?type ${name} = Pick<\\s*(\\w+),([^>]*)>;`, 'm').exec(source);
  if (picked !== null) {
    const names = [...(picked[2] as string).matchAll(/'(\w+)'/g)].map(([, one]) => one);
    return membersOf(declared.file, picked[1] as string).filter((member) => names.includes(member.name));
  }
  const omitted = new RegExp(`^(?:export )?type ${name} = Omit<\\s*(\\w+),([^>]*)>;`, 'm').exec(source);
  if (omitted !== null) {
    const names = [...(omitted[2] as string).matchAll(/'(\w+)'/g)].map(([, one]) => one);
    return membersOf(declared.file, omitted[1] as string).filter((member) => !names.includes(member.name));
  }
  const head = new RegExp(`^(?:export )?interface ${name}(?: extends ([\\w, ]+))? {\\n(.*?)^}`, 'ms').exec(source);
  if (head === null) throw new Error(`${declared.file}: cannot read the interface ${name}`);
  const inherited = (head[1] ?? '').split(',').map((one) => one.trim());
  const own = readMembers(head[2] as string, `${declared.file}: ${name}`);
  const further = inherited.filter((one) => one !== '').flatMap((one) => membersOf(declared.file, one));
  return [...further.filter((one) => !own.some((member) => member.name === one.name)), ...own];
}

/** The values of a type that is a union of literals, another such type without one value, or of the names in a list; nothing for any other type. */
export function literalsOf(file: string, name: string): string[] | undefined {
  const { file: declaredIn, source } = declarationOf(
    file,
    name,
    new RegExp(`^(?:export )?(?:interface|type) ${name}\\b`),
  );
  const text = new RegExp(`^(?:export )?type ${name} =([^;]*);`, 'm').exec(source)?.[1] ?? '';
  const [, all, without] = /^\s*Exclude<(\w+), '([^']*)'>$/.exec(text) ?? [];
  if (all !== undefined) return literalsOf(declaredIn, all)?.filter((one) => one !== without);
  const list = /^\s*\(typeof (\w+)\)\[number\]$/.exec(text)?.[1];
  const union =
    list === undefined ? text : new RegExp(`^(?:export )?const ${list} = (\\[[^\\]]*\\])`, 'm').exec(source)?.[1];
  const literals = [...(union ?? '').matchAll(/'([^']*)'/g)].map(([, one = '']) => one);
  const rest = (union ?? '').replace(/'[^']*'|[[\]|,\s]/g, '');
  return literals.length > 0 && rest === '' ? literals : undefined;
}

/** The file in which something is declared, found by way of imports and re-exports. */
export function declarationOf(file: string, name: string, declaration: RegExp): { file: string; source: string } {
  const source = readFileSync(file, 'utf8');
  if (new RegExp(declaration, 'm').test(source)) return { file, source };
  for (const [, names = '', from = ''] of source.matchAll(
    /^(?:import|export)(?: type)? \{([^}]*)\} from '(\.[^']+)'/gm,
  )) {
    const local = names.split(',').map((one) => one.trim().replace(/^type /, ''));
    if (local.some((one) => one.split(' as ')[0] === name))
      return declarationOf(join(dirname(file), from), name, declaration);
  }
  throw new Error(`${file}: there is no ${name}`);
}

/** Takes the comment signs off a docstring; paragraphs and lists keep their line breaks. */
const plainDoc = (comment: string): string =>
  comment
    .replace(/^\s*\/\*\*|\*\/\s*$/g, '')
    .split('\n')
    .map((line) => line.replace(/^\s*\* ?/, '').trimEnd())
    .join('\n')
    .trim();

function readMembers(body: string, where: string): Member[] {
  const members: Member[] = [];
  let rest = body;
  while (rest.trim() !== '') {
    const next = /^\s*(\/\*\*.*?\*\/)\s*(?:readonly )?(\w+)(\?)?: /s.exec(rest);
    if (next === null)
      throw new Error(`${where}: cannot read a member, or it has no docstring, at ${rest.slice(0, 80)}`);
    const [whole, comment = '', name = '', optional] = next;
    const length = lengthOfType(rest.slice(whole.length));
    const type = rest.slice(whole.length, whole.length + length).replace(/\s+/g, ' ');
    members.push({ name, optional: optional !== undefined, type, doc: plainDoc(comment) });
    rest = rest.slice(whole.length + length + 1);
  }
  return members;
}

/** Up to the semicolon that is in no bracket. */
function lengthOfType(text: string): number {
  let depth = 0;
  for (const [index, sign] of [...text].entries()) {
    if ('({['.includes(sign)) depth += 1;
    else if (')}]'.includes(sign)) depth -= 1;
    else if (sign === ';' && depth === 0) return index;
  }
  throw new Error(`a type has no end: ${text.slice(0, 80)}`);
}
