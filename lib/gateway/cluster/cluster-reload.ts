import { type Backends, BackendsFile } from '../config/backends-file.ts';
import { type CertificateFacts, readCertificates } from '../config/certificates.ts';
import { type Config, ConfigError, readConfig } from '../config/config.ts';
import {
  type ConfigurationChange,
  isTlsSwitched,
  mixedVariables,
  needsRestart,
  readAgain,
  reloadedVariables,
} from '../config/configuration-change.ts';
import { GatewayFile } from '../config/declaration/gateway-file.ts';
import type { Environment } from '../config/env-file.ts';
import { certificateFiles } from '../config/watched-files.ts';
import type { Logger } from '../logging/logger.ts';
import type { GatewayState } from '../observing/gateway-state.ts';
import { problemsIn, type ReloadScope } from '../reload/prepared-reload.ts';
import { logPartly, logRefused, logReload } from '../reload/reload.ts';
import type { Plan, Preparation, Prepare } from './messages.ts';
import type { WorkerProcess } from './worker-process.ts';
import type { Workers } from './workers.ts';

/** Milliseconds that a worker may take to read files and to reach Redis. */
const PREPARE_TIMEOUT_MS = 10_000;

export interface ClusterReloadParts {
  /** The configuration of the start. */
  readonly config: Config;
  readonly environment: Environment;
  readonly log: Logger;
  readonly workers: Workers;
  readonly state: GatewayState;
}

/** The configuration of the workers and its reload, which changes all workers, or none if anything is wrong. */
export class ClusterReload {
  readonly #first: Config;
  readonly #environment: Environment;
  readonly #log: Logger;
  readonly #state: GatewayState;
  readonly #workers: Workers;
  readonly #file: BackendsFile | undefined;
  readonly #gatewayFile: GatewayFile | undefined;
  readonly #certificateFiles = certificateFiles(() => this.config);
  #plan: Plan;
  /** Settles when no reload is in progress. No worker begins before. */
  #settled: Promise<void> = Promise.resolve();
  #last: Promise<void> = Promise.resolve();
  #isClosed = false;
  /** The plan that a rolling reload tries. */
  #candidate: Plan | undefined;

  constructor({ config, environment, log, workers, state }: ClusterReloadParts) {
    this.#first = config;
    this.#environment = environment;
    this.#log = log;
    this.#state = state;
    this.#workers = workers;
    this.#file = config.backendsFile === undefined ? undefined : new BackendsFile(config.backendsFile);
    const { gatewayFile } = config;
    const variables = () => environment.read().variables;
    this.#gatewayFile = gatewayFile === undefined ? undefined : new GatewayFile(gatewayFile, variables);
    this.#plan = { variables: environment.first, backends: config.backends, declaration: undefined };
  }

  /** The plan for a worker that begins now. */
  get plan(): Plan {
    return this.#plan;
  }

  /** The candidate for a worker that was started to try it; for all others the plan in force. */
  planOf(worker: WorkerProcess): Plan {
    return this.#candidate !== undefined && worker.plan === this.#candidate ? this.#candidate : this.#plan;
  }

  /** The configuration in force. */
  get config(): Config {
    const { variables, backends, declaration } = this.#plan;
    return { ...readConfig(variables), backends, declaration };
  }

