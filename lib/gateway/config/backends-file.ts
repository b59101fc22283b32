import { assertBackends, type BackendOptions, OptionsError } from '../../index.ts';
import { StartError } from '../start-error.ts';
import { jsonPosition } from './json-position.ts';
import { readBounded, WatchedFiles } from './watched-files.ts';

export type Backends = readonly (string | BackendOptions)[];

/** A list of backends that cannot be used. Everything that is wrong with it has its line in `problems`. */
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

  /** Calls back when the file has become another one. */
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
