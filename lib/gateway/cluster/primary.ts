import type { Server } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { headlineOf, limiterCounter, ProblemMonitor } from '../../index.ts';
import { AcmeCertificates } from '../acme/acme-certificates.ts';
import { type AdminView, createAdminServer, type Phase } from '../admin/admin-server.ts';
import { shownConfig } from '../admin/shown-config.ts';
import type { Config } from '../config/config.ts';
import type { Environment } from '../config/env-file.ts';
import { servedBy } from '../gateway.ts';
import { ADMIN, listen } from '../listener.ts';
import { logProblem } from '../logging/event-log.ts';
import type { Logger } from '../logging/logger.ts';
import { watchGateway } from '../observing/gateway-problems.ts';
import { GatewayState } from '../observing/gateway-state.ts';
import { openFileLimit, shareOut } from '../open-files.ts';
import { ClusterControl } from './cluster-control.ts';
import { ClusterFeed } from './cluster-feed.ts';
import { ClusterMetrics } from './cluster-metrics.ts';
import { ClusterReload } from './cluster-reload.ts';
import { compileCacheEnvironment } from './compile-cache.ts';
import type { Beginning, Hello } from './messages.ts';
import type { WorkerProcess } from './worker-process.ts';
import { Workers } from './workers.ts';

export interface PrimaryDeps {
  readonly log: Logger;
  readonly environment: Environment;
  readonly state?: GatewayState;
}

/** The primary process. It serves no traffic: it manages the workers and has the admin listener. */
export class Primary implements AdminView {
  readonly #config: Config;
  readonly #log: Logger;
  readonly #workers: Workers;
  readonly #reload: ClusterReload;
  readonly #control: ClusterControl;
  readonly #feed: ClusterFeed;
  readonly #metrics: ClusterMetrics;
  readonly #state: GatewayState;
  readonly #problems: ProblemMonitor;
  readonly #acme: AcmeCertificates | undefined;
  readonly #counter = limiterCounter();
  readonly #admin: Server | undefined;
  /** By the monotonic clock, because the wall clock may be set. */
  readonly #startedAt = performance.now();
  #closing: Promise<void> | undefined;

