import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { ConfigError } from './config.ts';

/** An environment that can be read again. */
export interface Environment {
  /** For the log. */
  readonly name: string;
  /** The variables of the start. */
  readonly first: NodeJS.ProcessEnv;
  /** @throws {ConfigError} when it cannot be read. */
  read(): EnvironmentNow;
}

export interface EnvironmentNow {
  readonly variables: NodeJS.ProcessEnv;
  /** Variables of the file that have another value in the environment of the process, which wins. */
  readonly overridden: readonly string[];
}

/** The content of a file, or why it cannot be read. */
type EnvFileContent = { readonly variables: NodeJS.Dict<string> } | { readonly problem: NodeJS.ErrnoException };

/**
 * The environment of the process with the present `.env` file, so that an edited file takes effect without a restart. As at the start, a
 * variable that the process got from elsewhere wins over the file. If the caller does not name those, values decide: a variable with the
 * same value in both counts as one of the file.
 */
export class EnvFile implements Environment {
  readonly name: string;
  readonly first: NodeJS.ProcessEnv;
  readonly #path: string;
  readonly #existed: boolean;
  /** Variables that did not come from the file. */
  readonly #proper: NodeJS.ProcessEnv;

  /**
   * Create it at the start, before the file can be edited.
   *
   * @param path If it is empty, no file is read.
   * @param proper Names of variables that did not come from the file.
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
