import type { Backends } from './backends-file.ts';
import type { Logger } from './logger.ts';
import { StartError } from './start-error.ts';

/** Where the list of backends can be read again. */
export interface BackendsSource {
  /** For the log. */
  readonly name: string;
  /** @throws {BackendsError} when it holds no usable list. */
  read(): Promise<Backends>;
}

/** Reads the backends again and puts them to use. A bad list is refused whole, in one line of the log. */
export class Reload {
  readonly #source: BackendsSource;
  readonly #use: (backends: Backends) => void;
  readonly #log: Logger;
  #last: Promise<void> = Promise.resolve();

  constructor(source: BackendsSource, use: (backends: Backends) => void, log: Logger) {
    this.#source = source;
    this.#use = use;
    this.#log = log;
  }

  /**
   * One after the other, so that the last one to be asked for decides.
   *
   * @param why For the log, like `SIGHUP`.
   */
  run(why: string): Promise<void> {
    this.#last = this.#last.then(() => this.#run(why));
    return this.#last;
  }

  async #run(why: string): Promise<void> {
    const { name } = this.#source;
    try {
      const backends = await this.#source.read();
      this.#use(backends);
      this.#log.info({ why, from: name, backends }, 'backends read again');
    } catch (error) {
      const problems = error instanceof StartError ? error.problems : [String(error)];
      this.#log.error({ why, from: name, problems }, 'backends not read again, the old ones stay');
    }
  }
}
