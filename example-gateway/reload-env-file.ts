import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { ConfigError } from './config.ts';

/** An environment that can be looked at again. */
export interface Environment {
  /** For the log. */
  readonly name: string;
  /** As it was at the start. */
  readonly first: NodeJS.ProcessEnv;
  /** @throws {ConfigError} when it cannot be read. */
  read(): EnvironmentNow;
}

export interface EnvironmentNow {
  readonly variables: NodeJS.ProcessEnv;
  /** What the file says and the environment proper says otherwise. */
  readonly overridden: readonly string[];
}

/**
 * The process's environment with the `.env` file as it stands now, for whoever edits that and does not want to restart. A
 * variable of the environment proper wins over the file, as at the start. It is told from one of the file by its value:
 * one that stood in both with the same value counts as the file's.
 */
export class EnvFile implements Environment {
  readonly name: string;
  readonly first: NodeJS.ProcessEnv;
  readonly #path: string;
  readonly #existed: boolean;
  /** What did not come from the file. */
  readonly #proper: NodeJS.ProcessEnv;

  /**
   * Make it at the start, before the file can have been edited.
   *
   * @param path Nothing is read where it is empty: the environment stays what it is.
   */
  constructor(path: string, env: NodeJS.ProcessEnv) {
    this.name = path === '' ? 'the environment' : path;
    this.#path = path;
    this.first = { ...env };
    const file = this.#variables();
    this.#existed = file !== undefined;
    this.#proper = Object.fromEntries(Object.entries(env).filter(([name, value]) => file?.[name] !== value));
  }

  read(): EnvironmentNow {
    const file = this.#variables();
    if (file === undefined && this.#existed) throw new ConfigError([`${this.name}: cannot be read`]);
    const overridden = Object.keys(file ?? {}).filter(
      (name) => Object.hasOwn(this.#proper, name) && this.#proper[name] !== file?.[name],
    );
    return { variables: { ...file, ...this.#proper }, overridden };
  }

  #variables(): NodeJS.Dict<string> | undefined {
    try {
      return parseEnv(readFileSync(this.#path, 'utf8'));
    } catch {
      return undefined;
    }
  }
}
