import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { type Backends, BackendsError } from './backends-file.ts';
import { ConfigError, readBackends } from './config.ts';

/**
 * BACKENDS as it stands in the `.env` file, for whoever edits that and does not want to restart. Nothing else of it is
 * read again.
 */
export class EnvFile {
  readonly name: string;
  readonly #path: string;
  /** Whether BACKENDS came from this file: a variable of the environment proper wins over it, now as at the start. */
  readonly #isInUse: boolean;

  /** Make it at the start, before the file can have been edited. */
  constructor(path: string, env: NodeJS.ProcessEnv) {
    this.name = path;
    this.#path = path;
    this.#isInUse = this.#variables()?.BACKENDS === env.BACKENDS;
  }

  /** @throws {BackendsError} that names every problem. */
  async read(): Promise<Backends> {
    const variables = this.#variables();
    if (variables === undefined) throw new BackendsError([`${this.name}: cannot be read`]);
    if (!this.#isInUse) throw new BackendsError([`${this.name}: BACKENDS did not come from it at the start`]);
    try {
      return readBackends(variables);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      throw new BackendsError(error.problems.map((problem) => `${this.name}: ${problem}`));
    }
  }

  #variables(): NodeJS.Dict<string> | undefined {
    try {
      return parseEnv(readFileSync(this.#path, 'utf8'));
    } catch {
      return undefined;
    }
  }
}
