import { existsSync, readdirSync } from 'node:fs';
import { basename, dirname, isAbsolute, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type * as Yaml from 'yaml';
import { closestWord } from '../../../core/closest-word.ts';
import { assertDeclaration, type Declaration, OptionsError, serviceRouterDefaults } from '../../../index.ts';
import { StartError } from '../../start-error.ts';
import { readBounded, WatchedFiles } from '../watched-files.ts';
import { type ParsedText, type Path, parseText, type TextProblem } from './yaml-text.ts';

/** An invalid declaration of services and routes. `problems` has a line for each problem. */
export class GatewayFileError extends StartError {}

type Problem = OptionsError['details'][number];

const MAX_SHOWN = 100;

/** Keys whose values are not shown, wherever they stand. */
const SECRET = /secret|password|passphrase|token|key|cert|authorization|cookie/i;

/** Files that belong to a declaration, by path. */
interface OtherFiles {
  /** Those that values come from. */
  readonly referred: Set<string>;
  /** Those that it names, and that no other part watches. */
  readonly named: Set<string>;
}

const noFiles = (): OtherFiles => ({ referred: new Set(), named: new Set() });

/** Options whose values are paths of pages; those of `pages` are such values, too. */
const PAGES = ['html'];
/** The authenticator watches its keys. It does not exist while the declaration is refused. */
const PAGES_AND_KEYS = [...PAGES, 'keys'];

/** A file of services and routes, in YAML 1.2 or JSON: `GATEWAY_CONFIG`. */
export class GatewayFile {
  readonly name: string;
  readonly #path: string;
  readonly #env: () => NodeJS.ProcessEnv;
  readonly #files: WatchedFiles;
  #others: OtherFiles = noFiles();
  /** The last good result of `read()`, and what it was made from. */
  #last: { readonly from: string; readonly declaration: Declaration } | undefined;

  /** @param env Gives the variables that its values refer to. */
  constructor(path: string, env: () => NodeJS.ProcessEnv, lookEveryMs?: number) {
    this.name = `GATEWAY_CONFIG ${path}`;
    this.#path = path;
    this.#env = env;
    this.#files = new WatchedFiles(() => [path, ...this.#others.referred, ...this.#others.named], lookEveryMs);
  }

  /**
   * Gives the same object as before if text and variables are the same and no value comes from another file: checking a long file takes as
   * much time as thousands of requests.
   *
   * @throws {GatewayFileError} that names every problem, with its line and column.
   */
  async read(): Promise<Declaration> {
    const before = this.#others;
    await this.#files.mark();
    let text: string;
    try {
      text = await readBounded(this.#path);
    } catch (error) {
      throw new GatewayFileError([`${this.#path}: ${(error as Error).message}`]);
    }
    const env = this.#env();
    const from = JSON.stringify([text, env]);
    if (this.#last?.from === from) return this.#last.declaration;
    this.#last = undefined;
    this.#others = noFiles();
    try {
      const declaration = parseDeclaration(text, this.#path, await loadYaml(), env, this.#others);
      if (this.#others.referred.size === 0) this.#last = { from, declaration };
      return declaration;
    } finally {
      // The list of files may have changed, so the watch starts with their present state.
      if (!isDeepStrictEqual(this.#others, before)) await this.#files.mark();
    }
  }

  /** Calls back when the file has changed, or a file that a value comes from, or that the last reading needed. */
  watch(changed: () => void): void {
    this.#files.watch(changed);
  }

  close(): void {
    this.#files.close();
  }
}

/**
 * @param name Stands for the path of the text.
 * @throws {GatewayFileError}
 */
export const readDeclaration = async (text: string, name: string, env: NodeJS.ProcessEnv): Promise<Declaration> =>
  parseDeclaration(text, name, await loadYaml(), env);

async function loadYaml(): Promise<typeof Yaml> {
  try {
    return await import('yaml');
  } catch (cause) {
    throw new GatewayFileError(['GATEWAY_CONFIG needs the package yaml: npm install yaml'], { cause });
  }
}

/**
 * @param others Gets the paths of other files.
 * @throws {GatewayFileError}
 */
export function parseDeclaration(
  text: string,
  path: string,
  yaml: typeof Yaml,
  env: NodeJS.ProcessEnv,
  { referred, named }: OtherFiles = noFiles(),
): Declaration {
  const parsed = parseText(yaml, text, { env, files: referred }, path.endsWith('.json'));
  const problems = [...parsed.problems];
  if (!parsed.isBroken) problems.push(...declarationProblems(parsed));
  for (const file of namedFiles(parsed.value, problems.length > 0 ? PAGES_AND_KEYS : PAGES)) named.add(file);
  if (problems.length === 0) return { ...serviceRouterDefaults, ...(parsed.value as Declaration) };
  problems.sort((a, b) => a.line - b.line || a.column - b.column);
  // The parser of YAML may find a fault twice.
  const all = [...new Set(problems.map((one) => lineOf(basename(path), one)))];
  const lines = all.slice(0, MAX_SHOWN).map((line) => withMeantFile(line, path));
  if (all.length > MAX_SHOWN) lines.push(`${basename(path)}: and ${all.length - MAX_SHOWN} more problems`);
  throw new GatewayFileError(lines);
}

/** @param value May be no valid declaration. */
function namedFiles(value: unknown, options: readonly string[], key = ''): readonly string[] {
  if (typeof value === 'string') return options.includes(key) ? [value] : [];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, one]) => namedFiles(one, options, key === 'pages' ? 'html' : name));
}

/** A hint for a file that does not exist. */
const withMeantFile = (text: string, path: string): string =>
  text.replace(/(?:"([^"]+)"|the file (\S+)) cannot be read: no such file/, (whole, quoted, plain) => {
    return whole + meantFile(quoted ?? plain, path);
  });

const lineOf = (file: string, { line, column, path, text }: TextProblem): string =>
  `${file}:${line}:${column} ${path.length === 0 ? '' : `${shownPath(path)}: `}${text}`;

/** `services.users.backends[0]` */
const shownPath = (path: Path): string =>
  path.map((one, index) => (typeof one === 'number' ? `[${one}]` : `${index === 0 ? '' : '.'}${one}`)).join('');

function declarationProblems(parsed: ParsedText): TextProblem[] {
  const { problems, placeOf } = parsed;
  try {
    assertDeclaration(parsed.value, { files: true });
    return [];
  } catch (error) {
    if (!(error instanceof OptionsError)) throw error;
    return error.details
      .filter(({ path, text }) => text.includes('unknown option') || !problems.some((one) => isIn(one.path, path)))
      .map((problem) => ({ ...placeOf(problem.path), ...placed(problem, parsed) }));
  }
}

/** Whether a path leads to a value, or to an item in it, so that a problem is reported only once. */
const isIn = (path: Path, value: Path): boolean =>
  value.every((key, index) => path[index] === key) && path.slice(value.length).every((key) => typeof key === 'number');

/** Removes the words at the beginning of a problem that repeat its path. */
function placed({ path, text }: Problem, parsed: ParsedText): { path: Path; text: string } {
  const isSecret =
    parsed.isReferred(path) ||
    path.some((key) => typeof key === 'string' && (key === 'authentication' || SECRET.test(key)));
  let rest = isSecret ? text.replace(/, got .*$/s, '') : text;
  let said = 0;
  for (const key of path) {
    const label = typeof key === 'number' ? `\\w[\\w ]* ${key + 1}` : `(?:${literal(key)}|"${literal(key)}")`;
    const cut = rest.replace(new RegExp(`^${label}: `), '');
    if (cut === rest) break;
    rest = cut;
    said += 1;
  }
  return { path: path.slice(0, said), text: rest };
}

const literal = (text: string): string => text.replace(/[^\w]/g, '\\$&');

/** Finds the file that was probably meant: paths are relative to the working directory, and not to the file that contains them. */
function meantFile(missing: string, writtenIn: string): string {
  const meant = besideFile(missing, writtenIn) ?? misspelt(missing);
  if (meant !== undefined) return `: did you mean ${meant}?`;
  return isAbsolute(missing) ? '' : ` (in ${process.cwd()})`;
}

function besideFile(missing: string, writtenIn: string): string | undefined {
  const path = join(dirname(writtenIn), missing);
  return existsSync(path) ? path : undefined;
}

function misspelt(missing: string): string | undefined {
  try {
    const folder = readdirSync(dirname(missing), { withFileTypes: true });
    const files = folder.filter((entry) => !entry.isDirectory()).map((entry) => entry.name);
    const name = closestWord(basename(missing), files);
    return name === undefined ? undefined : join(dirname(missing), name);
  } catch {
    // The folder does not exist either.
    return undefined;
  }
}
