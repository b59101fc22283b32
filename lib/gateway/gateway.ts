import type { Server } from 'node:http';
import { type CounterLink, type GatewayEvents, type GracefulShutdown, gracefulShutdown } from '../index.ts';
import { AcmeCertificates } from './acme/acme-certificates.ts';
import { adminOptions } from './admin/admin-options.ts';
import { type AdminOptions, type AdminView, createAdminServer, type Phase } from './admin/admin-server.ts';
import { statusReport } from './admin/status-report.ts';
import { ClientServers } from './client-servers.ts';
import type { BackendsFile } from './config/backends-file.ts';
import type { Config } from './config/config.ts';
import type { GatewayFile } from './config/declaration/gateway-file.ts';
import type { Environment } from './config/env-file.ts';
import { certificateFiles, type WatchedFiles } from './config/watched-files.ts';
import { type HostedApp, proxiesOf } from './hosted-app.ts';
import { ADMIN, GATEWAY, type ListenerName, listen, REDIRECT } from './listener.ts';
import type { Logger } from './logging/logger.ts';
import type { GatewayState } from './observing/gateway-state.ts';
import type { Observer } from './observing/observe.ts';
import type { PreparedReload, ReloadPart, ReloadScope } from './reload/prepared-reload.ts';
import { Reload } from './reload/reload.ts';
import {
  backendsPart,
  backendTlsPart,
  certificatePart,
  declaredNames,
  limitsPart,
  logLevelPart,
  routerPart,
  textsPart,
} from './reload/reload-parts.ts';

const HTTPS_PORT = 443;

/** Parts that a worker gets from its primary. */
export interface WorkerContext {
  /** Link to the counter in the primary, for a limiter without Redis. */
  readonly counter: CounterLink;
  /** Backends that an operator has drained or isolated, in all workers. */
  readonly operatorStates: readonly {
    readonly service: string;
    readonly backend: string;
    readonly held: 'drained' | 'isolated';
  }[];
}

/** The parts of a gateway, except its configuration. */
export interface GatewayParts {
  readonly hosted: HostedApp;
  readonly observer: Observer;
  readonly log: Logger;
  readonly events: GatewayEvents;
  readonly environment: Environment | undefined;
  readonly worker: WorkerContext | undefined;
  /** The file is watched for changes. */
  readonly file: BackendsFile | undefined;
  readonly gatewayFile: GatewayFile | undefined;
  readonly state: GatewayState;
  /** Most connections of the admin listener. */
  readonly adminConnections: number;
}

/** One process that serves traffic, with its listeners. */
export class Gateway implements AdminView {
  readonly #config: Config;
  readonly #log: Logger;
  readonly #hosted: HostedApp;
  readonly #observer: Observer;
  readonly #worker: WorkerContext | undefined;
  readonly #server: Server;
  readonly #shutdown: GracefulShutdown;
  /** Redirects clients of plain HTTP to https. */
  readonly #redirect: { readonly server: Server; readonly shutdown: GracefulShutdown } | undefined;
  /** Data and functions of the admin listener, which may be in the primary. */
  readonly operator: AdminOptions;
  readonly #admin: Server | undefined;
  readonly #watched: readonly (BackendsFile | GatewayFile)[];
  readonly #reload: Reload;
  readonly #certificateFiles: WatchedFiles | undefined;
  readonly #acme: AcmeCertificates | undefined;
  readonly #reloadParts: Readonly<Record<'backends' | 'certificates' | 'others', readonly ReloadPart[]>>;
  /** By the monotonic clock, because the wall clock may be set. */
  readonly #startedAt = performance.now();
  #isOpen = false;
  #closing: Promise<void> | undefined;
  #url = '';
  #adminUrl: string | undefined;
  #redirectUrl: string | undefined;

