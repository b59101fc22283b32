import { type Config, readConfig } from './config.ts';
import type { Logger } from './logger.ts';
import type { Environment } from './reload-env-file.ts';
import { problemsOf } from './start-error.ts';
import { changedVariables } from './variables.ts';

/** Something that was read, found good and not yet put to use. */
export interface Change {
  /** For the log. */
  readonly told: object;
  /** Must not fail. */
  apply(): void;
  /** Instead of `apply`, when something else was bad. */
  discard?(): void;
}

/** One thing that can change while the gateway runs. */
export interface ReloadPart {
  /** Nothing when all stays as it is. Rejects when something cannot be used. */
  prepare(next: Config): Promise<Change | undefined>;
}

/** These take effect without a restart. */
const RELOADABLE = /^(?:BACKENDS|RATE_LIMIT_\w+|TLS_CERT|TLS_KEY|BACKEND_(?:CA|CERT|KEY)|LOG_LEVEL)$/;

/** Reads the configuration again and puts it to use: all of it, or none when anything in it is bad. */
export class Reload {
  readonly #config: Config;
  readonly #environment: Environment | undefined;
  readonly #log: Logger;
  #last: Promise<void> = Promise.resolve();
  #isClosed = false;

  /**
   * @param config As it was at the start.
   * @param environment Where it came from; without one, only the files that it names are read again.
   */
  constructor(config: Config, environment: Environment | undefined, log: Logger) {
    this.#config = config;
    this.#environment = environment;
    this.#log = log;
  }

  /**
   * One after the other, so that the last one to be asked for decides.
   *
   * @param why For the log, like `SIGHUP`.
   */
  run(why: string, parts: readonly ReloadPart[]): Promise<void> {
    this.#last = this.#last.then(() => this.#run(why, parts));
    return this.#last;
  }

  /** What is under way changes nothing any more. */
  close(): void {
    this.#isClosed = true;
  }

  async #run(why: string, parts: readonly ReloadPart[]): Promise<void> {
    const from = this.#environment?.name;
    const changes: Change[] = [];
    const problems: string[] = [];
    let restart: readonly string[] = [];
    let overridden: readonly string[] = [];
    try {
      const now = this.#environment?.read();
      const next = now === undefined ? this.#config : readConfig(now.variables);
      overridden = now?.overridden ?? [];
      if (now !== undefined) restart = this.#restartFor(now.variables, next);
      for (const prepared of await Promise.allSettled(parts.map((part) => part.prepare(next)))) {
        if (prepared.status === 'rejected') problems.push(...told(prepared.reason));
        else if (prepared.value !== undefined) changes.push(prepared.value);
      }
    } catch (error) {
      problems.push(...told(error));
    }
    if (problems.length > 0 || this.#isClosed) {
      for (const change of changes) change.discard?.();
      if (!this.#isClosed) this.#log.error({ why, from, problems }, 'not read again: all stays as it is');
      return;
    }
    for (const change of changes) change.apply();
    const facts = Object.assign({}, ...changes.map((change) => change.told));
    this.#log.info({ why, from, ...facts, ...(overridden.length > 0 ? { overridden } : {}) }, 'read again');
    if (restart.length > 0) this.#log.warn({ variables: restart }, `needs a restart: ${restart.join(', ')}`);
  }

  #restartFor(variables: NodeJS.ProcessEnv, next: Config): string[] {
    // The files may be others, but a listener cannot begin to speak TLS, or cease to.
    const isTlsSwitched = (next.tls === undefined) !== (this.#config.tls === undefined);
    return changedVariables(this.#environment?.first ?? {}, variables).filter(
      (name) => !RELOADABLE.test(name) || (isTlsSwitched && name.startsWith('TLS_')),
    );
  }
}

const told = (error: unknown): readonly string[] => problemsOf(error) ?? [String(error)];
