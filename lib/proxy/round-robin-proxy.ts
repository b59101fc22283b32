import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Backend, BackendStatus } from '../backends/backend.ts';
import { assertBackends, type BackendOptions, readBackends } from '../backends/backend-url.ts';
import { NO_QUEUE, type QueueLoad } from '../backends/queue.ts';
import type { SelectionPolicy } from '../backends/selection/selection-policy.ts';
import type { GatewayEvents } from '../core/events.ts';
import { type Exchange, exchangeOf } from '../core/exchange.ts';
import type { Middleware, Next } from '../core/http.ts';
import { filteredRequests } from './filtered-requests.ts';
import { FirstRequest } from './first-request.ts';
import { requestHeaderRules } from './header-rules.ts';
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

/** How much a proxy works on at the moment. */
export interface ProxyLoad extends QueueLoad {
  /** Requests in progress, the waiting ones included. */
  readonly inFlight: number;
  /** Retries that the budget would still allow. */
  readonly retriesLeft: number;
}

/** The middleware, and what can be asked of it. */
export interface RoundRobinProxy extends Middleware {
  /** As in the options. */
  readonly name: string;
  readonly events: GatewayEvents;
  /** As in the options. */
  readonly responseTimeoutMs: number;
  status(): BackendStatus[];
  /** What the proxy works on now. */
  load(): ProxyLoad;
  /**
   * Replaces the backends. Those that stay keep circuit, health and connections, and take over new options; those that
   * go get no new request, finish what they have (tunnels too, but for `drainTimeoutMs`), and are then disconnected.
   * A list with new DNS names takes effect once those were looked up, and one of which nothing is known not before
   * something is: `ready()` waits for the first.
   *
   * @throws {OptionsError} and changes nothing, when the list is not usable.
   * @throws {GatewayError} ERR_EXPRESSWAY_CLOSED after `close()`.
   */
  setBackends(backends: readonly (string | BackendOptions)[]): void;
  /**
   * Gives one backend, named by its origin as in `status()`, no new request. What it has goes on, event streams and
   * tunnels too, and its health is still checked. Lasts until `restore()`, over a new list too, or until it leaves the list.
   *
   * @returns whether there is such a backend.
   */
  drain(backend: string): boolean;
  /**
   * The same with its circuit `isolated`: what its running requests come to counts for nothing, and when it is restored
   * its circuit is closed, whatever it was before.
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
   * Replaces the option `tls`, for connections and health checks made from now on. What runs ends on the connections that
   * it has; event streams and tunnels stay.
   *
   * @throws {OptionsError} and changes nothing, when it cannot be used.
   */
  setTls(tls: BackendTlsOptions): void;
  /**
   * Waits until each DNS name in the list was looked up once, found or not: for at most 2 × `dns.timeoutMs`, and not at
   * all where there are no names. Until a name is found, requests that only it could serve get 503.
   */
  ready(): Promise<void>;
  /**
   * Ends tunnels at once, and the connections to backends when their running requests have ended. Requests that still
   * come get 503.
   */
  close(): Promise<void>;
}

/**
 * Forwards each request to the next available backend: strict rotation unless `loadBalancing` says otherwise, one
 * circuit per backend, and no visible error where another backend could be reached.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function roundRobinProxy(given: RoundRobinProxyOptions): RoundRobinProxy {
  return makeProxy(given, false).proxy;
}

/** A proxy that several routes share. */
export interface SharedProxy {
  readonly proxy: RoundRobinProxy;
  /** How it picks a backend. */
  readonly policy: SelectionPolicy;
  /** Forwards as the proxy does, except for what the route has of its own. */
  forRoute(own: RouteForwarding): Middleware;
  /** Sends copies of requests to the backends, on the requests' way to the next handler. */
  mirror(options: MirrorOptions): Middleware;
  /** Closes the proxy when its requests and tunnels have ended, or after its `drainTimeoutMs`. It must get no further request. */
  retire(): Promise<void>;
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
  const changeHeaders = settings.requestHeaders && requestHeaderRules(settings.requestHeaders, settings.name);
  function expresswayProxy(req: IncomingMessage, res: ServerResponse, next: Next): void {
    if (firstRequest.isDue) firstRequest.check(req);
    changeHeaders?.(exchangeOf(req, res));
    forward(req, res, next);
  }
  const copies = new Copies(parts, changeHeaders);
  const proxy = Object.assign(expresswayProxy satisfies Middleware, controls(parts, firstRequest, copies));
  // Not assigned: the name of a function is read-only.
  Object.defineProperty(proxy, 'name', { value: settings.name });
  return {
    proxy,
    policy: parts.policy,
    forRoute: (own) => routeForwarder(partsForRoute(parts, own), firstRequest, changeHeaders),
    mirror: (options) => copies.middleware(options),
    async retire() {
      await drainParts(parts, settings.drainTimeoutMs);
      await proxy.close();
    },
  };
}

function routeForwarder(
  parts: ProxyParts,
  firstRequest: FirstRequest,
  changeHeaders: ((exchange: Exchange) => void) | undefined,
): Middleware {
  return function expresswayForward(req: IncomingMessage, res: ServerResponse, next: Next): void {
    if (firstRequest.isDue) firstRequest.check(req);
    const exchange = exchangeOf(req, res);
    changeHeaders?.(exchange);
    new ProxiedRequest(parts, exchange, next).start();
  };
}

/** What can be asked of a proxy, and done to it. */
function controls(parts: ProxyParts, firstRequest: FirstRequest, copies: Copies): Omit<RoundRobinProxy, 'name'> {
  const { pool, health, membership, connections, queue, budget, events } = parts;
  const operate = (backend: string, act: (backend: Backend) => void): boolean => {
    const found = pool.each(backend, act);
    // How many may be out for their health depends on how many are left.
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
