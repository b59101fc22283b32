import { readFile, stat } from 'node:fs/promises';
import { assertBackends, type BackendOptions, OptionsError } from '../../index.ts';
import { StartError } from '../start-error.ts';
import { jsonPosition } from './json-position.ts';

export type Backends = readonly (string | BackendOptions)[];

/** A list of backends that cannot be used. Everything that is wrong with it has its line in `problems`. */
export class BackendsError extends StartError {}

/** Far more than a thousand backends take. */
const MAX_BYTES = 1_048_576;

const LOOK_EVERY_MS = 500;

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'this user may not read it',
  EISDIR: 'it is a directory',
};

/**
 * The backends in a JSON file: an array of URLs, or of objects with url, weight and keepAlive.
 *
 * It is watched by looking at it, not by asking for events: those are lost when an editor or Kubernetes puts another
 * file in its place, and do not exist on network drives.
 */
export class BackendsFile {
  readonly name: string;
  readonly #path: string;
  readonly #lookEveryMs: number;
  /** What told the file that was read from others, and the one that was last looked at. */
  #read = '';
  #seen = '';
  #timer: NodeJS.Timeout | undefined;

  constructor(path: string, lookEveryMs: number = LOOK_EVERY_MS) {
    this.name = `BACKENDS_FILE ${path}`;
    this.#path = path;
    this.#lookEveryMs = lookEveryMs;
  }

  /** @throws {BackendsError} that names every problem. */
  async read(): Promise<Backends> {
    this.#read = await this.#look();
    let text: string;
    try {
      const found = await stat(this.#path);
      // A pipe without a writer would never end.
      if (!found.isFile() && !found.isDirectory()) throw new BackendsError([`${this.name}: it is not a regular file`]);
      const { size } = found;
      if (size > MAX_BYTES) throw new BackendsError([`${this.name}: it is larger than ${MAX_BYTES} bytes`]);
      text = await readFile(this.#path, 'utf8');
    } catch (error) {
      if (error instanceof BackendsError) throw error;
      const { code = '', message } = error as NodeJS.ErrnoException;
      throw new BackendsError([`${this.name}: cannot be read: ${REASONS[code] ?? message}`]);
    }
    return this.#parse(text);
  }

  /** Calls back when the file has become another one. */
  watch(changed: () => void): void {
    this.#timer = setTimeout(async () => {
      const now = await this.#look();
      if (this.#timer === undefined) return;
      // A file that is being written is another one at each look: it is read once it has come to rest.
      const isAtRest = now === this.#seen;
      this.#seen = now;
      if (isAtRest && now !== this.#read) {
        this.#read = now;
        changed();
      }
      this.watch(changed);
    }, this.#lookEveryMs).unref();
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  async #look(): Promise<string> {
    try {
      const { dev, ino, size, mtimeNs, ctimeNs } = await stat(this.#path, { bigint: true });
      return [dev, ino, size, mtimeNs, ctimeNs].join();
    } catch (error) {
      return String((error as NodeJS.ErrnoException).code);
    }
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
