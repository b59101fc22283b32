import { literalsOf, type Member, membersOf } from './declarations.ts';

/** Where a table comes from, and which other tables there are on its page. */
export interface TableSource {
  readonly file: string;
  readonly name: string;
  readonly defaults: Readonly<Record<string, unknown>>;
  readonly tables: readonly string[];
}

/**
 * The options of an interface as a Markdown table, and below it what a docstring says in more than one paragraph.
 *
 * @throws {Error} where a docstring names another default than the exported one, or none
 */
export function optionsTable({ file, name, defaults, tables }: TableSource): string {
  const notes: string[] = [];
  const links = (text: string) => linked(text, tables);
  const members = membersOf(file, name);
  const rows = [...members.filter(isRequired), ...members.filter((one) => !isRequired(one))].map((member) => {
    const { meaning, note, stated } = splitDoc(member.doc);
    const problem = defaultProblem(member, stated, defaults);
    if (problem !== undefined) throw new Error(`${file}: ${name}.${member.name} ${problem}`);
    if (note !== '') notes.push(`\`${member.name}\`:\n\n${links(note)}`);
    const more = note === '' ? '' : ' More below.';
    const shown = isRequired(member) ? 'required' : defaultCell(stated ?? '');
    return `| \`${member.name}\` | ${typeCell(file, member, tables)} | ${shown} | ${cell(links(meaning))}${more} |`;
  });
  const table = ['| option | unit or type | default | meaning |', '| --- | --- | --- | --- |', ...rows].join('\n');
  return [table, ...notes].join('\n\n');
}

/** Parts a docstring's statement of the default from what else it says, and its first paragraph from the others. */
function splitDoc(doc: string): { meaning: string; note: string; stated: string | undefined } {
  // The tag `@default`, which may be the last one or have others after it; or a sentence.
  const statement =
    /(?:^|\s)@default (.+?)(?=\n@|\n\n|$)/s.exec(doc) ??
    /(?:^|(?<=[.:;)]\s))Default(?::|(?= )) ?(.+?)\.(?=\s|$)/s.exec(doc);
  const rest =
    statement === null ? doc : doc.slice(0, statement.index) + doc.slice(statement.index + statement[0].length);
  const [first = '', ...more] = rest.split('\n\n').map((one) => one.trim());
  // A sentence that goes on in a list must not be torn from it.
  const end = more.length > 0 ? first.lastIndexOf('.') + 1 : first.length;
  const note = [first.slice(end).trim(), ...more].filter((one) => one !== '').join('\n\n');
  return { meaning: first.slice(0, end), note, stated: statement?.[1]?.replace(/\s+/g, ' ') };
}

const isRequired = ({ optional, doc }: Member): boolean => !optional && splitDoc(doc).stated === undefined;

/** Numbers are written in one way, whatever way a docstring has. */
const defaultCell = (stated: string): string =>
  cell(/^\{@link \w+\}$/.test(stated) ? 'those of its table' : stated.replace(/(\d)[,_](?=\d{3})/g, '$1 '));

function defaultProblem(
  { name, optional }: Member,
  stated: string | undefined,
  defaults: TableSource['defaults'],
): string | undefined {
  const value = defaults[name];
  if (stated === undefined) {
    if (value !== undefined) return `has the default ${JSON.stringify(value)}, and its docstring does not say so`;
    return optional ? 'has a docstring without a default' : undefined;
  }
  // A group of options has its defaults in a table of its own.
  if (value === undefined || (typeof value === 'object' && !Array.isArray(value))) return undefined;
  return statesValue(stated, value) ? undefined : `says "Default ${stated}", but it is ${JSON.stringify(value)}`;
}

function statesValue(stated: string, value: unknown): boolean {
  if (value === Number.POSITIVE_INFINITY) return stated.startsWith('`Infinity`');
  if (typeof value === 'number') return numberOf(stated.replace(/^.* else /, '')) === value;
  if (Array.isArray(value)) {
    return value.length === 0 ? /^none\b/.test(stated) : value.every((one) => stated.includes(String(one)));
  }
  return new RegExp(`^\`?${value}\`?(?!\\w)`).test(stated);
}

/** Of `10 000`, `1,000,000`, `1.25` and `16 MiB`, whatever follows. */
function numberOf(stated: string): number {
  const [digits = ''] = /^\d[\d ,_]*(?:\.\d+)?/.exec(stated) ?? [];
  const number = Number(digits.replace(/[ ,_]/g, '') || Number.NaN);
  return stated.slice(digits.trimEnd().length).startsWith(' MiB') ? number * 1024 * 1024 : number;
}

function typeCell(file: string, { name, type }: Member, tables: readonly string[]): string {
  const plain = type.replace(/ \| undefined\b/g, '').replace(/^NonNullable<(.*)>$/, '$1');
  const named = tables.find((one) => plain.includes(one));
  if (named !== undefined) {
    const code = plain === named ? '' : `\`${plain.replaceAll('|', '\\|')}\`: `;
    return `${code}[${named}](#${named.toLowerCase()})`;
  }
  const literals = /^[A-Z]\w+$/.test(plain) && !plain.startsWith('Gateway') ? namedLiterals(file, plain) : undefined;
  if (literals !== undefined) return literals.map((one) => `\`${one}\``).join(', ');
  const unit = unitOf(name);
  if (plain === 'number' && unit !== undefined) return unit;
  return `\`${plain.replaceAll('|', '\\|')}\``;
}

function namedLiterals(file: string, type: string): string[] | undefined {
  try {
    return literalsOf(file, type);
  } catch {
    // A type of another package.
    return undefined;
  }
}

function unitOf(name: string): string | undefined {
  if (name.endsWith('Ms')) return 'ms';
  if (name.endsWith('BytesPerSecond')) return 'bytes/s';
  if (name.endsWith('Bytes')) return 'bytes';
  return /(?:Ratio|[Jj]itter|share|sample)$/.test(name) ? 'share, 0 to 1' : undefined;
}

/** Markdown keeps a table's row on one line. */
const cell = (text: string): string => text.replace(/\s+/g, ' ').replaceAll('|', '\\|');

/** What typedoc would make a link: to a table of the page, or a name. */
const linked = (text: string, tables: readonly string[]): string =>
  text.replace(/\{@link (\w+)\}/g, (_link, name: string) =>
    tables.includes(name) ? `[${name}](#${name.toLowerCase()})` : `\`${name}\``,
  );