  /** Resolves when no reload is in progress. */
  async settled(): Promise<void> {
    let settled: Promise<void>;
    do {
      settled = this.#settled;
      await settled;
    } while (settled !== this.#settled);
  }

  /** @throws {BackendsError | GatewayFileError} when a file cannot be used. */
  async open(): Promise<void> {
    this.#plan = { ...this.#plan, ...(await this.#readFiles(this.#plan.backends)) };
    for (const file of [this.#file, this.#gatewayFile]) {
      file?.watch(() => void this.#queue(() => this.#reload('the file has changed', 'backends')));
    }
    if (this.#first.tls === undefined) return;
    this.#state.certificates = await this.#certificatesOf(this.#first);
    this.#certificateFiles.watch(
      () => void this.#queue(() => this.#reload('a certificate has changed', 'certificates')),
    );
  }

  /** Reads the certificates here first, so that bad ones are found before the workers are asked. */
  async #certificatesOf({ tls, clientCa }: Config): Promise<readonly CertificateFacts[]> {
    if (tls === undefined) return [];
    await this.#certificateFiles.mark();
    return readCertificates(tls, clientCa).facts;
  }

  async #readFiles(backends: Backends): Promise<Pick<Plan, 'backends' | 'declaration'>> {
    return {
      backends: (await this.#file?.read()) ?? backends,
      declaration: await this.#gatewayFile?.read(),
    };
  }

  run(why: string): Promise<void> {
    return this.#queue(() => this.#reload(why, 'all'));
  }

  roll(why: string): Promise<void> {
    return this.#queue(() => this.#roll(why));
  }

  close(): void {
    this.#isClosed = true;
    this.#file?.close();
    this.#gatewayFile?.close();
    this.#certificateFiles.close();
  }

  /** Runs reloads one after the other, so that the last request decides. */
  #queue(work: () => Promise<void>): Promise<void> {
    this.#last = this.#last
      .then(() => (this.#isClosed ? undefined : work()))
      // A bug. The next reload still runs.
      .catch((error) => logPartly(this.#log, { problems: problemsIn(error) }));
    return this.#last;
  }

  async #reload(why: string, scope: ReloadScope): Promise<void> {
    let release = (): void => {};
    this.#settled = new Promise((resolve) => {
      release = resolve;
    });
    try {
      await this.#reloadAll(why, scope);
    } finally {
      release();
    }
  }

  async #reloadAll(why: string, scope: ReloadScope): Promise<void> {
    // A changed certificate is used even if the `.env` file is being edited and is invalid at the moment.
    const environment = scope === 'certificates' ? undefined : this.#environment;
    const from = environment?.name;
    let again: ConfigurationChange | undefined;
    let next: Plan;
    let facts: object;
    let { certificates } = this.#state;
    try {
      again = environment && readAgain(environment, this.#first);
      next =
        again === undefined
          ? this.#plan
          : {
              variables: scope === 'all' ? reloadedVariables(this.#plan.variables, again) : this.#plan.variables,
              ...(await this.#readFiles(again.config.backends)),
            };
      if (scope !== 'backends') certificates = await this.#certificatesOf(readConfig(next.variables));
      facts = await this.#prepareAll({ ...next, scope });
    } catch (error) {
      const problems = problemsIn(error);
      if (!this.#isClosed) logRefused(this.#log, this.#state, scope, { why, from, problems }, environment);
      return;
    }
    this.#plan = next;
    this.#state.certificates = certificates;
    this.#log.level = this.config.logLevel;
    await this.#applyAll(why);
    const { name } = this.#file ?? this.#gatewayFile ?? {};
    const file = name === undefined || scope === 'certificates' ? {} : { file: name };
    logReload(this.#log, this.#state, scope, { why, from, ...facts, ...file }, again);
  }

  /** A worker can apply what it has prepared. If it fails all the same, it is replaced by a worker with the new plan. */
  async #applyAll(why: string): Promise<void> {
    const apply = async (worker: WorkerProcess): Promise<void> => {
      try {
        await worker.peer.ask('apply', undefined, PREPARE_TIMEOUT_MS);
      } catch (error) {
        if (worker.state !== 'ready') return;
        const { place, pid } = worker;
        logPartly(this.#log, { why, worker: place, pid, problems: problemsIn(error) });
        worker.kill();
      }
    };
    await Promise.all(this.#workers.serving.map(apply));
  }

  /**
   * Has all workers prepare the plan. If any of them finds a problem, all discard it, and this rejects.
   *
   * @returns facts for the log.
   */
  async #prepareAll(prepare: Prepare): Promise<object> {
    // All workers that have begun use the old plan, so all of them need the next one.
    await Promise.allSettled(this.#workers.alive.filter(({ hasBegun }) => hasBegun).map(({ ready }) => ready));
    const workers = this.#workers.serving;
    const answers = await Promise.allSettled(
      workers.map(({ peer }) => peer.ask<Preparation>('prepare', prepare, PREPARE_TIMEOUT_MS)),
    );
    const problems = new Set<string>();
    let facts = {};
    for (const [index, answer] of answers.entries()) {
      if (answer.status === 'fulfilled') {
        facts = answer.value.facts;
        for (const problem of answer.value.problems) problems.add(problem);
      } else if (workers[index]?.state === 'ready') {
        problems.add(`worker ${workers[index]?.place}: ${answer.reason}`);
      }
    }
    if (problems.size === 0 && !this.#isClosed) return facts;
    for (const { peer } of workers) peer.send('discard');
    throw new ConfigError([...problems]);
  }

  async #roll(why: string): Promise<void> {
    const from = this.#environment.name;
    try {
      const again = readAgain(this.#environment, this.#first);
      if (isTlsSwitched(this.#first, again.config)) {
        throw new ConfigError(['TLS_CERT, TLS_KEY, ACME_DOMAINS: turning TLS of a listener on or off needs a restart']);
      }
      const variables = mixedVariables(this.#environment.first, again.variables, (name) => !needsRestart(name));
      const candidate = { variables, ...(await this.#readFiles(again.config.backends)) };
      const certificates = await this.#certificatesOf(readConfig(variables));
      this.#candidate = candidate;
      this.#log.info({ why, from }, 'replacing the workers');
      await this.#workers.roll(candidate, () => {
        this.#plan = candidate;
        this.#state.certificates = certificates;
        this.#log.level = this.config.logLevel;
      });
      const restart = again.restart.filter(needsRestart);
      const facts = { why, from, workers: this.#workers.serving.length };
      logReload(this.#log, this.#state, 'workers', facts, { ...again, restart }, 'workers replaced');
    } catch (error) {
      const problems = problemsIn(error);
      const isPartly = this.#plan === this.#candidate;
      const message = isPartly ? 'not all workers replaced' : 'workers not replaced: nothing changed';
      if (!this.#isClosed) {
        logRefused(this.#log, this.#state, 'workers', { why, from, problems }, this.#environment, message);
      }
    } finally {
      this.#candidate = undefined;
    }
  }
}
