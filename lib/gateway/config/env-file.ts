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

/** What is in a file, or why that cannot be said. */
type EnvFileContent = { readonly variables: NodeJS.Dict<string> } | { readonly problem: NodeJS.ErrnoException };

/**
 * The process's environment with the `.env` file as it is now, so that an edited file takes effect without a restart. A
 * variable of the environment proper wins over the file, as at the start. If the caller does not name those, the value
 * decides: a variable that had the same value in both counts as the file's.
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
   * @param proper Names of variables that did not come from the file, whatever is in it.
   */
  constructor(path: string, env: NodeJS.ProcessEnv, proper: readonly string[] = []) {
    this.name = path === '' ? 'the environment' : path;
    this.#path = path;
    this.first = { ...env };
    const content = this.#content();
    this.#existed = !isMissing(content);
    const file = variablesOf(content);
    const known = new Set(proper);
    this.#proper = Object.fromEntries(
      Object.entries(env).filter(([name, value]) => known.has(name) || file[name] !== value),
    );
  }

  read(): EnvironmentNow {
    const content = this.#content();
    if ('problem' in content && (this.#existed || !isMissing(content))) {
      const reason = isMissing(content) ? 'there is no such file' : content.problem.message;
      throw new ConfigError([`${this.name}: cannot be read: ${reason}`]);
    }
    const file = variablesOf(content);
    const overridden = Object.keys(file).filter(
      (name) => Object.hasOwn(this.#proper, name) && this.#proper[name] !== file[name],
    );
    return { variables: { ...file, ...this.#proper }, overridden };
  }

  #content(): EnvFileContent {
    if (this.#path === '') return { variables: {} };
    try {
      return { variables: parseEnv(readFileSync(this.#path, 'utf8')) };
    } catch (error) {
      return { problem: error as NodeJS.ErrnoException };
    }
  }
}

const variablesOf = (content: EnvFileContent): NodeJS.Dict<string> => ('variables' in content ? content.variables : {});

const isMissing = (content: EnvFileContent): boolean => 'problem' in content && content.problem.code === 'ENOENT';
