import type { Config } from '../config/config.ts';
import { type ConfigurationChange, readAgain } from '../config/configuration-change.ts';
import type { Environment } from '../config/env-file.ts';
import { misspeltVariables } from '../config/misspelt-variables.ts';
import type { Logger } from '../logging/logger.ts';
import type { GatewayState, RejectedReload, ReloadKind } from '../observing/gateway-state.ts';
import {
  type PreparedReload,
  prepareReload,
  problemsIn,
  type ReloadPart,
  type ReloadScope,
} from './prepared-reload.ts';

/** Reads the configuration again, and applies all of it, or nothing if anything is invalid. */
export class Reload {
  readonly #first: Config;
  readonly #environment: Environment | undefined;
  readonly #log: Logger;
  readonly #state: GatewayState;
  #config: Config;
  #last: Promise<void> = Promise.resolve();
  #isClosed = false;

  /**
   * @param config The configuration of the start.
   * @param environment Source of the variables. Without one, only the files that the configuration names are read again.
   */
  constructor(config: Config, environment: Environment | undefined, log: Logger, state: GatewayState) {
    this.#first = config;
    this.#config = config;
    this.#environment = environment;
    this.#log = log;
    this.#state = state;
  }

  /** The present configuration. */
  get config(): Config {
    return this.#config;
  }

  /**
   * Runs a reload. Reloads run one after the other, so that the last one decides.
   *
   * @param why For the log, like `SIGHUP`.
   */
  run(why: string, scope: ReloadScope, parts: readonly ReloadPart[]): Promise<void> {
    const run = () => this.#run(why, scope, parts);
    // Also after a failed reload, whose caller gets the error.
    this.#last = this.#last.then(run, run);
    return this.#last;
  }

  /** For a worker: its primary reads the configuration, and decides whether to apply it. */
  async prepare(next: Config, parts: readonly ReloadPart[]): Promise<PreparedReload> {
    const prepared = await prepareReload(parts, next);
    return {
      ...prepared,
      apply: () => {
        const applied = prepared.apply();
        this.#config = { ...this.#config, ...applied };
        return applied;
      },
    };
  }

  /** A reload in progress changes nothing from now on. */
  close(): void {
    this.#isClosed = true;
  }

  async #run(why: string, scope: ReloadScope, parts: readonly ReloadPart[]): Promise<void> {
    // A changed certificate is used even if the `.env` file is being edited and is invalid at the moment.
    const environment = scope === 'certificates' ? undefined : this.#environment;
    const from = environment?.name;
    let again: ConfigurationChange | undefined;
    let prepared: PreparedReload | undefined;
    let problems: readonly string[];
    try {
      again = environment && readAgain(environment, this.#first);
      prepared = await this.prepare(again?.config ?? this.#config, parts);
      problems = prepared.problems;
    } catch (error) {
      problems = problemsIn(error);
    }
    if (prepared === undefined || problems.length > 0 || this.#isClosed) {
      prepared?.discard();
      if (!this.#isClosed) logRefused(this.#log, this.#state, scope, { why, from, problems }, environment);
      return;
    }
    try {
      prepared.apply();
    } catch (error) {
      logPartly(this.#log, { why, from, problems: problemsIn(error) });
      return;
    }
    logReload(this.#log, this.#state, scope, { why, from, ...prepared.facts }, again);
  }
}

export function logRefused(
  log: Logger,
  state: GatewayState,
  kind: ReloadKind,
  facts: RejectedReload,
  environment: Environment | undefined,
  message = 'reload refused: nothing changed',
) {
  log.error(facts, message);
  state.rejected(kind, facts);
  try {
    if (environment !== undefined) state.misspelt = misspeltVariables(environment.read().variables);
  } catch {
    // `problems` contains this error already.
  }
}

/** Applying a checked change failed. That is a bug, but no reason to stop serving. */
export function logPartly(log: Logger, facts: object): void {
  log.error(facts, 'reloaded only in part');
}

export function logReload(
  log: Logger,
  state: GatewayState,
  kind: ReloadKind,
  facts: object,
  again: ConfigurationChange | undefined,
  message = 'configuration reloaded',
): void {
  state.reloaded(kind);
  if (again !== undefined) state.misspelt = misspeltVariables(again.variables);
  const { overridden = [], restart = [] } = again ?? {};
  log.info({ ...facts, ...(overridden.length > 0 ? { overridden } : {}) }, message);
  if (restart.length > 0) log.warn({ variables: restart }, `needs a restart: ${restart.join(', ')}`);
}
