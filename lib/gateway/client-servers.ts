import type { RequestListener, Server, ServerOptions } from 'node:http';
import express, { type Express } from 'express';
import type { Middleware } from '../core/http.ts';
import { createServer } from '../core/node-http.ts';
import {
  expressListener,
  expressServerOptions,
  type GatewayEvents,
  type HardenServerOptions,
  hardenServer,
  proxyProtocol,
  upgradeHandler,
} from '../index.ts';
import { acmeStore } from './acme/acme-certificates.ts';
import type { Config } from './config/config.ts';
import { httpsRedirect, REDIRECT_BOUNDS } from './https-redirect.ts';
import { finalHandler } from './internal-error.ts';
import type { Logger } from './logging/logger.ts';
import type { Observer } from './observing/observe.ts';
import { TlsListener } from './tls-listener.ts';

/** Makes the servers to which clients connect. Both limit their clients and read the PROXY protocol in the same way. */
export class ClientServers {
  readonly #config: Config;
  readonly #app: Express;
  readonly #observer: Observer;
  readonly #events: GatewayEvents;

  constructor(config: Config, app: Express, observer: Observer, events: GatewayEvents) {
    this.#config = config;
    this.#app = app;
    this.#observer = observer;
    this.#events = events;
  }

  /** The server of the app, with TLS where a certificate is set. */
  forApp(log: Logger): { readonly server: Server; readonly tls: TlsListener | undefined } {
    const { tls: files, strictTransportSecurity } = this.#config;
    const upgrade = upgradeHandler((req, res) => listener(req, res));
    // Other requests with an `Upgrade`, such as those of Java for h2c, are ordinary ones: their connections are kept. Node 22 ignores it.
    const options: ServerOptions = {
      ...expressServerOptions(this.#app),
      ...{ shouldUpgradeCallback: upgrade.accepts },
    };
    const tls = files && new TlsListener(this.#config, files, options, this.#events);
    const server = tls?.server ?? createServer(options);
    this.#prepare(server);
    const record = this.#observer.middleware;
    const listener = recorded(this.#app, { record, log, strictTransportSecurity, authenticate: tls?.clientCertAuth });
    server.on('request', listener);
    server.on('upgrade', upgrade);
    return { server, tls };
  }

  /**
   * A server that sends clients of plain HTTP to https.
   *
   * @param httpsPort Port of the server of the app, for where the configuration names no other.
   */
  forRedirects(httpsPort: () => number): Server {
    const { acme, redisUrl, httpsRedirect: redirect } = this.#config;
    const challenges = acme?.challenge === 'http-01' ? acmeStore(acme, redisUrl) : undefined;
    const server = httpsRedirect(this.#observer.middleware, () => redirect?.toPort ?? httpsPort(), challenges);
    this.#prepare(server, REDIRECT_BOUNDS);
    return server;
  }

  #prepare(server: Server, bounds?: HardenServerOptions): void {
    const { bounds: given, proxyProtocol: peers } = this.#config;
    const events = this.#events;
    hardenServer(server, { ...given, isUncapped: trustOf(this.#app), events, ...bounds });
    if (peers.length > 0) proxyProtocol(server, { isTrusted: trustOf(express().set('trust proxy', peers)), events });
    this.#observer.feed.countConnections(server);
  }
}

/** Whether an app trusts the address of a peer. */
function trustOf(app: Express): (address: string) => boolean {
  const isTrusted: (address: string, hop: number) => boolean = app.get('trust proxy fn');
  return (address) => isTrusted(address, 0);
}

/** Parts of the request listener around the app. */
interface Surroundings {
  readonly record: Middleware;
  readonly log: Logger;
  readonly strictTransportSecurity: string | undefined;
  readonly authenticate: Middleware | undefined;
}

/** A listener that records each request, passes it to the app, and responds if the app does not. */
function recorded(app: Express, { record, log, strictTransportSecurity, authenticate }: Surroundings): RequestListener {
  const end = finalHandler(log);
  const serve = expressListener(app);
  return (req, res) => {
    // First, so that the app or a backend can replace it.
    if (strictTransportSecurity !== undefined) res.setHeader('Strict-Transport-Security', strictTransportSecurity);
    const handle = (error?: unknown): void => {
      if (error !== undefined) end(req, res, error);
      else serve(req, res, (uncaught) => end(req, res, uncaught));
    };
    record(req, res, (error) => {
      if (error !== undefined || authenticate === undefined) handle(error);
      else authenticate(req, res, handle);
    });
  };
}
