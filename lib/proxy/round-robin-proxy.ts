import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Backend, BackendStatus } from '../backends/backend.ts';
import { assertBackends, type BackendOptions, readBackends } from '../backends/backend-url.ts';
import { NO_QUEUE, type QueueLoad } from '../backends/queue.ts';
import type { SelectionPolicy } from '../backends/selection/selection-policy.ts';
import { exchangeOf } from '../core/exchange.ts';
import type { GatewayEvents } from '../core/gateway-events.ts';
import type { Middleware, Next } from '../core/http.ts';
import { filteredRequests } from './filtered-requests.ts';
import { FirstRequest } from './first-request.ts';
import { Copies } from './mirror/copies.ts';
import type { MirrorOptions } from './mirror/mirror-options.ts';
import { ProxiedRequest } from './proxied-request.ts';
import {
  closeParts,
  drainParts,
  type ProxyParts,
  partsForRoute,
  proxyParts,
  type RouteForwarding,
} from './proxy-parts.ts';
import { proxySettings } from './proxy-settings.ts';
import { watchRequests } from './request/hop-by-hop.ts';
import type { RoundRobinProxyOptions } from './round-robin-proxy-options.ts';
import { assertBackendTls, type BackendTlsOptions } from './transport/backend-tls.ts';

/** The present load of a proxy. */
export interface ProxyLoad extends QueueLoad {
  /** Requests in progress, including those that wait. */
  readonly inFlight: number;
  /** Retries that the budget allows now. */
  readonly retriesLeft: number;
}

/** The middleware, with methods to inspect and control it. */
export interface RoundRobinProxy extends Middleware {
  /** As in the options. */
  readonly name: string;
  readonly events: GatewayEvents;
  /** As in the options. */
  readonly responseTimeoutMs: number;
  status(): BackendStatus[];
  /** The present load. */
  load(): ProxyLoad;
  /**
   * Replaces the backends. Those that stay keep circuit, health and connections, and get their new options. Those that leave get no new
   * request. Their requests and tunnels go on until they end, or for `drainTimeoutMs`; then their connections are closed. A list with new DNS
   * names takes effect after their first look-up, but never while DNS knows no backend of it.
   *
   * @throws {OptionsError} and changes nothing, when the list is invalid.
   * @throws {GatewayError} ERR_EXPRESSWAY_CLOSED after `close()`.
   */
  setBackends(backends: readonly (string | BackendOptions)[]): void;
  /**
   * Sends no new request to one backend, named by its origin as in `status()`. Its requests, event streams and tunnels go on, and so do its
   * health checks. This lasts until `restore()`, or until the backend leaves the list; a new list with the backend does not end it.
   *
   * @returns whether there is such a backend.
   */
  drain(backend: string): boolean;
  /**
   * The same with its circuit `isolated`: the outcomes of its running requests do not count, and `restore()` closes the circuit, whatever
   * its state was before.
   *
   * @returns whether there is such a backend.
   */
  isolate(backend: string): boolean;
  /**
   * Ends `drain()` and `isolate()`.
   *
   * @returns whether there is such a backend.
   */
  restore(backend: string): boolean;
  /**
   * Replaces the option `tls` for later connections and health checks. Running requests, event streams and tunnels stay on their
   * connections.
   *
   * @throws {OptionsError} and changes nothing, when an option is invalid.
   */
  setTls(tls: BackendTlsOptions): void;
  /**
   * Waits for the first look-up of each DNS name in the list, successful or not, for at most 2 × `dns.timeoutMs`. Without names it does not
   * wait. Requests get 503 while DNS knows no backend for them.
   */
  ready(): Promise<void>;
  /**
   * Ends tunnels at once, and the connections to backends when their running requests have ended. Later requests get 503.
   */
  close(): Promise<void>;
}

