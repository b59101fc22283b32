import { assertBackends, type BackendOptions, OptionsError } from '../../index.ts';
import { StartError } from '../start-error.ts';
import { readBounded, WatchedFiles } from './watched-files.ts';

const SPACE = /[ \t\n\r]*/y;
// biome-ignore-start lint/suspicious/noControlCharactersInRegex: RFC 8259 wants them escaped in strings.
const TOKEN =
  /[{}[\],:]|"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.+-])|(?:true|false|null)(?!\w)/y;
// biome-ignore-end lint/suspicious/noControlCharactersInRegex: RFC 8259 wants them escaped in strings.

/** What may follow, by the first character of a token; `v` stands for all values that are neither objects nor lists. */
const NEXT: Readonly<Record<string, string>> = {
  value: 'v"{[',
  'value or end': 'v"{[]',
  key: '"',
  'key or end': '"}',
  colon: ':',
  'comma or end': ',}]',
};

export type Backends = readonly (string | BackendOptions)[];

/** An invalid list of backends. `problems` has a line for each problem. */
export class BackendsError extends StartError {}

/** The backends in a JSON file: an array of URLs, or of objects with url, weight and keepAlive. */
export class BackendsFile {
  readonly name: string;
  readonly #path: string;
  readonly #files: WatchedFiles;

  constructor(path: string, lookEveryMs?: number) {
    this.name = `BACKENDS_FILE ${path}`;
    this.#path = path;
    this.#files = new WatchedFiles(() => [path], lookEveryMs);
  }

  /** @throws {BackendsError} that names every problem. */
  async read(): Promise<Backends> {
    await this.#files.mark();
    let text: string;
    try {
      text = await readBounded(this.#path);
    } catch (error) {
      throw new BackendsError([`${this.name}: ${(error as Error).message}`]);
    }
    return this.#parse(text);
  }

  /** Calls back when the file has changed. */
  watch(changed: () => void): void {
    this.#files.watch(changed);
  }

  close(): void {
    this.#files.close();
  }

  #parse(text: string): Backends {
    let list: unknown;
    try {
      list = JSON.parse(text);
    } catch {
      throw new BackendsError([`${this.name}: is not JSON from ${jsonPosition(text)} on`]);
    }
    try {
      assertBackends(list);
      return list;
    } catch (error) {
      if (error instanceof OptionsError) throw new BackendsError(error.problems.map((one) => `${this.name}: ${one}`));
      throw error;
    }
  }
}

/**
 * The position of the first JSON error, in words. The message of `JSON.parse()` shows a piece of the text, which may contain a password, and
 * for some errors it has no position.
 */
export function jsonPosition(text: string): string {
  const before = text.slice(0, brokenAt(text)).split('\n');
  return `line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}`;
}

/** Index of the first token that is not allowed at its position. */
function brokenAt(text: string): number {
  const open: string[] = [];
  let next = 'value';
  for (let at = 0; ; at = TOKEN.lastIndex) {
    SPACE.lastIndex = at;
    SPACE.exec(text);
    TOKEN.lastIndex = SPACE.lastIndex;
    const place = SPACE.lastIndex;
    const token = TOKEN.exec(text)?.[0];
    const first = token === undefined ? undefined : /^[-\dtfn]/.test(token) ? 'v' : (token[0] as string);
    if (first === undefined || NEXT[next]?.includes(first) !== true) return place;
    if (first === '{' || first === '[') open.push(first);
    if (first === '}' || first === ']') {
      if (open.pop() !== (first === '}' ? '{' : '[')) return place;
    }
    if (first === '{') next = 'key or end';
    else if (first === '[') next = 'value or end';
    else if (next.startsWith('key') && first === '"') next = 'colon';
    else if (first === ':') next = 'value';
    else if (first === ',') next = open.at(-1) === '{' ? 'key' : 'value';
    else next = open.length > 0 ? 'comma or end' : 'nothing';
  }
}