  constructor(config: Config, parts: GatewayParts) {
    const { hosted, observer, log, events, environment, worker, file, gatewayFile, state } = parts;
    const { adminConnections: maxConnections } = parts;
    this.#config = config;
    this.#log = log;
    this.#worker = worker;
    this.#hosted = hosted;
    this.#observer = observer;
    const { limiter, proxy, router } = hosted;
    const servers = new ClientServers(config, this.#hosted.app, this.#observer, events);
    const { server, tls } = servers.forApp(log);
    state.certificates = tls?.certificates.facts ?? [];
    this.#server = server;
    // Otherwise the primary of a cluster would offer a connection to full workers in turn, as long as all are full.
    if (worker !== undefined) Object.assign(server, { dropMaxConnection: true });
    if (config.maxDelayMs > 0) this.#hosted.shedding?.rejectEarly(server);
    this.#shutdown = this.#prepareShutdown(server, () => this.#release());
    if (config.httpsRedirect) {
      const redirect = servers.forRedirects(() => Number(new URL(this.#url).port || HTTPS_PORT));
      this.#redirect = { server: redirect, shutdown: this.#prepareShutdown(redirect) };
    }
    this.#watched = [file, gatewayFile].filter((one) => one !== undefined);
    this.#reload = new Reload(config, environment, log, state);
    this.operator = adminOptions(() => this.#reload.config, this.#hosted, this.#observer, log);
    this.#admin =
      config.admin && worker === undefined
        ? createAdminServer(this, {
            ...this.operator,
            maxConnections,
            crowded: (address, held, most) => state.crowded(address, held, most),
          })
        : undefined;
    // A worker's primary watches its files.
    this.#certificateFiles = worker === undefined && tls ? certificateFiles(() => this.#reload.config) : undefined;
    const { acme, redisUrl } = config;
    this.#acme =
      worker === undefined && acme
        ? new AcmeCertificates(acme, { config: () => this.#reload.config.acme, redisUrl, log, state })
        : undefined;
    this.#reloadParts = {
      backends: [
        ...(proxy === undefined ? [] : [backendsPart(proxy, file)]),
        ...(router === undefined ? [] : [routerPart(router, gatewayFile, config)]),
      ],
      certificates: tls === undefined ? [] : [certificatePart(tls, state, this.#certificateFiles)],
      others: [
        ...(proxy === undefined ? [] : [backendTlsPart(proxy, config)]),
        ...(limiter === undefined ? [] : [limitsPart(limiter, config, worker?.counter)]),
        logLevelPart(log),
        textsPart(() => this.#reload.config.texts),
      ],
    };
  }

  get url(): string {
    return this.#url;
  }

  /** `undefined` when the admin listener is off. */
  get adminUrl(): string | undefined {
    return this.#adminUrl;
  }

  /** `undefined` without `HTTP_REDIRECT_PORT`. */
  get redirectUrl(): string | undefined {
    return this.#redirectUrl;
  }

  get phase(): Phase {
    if (this.#shutdown.phase !== 'serving') return 'stopping';
    return this.#isOpen ? 'running' : 'starting';
  }

  status(): object {
    const { phase } = this;
    return statusReport(this.#hosted, {
      phase,
      uptimeMs: Math.round(performance.now() - this.#startedAt),
      problems: this.#observer.problems(),
    });
  }

  async open(): Promise<void> {
    const { host, port, admin, httpsRedirect: redirect } = this.#config;
    for (const one of this.#watched)
      one.watch(() => void this.#reload.run('the file has changed', 'backends', this.#partsOf('backends')));
    await this.#acme?.prepare();
    await this.#certificateFiles?.mark();
    this.#certificateFiles?.watch(
      () => void this.#reload.run('a certificate has changed', 'certificates', this.#partsOf('certificates')),
    );
    // The admin listener opens first, and the listener for traffic when everything else is ready.
    if (this.#admin && admin) this.#adminUrl = await this.#listen(this.#admin, ADMIN, admin);
    // Wait for DNS lookups, so that the first requests do not get 503, and for the counts in Redis.
    const proxies = proxiesOf(this.#hosted);
    const { limiter, router } = this.#hosted;
    await Promise.all([...proxies.map((proxy) => proxy.ready()), limiter?.ready(), router?.ready()]);
    for (const { service: name, backend, held } of this.#worker?.operatorStates ?? []) {
      for (const proxy of proxies) if (proxy.name === name) proxy[held === 'drained' ? 'drain' : 'isolate'](backend);
    }
    this.#url = await this.#listen(this.#server, GATEWAY, { host, port });
    if (this.#redirect && redirect) {
      this.#redirectUrl = await this.#listen(this.#redirect.server, REDIRECT, { host, port: redirect.port });
    }
    this.#isOpen = true;
    this.#acme?.open();
    // The primary logs it once for all workers.
    const level = this.#worker === undefined ? 'info' : 'debug';
    this.#log[level](
      { url: this.#url, host, adminUrl: this.#adminUrl, redirectUrl: this.#redirectUrl, ...servedBy(this.#config) },
      'listening',
    );
  }

  /**
   * Reads backends, limits, certificates and log level again. If anything is invalid, it logs the problems and changes nothing. It also
   * logs changes that need a restart.
   */
  async reload(why: string): Promise<void> {
    if (this.#closing === undefined) await this.#reload.run(why, 'all', this.#partsOf('all'));
  }

  /** For a worker: prepares the configuration from the primary, which then decides whether to apply it. */
  prepareReload(next: Config, scope: ReloadScope): Promise<PreparedReload> {
    return this.#reload.prepare(next, this.#partsOf(scope));
  }

  #partsOf(scope: ReloadScope): readonly ReloadPart[] {
    const { backends, certificates, others } = this.#reloadParts;
    return scope === 'all' ? [...backends, ...certificates, ...others] : this.#reloadParts[scope];
  }

  /** Lets running requests end, and releases everything, within `shutdownTimeoutMs`. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    for (const one of this.#watched) one.close();
    this.#certificateFiles?.close();
    this.#acme?.close();
    this.#reload.close();
    const [left] = await Promise.all([this.#shutdown.close(), this.#redirect?.shutdown.close()]);
    if (left.requests + left.streams + left.upgrades > 0)
      this.#log.warn(left, 'shutdown timeout: cut the remaining connections');
  }

  #prepareShutdown(server: Server, close?: () => Promise<void>): GracefulShutdown {
    const { shutdownLeadMs: leadTimeMs, shutdownTimeoutMs: timeoutMs } = this.#config;
    return gracefulShutdown(server, {
      // The program that runs the gateway handles signals, because its process may do other work, too.
      signals: [],
      leadTimeMs,
      timeoutMs,
      ...(close && { close, onPhase: (phase) => this.#log.debug({ phase }, 'shutdown') }),
    });
  }

  async #release(): Promise<void> {
    const errors = await closeOpened(this.#hosted, this.#observer);
    // Closed last, so that the operator can watch the shutdown.
    this.#admin?.close();
    this.#admin?.closeAllConnections();
    if (errors.length > 0) throw new AggregateError(errors, 'The gateway did not close cleanly');
  }

  async #listen(server: Server, name: ListenerName, address: { host: string; port: number }): Promise<string> {
    const url = await listen(server, name, address);
    // An error of accepting one connection (too many open files) must not end the process.
    server.on('error', (error) => this.#log.error({ error }, `${name.what} failed`));
    return url;
  }
}

/** Closes what keeps connections and timers open. @returns the errors of parts that did not close. */
export async function closeOpened(hosted: HostedApp, observer: Observer | undefined): Promise<readonly unknown[]> {
  const { limiter, proxy, proxies = [], router } = hosted;
  const closed = await Promise.allSettled([
    // Closed first, because a closing proxy has no backends, which it would report as a problem.
    observer?.close(),
    ...[limiter, proxy, router].map((part) => part?.close()),
    ...proxies.map((one) => one.close()),
  ]);
  return closed.filter((one) => one.status === 'rejected').map((one) => one.reason);
}

/** The backends or services, for the log. */
export const servedBy = ({ declaration, backends }: Pick<Config, 'declaration' | 'backends'>): object =>
  declaration === undefined ? { backends } : declaredNames(declaration);
