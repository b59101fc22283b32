import { createServer, type Server } from 'node:http';
import { createServer as createTlsServer, Server as TlsServer } from 'node:https';
import { GatewayEvents, hardenServer, upgradeHandler } from 'expressway';
import { type AdminView, createAdminServer, type Phase } from './admin.ts';
import { type App, createApp } from './app.ts';
import { BackendsFile } from './backends-file.ts';
import type { Config } from './config.ts';
import { Drain } from './drain.ts';
import { logEvents } from './event-log.ts';
import { listen } from './listener.ts';
import { createLogger, type Logger } from './logger.ts';
import type { Lines } from './observe.ts';
import { type BackendsSource, Reload } from './reload.ts';
import { readTlsFiles, reloadTlsFiles } from './tls-files.ts';

/** As long as a request's head may take, by default. */
const HANDSHAKE_TIMEOUT_MS = 15_000;

export interface GatewayDeps {
  readonly log?: Logger;
  readonly events?: GatewayEvents;
  /** Where the access log goes, unless it is JSON: that is the logger's. Default: standard output. */
  readonly lines?: Lines;
  /** Where `reload()` reads the backends when there is no BACKENDS_FILE. */
  readonly backends?: BackendsSource;
}

/** The running example: the gateway's listener and the operator's. */
export class Gateway implements AdminView {
  readonly #config: Config;
  readonly #log: Logger;
  readonly #parts: App;
  readonly #server: Server;
  readonly #drain: Drain;
  readonly #admin: Server | undefined;
  readonly #file: BackendsFile | undefined;
  readonly #reload: Reload | undefined;
  readonly #startedAt = Date.now();
  #phase: Phase = 'starting';
  #closing: Promise<void> | undefined;
  #url = '';
  #adminUrl: string | undefined;

  /** @param source Where the backends can be read again; a file is watched as well. */
  constructor(config: Config, log: Logger, lines: Lines, events: GatewayEvents, source?: BackendsSource) {
    this.#config = config;
    this.#log = log;
    this.#parts = createApp(config, events, log, lines);
    this.#server =
      config.tls === undefined
        ? createServer()
        : createTlsServer({ ...readTlsFiles(config.tls), handshakeTimeout: HANDSHAKE_TIMEOUT_MS });
    this.#drain = new Drain(this.#server);
    const { app } = this.#parts;
    const isTrusted: (address: string, hop: number) => boolean = app.get('trust proxy fn');
    hardenServer(this.#server, { ...config.bounds, isUncapped: (address) => isTrusted(address, 0), events });
    this.#server.on('request', app);
    this.#server.on('upgrade', upgradeHandler(app));
    this.#admin = config.admin && createAdminServer(this, this.#parts.observer.register);
    this.#reload = source && new Reload(source, (backends) => this.#parts.proxy.setBackends(backends), log);
    this.#file = source instanceof BackendsFile ? source : undefined;
  }

  get url(): string {
    return this.#url;
  }

  /** Nothing when the admin listener is off. */
  get adminUrl(): string | undefined {
    return this.#adminUrl;
  }

  get phase(): Phase {
    return this.#phase;
  }

  status(): object {
    const { limiter, breaker, proxy } = this.#parts;
    return {
      phase: this.#phase,
      uptimeMs: Date.now() - this.#startedAt,
      limiter: { mode: limiter.mode },
      circuit: { state: breaker.state, retryAfterMs: breaker.retryAfterMs() },
      backends: proxy.status(),
    };
  }

  async open(): Promise<void> {
    const { host, port, admin } = this.#config;
    this.#file?.watch(() => void this.#reload?.run('the file has changed'));
    // The operator's listener first: traffic is taken only once everything else stands.
    if (this.#admin && admin) this.#adminUrl = await this.#listen(this.#admin, 'admin listener', admin);
    // Names are looked up by now, as far as they can be: the first requests need not get 503.
    await this.#parts.proxy.ready();
    this.#url = await this.#listen(this.#server, 'gateway', { host, port });
    this.#phase = 'running';
    this.#log.info({ url: this.#url, host, adminUrl: this.#adminUrl, backends: this.#config.backends }, 'listening');
  }

  /** Reads certificate and backends again; what is bad is logged, and changes nothing. */
  async reload(why: string): Promise<void> {
    if (this.#closing !== undefined) return;
    const { tls } = this.#config;
    // Connections that are open keep what they have agreed on; new ones get the new certificate.
    if (tls !== undefined && this.#server instanceof TlsServer) reloadTlsFiles(tls, this.#server, this.#log, why);
    await this.#reload?.run(why);
  }

  /** Lets running requests end within `shutdownTimeoutMs`, then releases everything. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#phase = 'stopping';
    this.#file?.close();
    const cut = await this.#drain.run(this.#config.shutdownTimeoutMs);
    if (cut > 0) this.#log.warn({ connections: cut }, 'shutdown time is up: connections cut');
    const released = await Promise.allSettled([this.#parts.limiter.close(), this.#parts.proxy.close()]);
    this.#parts.observer.close();
    // Last, so that the operator can watch to the end.
    this.#admin?.close();
    this.#admin?.closeAllConnections();
    const errors = released.filter((one) => one.status === 'rejected').map((one) => one.reason);
    if (errors.length > 0) throw new AggregateError(errors, 'The gateway did not close cleanly');
  }

  async #listen(server: Server, what: string, address: { host: string; port: number }): Promise<string> {
    const url = await listen(server, what, address);
    // One connection that could not be accepted (too many open files) must not end the process.
    server.on('error', (error) => this.#log.error({ error }, `${what} failed`));
    return url;
  }
}

/**
 * @throws {ListenError} when a port cannot be had; nothing is left open then.
 * @throws {BackendsError} when BACKENDS_FILE holds no usable list.
 */
export async function startGateway(config: Config, deps: GatewayDeps = {}): Promise<Gateway> {
  const log = deps.log ?? createLogger(config.logLevel);
  const lines = deps.lines ?? { write: (line: string) => void process.stdout.write(line), dropped: 0 };
  const events = deps.events ?? new GatewayEvents();
  logEvents(events, log);
  const file = config.backendsFile === undefined ? undefined : new BackendsFile(config.backendsFile);
  const backends = (await file?.read()) ?? config.backends;
  const gateway = new Gateway({ ...config, backends }, log, lines, events, file ?? deps.backends);
  try {
    await gateway.open();
  } catch (error) {
    await gateway.close();
    throw error;
  }
  return gateway;
}