  constructor(config: Config, { log, environment, state = new GatewayState() }: PrimaryDeps) {
    this.#config = config;
    this.#log = log;
    const serving = (): readonly WorkerProcess[] => this.#workers.serving;
    this.#state = state;
    this.#problems = new ProblemMonitor(watchGateway(state), (event) => {
      logProblem(log, event);
      this.#feed.changed();
    });
    this.#feed = new ClusterFeed(serving, () => this.#problems.problems);
    this.#control = new ClusterControl(serving);
    this.#metrics = new ClusterMetrics(() => this.#workers.alive, this.#problems);
    this.#workers = new Workers({
      count: config.workers,
      hangTimeoutMs: config.workerHangTimeoutMs,
      stopTimeoutMs: config.shutdownTimeoutMs - config.shutdownLeadMs,
      environment: config.workerSpare ? compileCacheEnvironment() : {},
      hasSpare: config.workerSpare,
      log,
      plan: () => this.#reload.plan,
      created: (worker) => this.#introduce(worker),
      ready: (worker) => {
        this.#feed.ready(worker);
        this.#control.ready(worker);
      },
      exited: (worker, isCrash, { code, signal }) => {
        if (isCrash) state.crashed({ at: Date.now(), worker: worker.place, how: signal ?? `code ${code}` });
        this.#metrics.exited(isCrash);
      },
      ended: (worker) => {
        this.#metrics.ended(worker);
        this.#feed.ended(worker);
      },
    });
    this.#reload = new ClusterReload({ config, environment, log, workers: this.#workers, state });
    const { acme, redisUrl } = config;
    this.#acme = acme && new AcmeCertificates(acme, { config: () => this.#reload.config.acme, redisUrl, log, state });
    this.#admin = config.admin && this.#createAdmin(config.admin);
    // After a second signal, this process ends at once. A worker that hangs would outlive it.
    process.once('exit', () => this.#workers.kill());
  }

  get phase(): Phase {
    if (this.#closing !== undefined) return 'stopping';
    return this.#workers.serving.length > 0 ? 'running' : 'starting';
  }

  async status(): Promise<object> {
    const workers = this.#workers.alive.map(({ place, pid, state }) => ({ worker: place, pid, state }));
    const own = { phase: this.phase, uptimeMs: Math.round(performance.now() - this.#startedAt), workers };
    const { problems, limiters, breakers, backends, routes } = await this.#feed.snapshot();
    const headline = headlineOf(this.phase, problems, backends);
    const ofRoutes = new Set(routes.flatMap((route) => [route.route, ...route.limiters.map(({ name }) => name)]));
    const isOwn = ({ name }: { readonly name: string }) => !ofRoutes.has(name);
    const [limiter, breaker] = [limiters.find(isOwn), breakers.find(isOwn)];
    return {
      ...own,
      headline,
      problems,
      limiter: limiter && { mode: limiter.mode },
      circuit: breaker && { state: breaker.state, retryAfterMs: breaker.retryAfterMs },
      routes:
        routes.length === 0 ? undefined : routes.map(({ route, circuit, limiters }) => ({ route, circuit, limiters })),
      backends: backends.map((row) => ({ ...row, available: row.unavailableIn < row.processes })),
    };
  }

  /**
   * @throws {StartError} when the gateway cannot listen on a port, when a file is bad, or when a worker cannot start. It first closes
   * what it has opened.
   */
  async open(): Promise<void> {
    const { admin, host } = this.#config;
    try {
      await this.#acme?.prepare();
      await this.#reload.open();
      const adminUrl = this.#admin && admin && (await listen(this.#admin, ADMIN, admin));
      this.#admin?.on('error', (error) => this.#log.error({ error }, 'admin listener failed'));
      const [first] = await this.#workers.start();
      const { url } = await (first as WorkerProcess).ready;
      const { length: workers } = this.#workers.serving;
      this.#acme?.open();
      this.#log.info({ url, host, adminUrl, workers, ...servedBy(this.#reload.plan) }, 'listening');
    } catch (error) {
      this.kill();
      this.#closeAdmin();
      throw error;
    }
  }

  /** Reloads the configuration in all workers, or in none. Problems are logged, and nothing changes then. */
  async reload(why: string): Promise<void> {
    if (this.#closing === undefined) await this.#reload.run(why);
  }

  /** Replaces all workers by new processes, one by one. Problems are logged, and nothing changes then. */
  async roll(why: string): Promise<void> {
    if (this.#closing === undefined) await this.#reload.roll(why);
  }

  /** Lets running requests end, within `shutdownTimeoutMs`. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Ends all workers at once. */
  kill(): void {
    this.#reload.close();
    this.#acme?.close();
    this.#workers.kill();
  }

  async #close(): Promise<void> {
    this.#reload.close();
    this.#acme?.close();
    this.#problems.close();
    if (this.#config.shutdownLeadMs > 0) await delay(this.#config.shutdownLeadMs);
    const killed = await this.#workers.stop();
    // Last, so that operators can watch the shutdown.
    this.#closeAdmin();
    if (killed > 0) throw new Error(`${killed} of the workers had to be killed`);
  }

  #introduce(worker: WorkerProcess): void {
    const { peer } = worker;
    this.#feed.add(worker);
    peer.on('count', (question: never) => this.#counter.answer(question));
    peer.on('hello', (): Hello => {
      worker.greetedAt = Date.now();
      const isSpare = worker.place === 0;
      if (isSpare) this.#log.debug({ pid: worker.pid }, 'spare process is ready to replace a worker');
      return { isSpare, usesRedis: this.#config.redisUrl !== undefined };
    });
    peer.on('begin', async (): Promise<Beginning> => {
      await worker.placed;
      const operatorStates = await this.#control.operatorStates();
      // Last, and without an await after it: a reload asks only workers that have begun.
      await this.#reload.settled();
      worker.hasBegun = true;
      return { ...this.#reload.planOf(worker), place: worker.place, operatorStates, workers: this.#config.workers };
    });
  }

  #createAdmin({ host, token, name }: NonNullable<Config['admin']>): Server {
    return createAdminServer(this, {
      host,
      maxConnections: shareOut(openFileLimit(), 0).adminConnections,
      register: () => this.#metrics.collect(),
      crowded: (address, held, most) => this.#state.crowded(address, held, most),
      site: {
        feed: this.#feed,
        control: this.#control,
        token,
        name,
        config: () => shownConfig(this.#reload.config),
        log: this.#log,
      },
    });
  }

  #closeAdmin(): void {
    this.#admin?.close();
    this.#admin?.closeAllConnections();
  }
}

/** @throws {StartError} as `open()`. */
export async function startPrimary(config: Config, deps: PrimaryDeps): Promise<Primary> {
  const primary = new Primary(config, deps);
  await primary.open();
  return primary;
}