/**
 * Forwards each request to the next available backend, in strict rotation unless `loadBalancing` says otherwise. Each backend has its own
 * circuit. A client sees no error if another backend can serve the request.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function roundRobinProxy(given: RoundRobinProxyOptions): RoundRobinProxy {
  return makeProxy(given, false).proxy;
}

/** A proxy that several routes share. */
export interface SharedProxy {
  readonly proxy: RoundRobinProxy;
  /** Policy that picks a backend. */
  readonly policy: SelectionPolicy;
  /** The middleware of the proxy, with the settings of one route. */
  forRoute(own: RouteForwarding): Middleware;
  /** A middleware that sends copies of requests to the backends, and the requests to the next handler. */
  mirror(options: MirrorOptions): Middleware;
  /** Closes the proxy when its requests and tunnels have ended, or after `drainTimeoutMs`, by default its own. Send it no further request. */
  retire(drainTimeoutMs?: number): Promise<void>;
}

/** @throws {OptionsError} that names each unknown key and each bad value. */
export const sharedProxy = (given: RoundRobinProxyOptions): SharedProxy => makeProxy(given, true);

function makeProxy(given: RoundRobinProxyOptions, isManaged: boolean): SharedProxy {
  const settings = proxySettings(given);
  const parts = proxyParts(settings);
  watchRequests();
  const firstRequest = new FirstRequest(parts.pool, isManaged);
  const forward = filteredRequests(settings, (req, res, next) =>
    new ProxiedRequest(parts, exchangeOf(req, res), next).start(),
  );
  function expresswayProxy(req: IncomingMessage, res: ServerResponse, next: Next): void {
    if (firstRequest.isDue) firstRequest.check(req);
    forward(req, res, next);
  }
  const copies = new Copies(parts);
  const proxy = Object.assign(expresswayProxy satisfies Middleware, controls(parts, firstRequest, copies));
  // An assignment would fail: the name of a function is read-only.
  Object.defineProperty(proxy, 'name', { value: settings.name });
  return {
    proxy,
    policy: parts.policy,
    forRoute: (own) => routeForwarder(partsForRoute(parts, own), firstRequest),
    mirror: (options) => copies.middleware(options),
    async retire(drainTimeoutMs = settings.drainTimeoutMs) {
      await drainParts(parts, drainTimeoutMs);
      await proxy.close();
    },
  };
}

function routeForwarder(parts: ProxyParts, firstRequest: FirstRequest): Middleware {
  return function expresswayForward(req: IncomingMessage, res: ServerResponse, next: Next): void {
    if (firstRequest.isDue) firstRequest.check(req);
    new ProxiedRequest(parts, exchangeOf(req, res), next).start();
  };
}

/** The methods of a proxy. */
function controls(parts: ProxyParts, firstRequest: FirstRequest, copies: Copies): Omit<RoundRobinProxy, 'name'> {
  const { pool, health, membership, connections, queue, budget, events } = parts;
  const operate = (backend: string, act: (backend: Backend) => void): boolean => {
    const found = pool.change(backend, act);
    // The number of backends that health may take out depends on the number of backends in use.
    if (found) health.membershipChanged({ added: [], removed: [] });
    queue?.advance();
    return found;
  };
  return {
    events,
    responseTimeoutMs: parts.timeouts.responseTimeoutMs,
    status: () => pool.status(),
    load: () => ({ inFlight: budget.requests, ...(queue?.load ?? NO_QUEUE), retriesLeft: budget.left }),
    setBackends(backends): void {
      assertBackends(backends);
      membership.replace(readBackends(backends));
      firstRequest.isDue = true;
    },
    drain: (backend) => operate(backend, (one) => one.drain()),
    isolate: (backend) => operate(backend, (one) => one.isolate()),
    restore: (backend) => operate(backend, (one) => one.restore()),
    setTls(tls): void {
      assertBackendTls(tls);
      connections.setTls(tls);
      health.setTls(tls);
    },
    ready: () => membership.ready(),
    close(): Promise<void> {
      copies.close();
      return closeParts(parts);
    },
  };
}
