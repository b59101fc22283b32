import type { IncomingMessage, ServerResponse } from 'node:http';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { Backend, type BackendStatus } from '../backends/backend.ts';
import { BackendPool } from '../backends/backend-pool.ts';
import { assertBackends, type BackendOptions, readBackends } from '../backends/backend-url.ts';
import { dnsChecks, dnsDefaults } from '../backends/discovery/discovery-options.ts';
import { queueChecks, queueDefaults, RequestQueue } from '../backends/queue.ts';
import { selectionPolicy } from '../backends/selection/load-balancing.ts';
import { Circuit } from '../circuit-breaker/circuit.ts';
import {
  backendCircuitChecks,
  backendCircuitDefaults,
  consecutiveFailures,
  openBackoff,
} from '../circuit-breaker/circuit-options.ts';
import { GatewayEvents } from '../core/events.ts';
import { exchangeOf } from '../core/exchange.ts';
import type { Middleware, Next } from '../core/http.ts';
import { noticeMaking } from '../core/made-per-request.ts';
import { resolveOptions } from '../core/options.ts';
import { Forwarding } from './forwarding.ts';
import type { ForwardingParts } from './forwarding-parts.ts';
import { InFlightCaps } from './in-flight-caps.ts';
import { Membership } from './membership.ts';
import { tellOfOwnAddress } from './own-address-warning.ts';
import { PoolHealth } from './pool-health.ts';
import { watchRequests } from './request/hop-by-hop.ts';
import { toOriginForm } from './request/origin-form.ts';
import { PathFilterErrors } from './request/path-filter-errors.ts';
import { warnOfOpenPrefixes } from './request/path-filter-warning.ts';
import { requestHeadRules } from './request/request-head.ts';
import { Via } from './request/via.ts';
import { RetryBudget } from './retry/retry-budget.ts';
import { retryChecks, retryDefaults } from './retry/retry-rules.ts';
import {
  foreignProxyOptions,
  type RoundRobinProxyOptions,
  roundRobinProxyChecks,
  roundRobinProxyDefaults,
} from './round-robin-proxy-options.ts';
import { assertBackendTls, type BackendTlsOptions } from './transport/backend-tls.ts';
import { Connections } from './transport/connections.ts';
import { ResourceShortages } from './transport/resource-shortage.ts';
import { tunnelChecks, tunnelDefaults } from './tunnel/tunnel-options.ts';
import { Tunnels } from './tunnel/tunnels.ts';
import { Watchdog } from './watchdog.ts';

/** How much a proxy works on at the moment. */
export interface ProxyLoad {
  /** Requests in progress, the waiting ones included. */
  readonly inFlight: number;
  /** Those of them that wait for a place at a backend. */
  readonly waiting: number;
  /** Retries that the budget would still allow. */
  readonly retriesLeft: number;
}

/** The middleware, and what can be asked of it. */
export interface RoundRobinProxy extends Middleware {
  /** As in the options. */
  readonly name: string;
  readonly events: GatewayEvents;
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

const MADE_PER_REQUEST =
  'proxies were made within a minute while requests were coming: one that is made per request has connections, circuits and ' +
  'timers of its own, which nobody closes. Call roundRobinProxy() once, where the app is put together.';

/** A rewrite may take its time: what a middleware has set flowing waits for whoever takes the request. */
function held(req: IncomingMessage, next: Next): Next {
  if (req.readableFlowing !== true) return next;
  req.pause();
  return (error) => {
    req.resume();
    // A plain server gives none.
    next?.(error);
  };
}

/**
 * Forwards each request to the next available backend: strict rotation unless `loadBalancing` says otherwise, one
 * circuit per backend, and no visible error where another backend could be reached.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function roundRobinProxy(given: RoundRobinProxyOptions): RoundRobinProxy {
  const options = resolveOptions(
    'roundRobinProxy',
    given,
    roundRobinProxyDefaults,
    roundRobinProxyChecks,
    foreignProxyOptions,
  );
  const circuitOptions = resolveOptions(
    'roundRobinProxy.circuit',
    options.circuit,
    backendCircuitDefaults,
    backendCircuitChecks,
  );
  const { name } = options;
  const openMs = openBackoff(circuitOptions);
  const events = options.events ?? new GatewayEvents();
  const policy = selectionPolicy(options.loadBalancing);
  const queue = resolveOptions('roundRobinProxy.queue', options.queue, queueDefaults, queueChecks);
  const places = { hasAny: () => pool.hasCandidate([]), nextChangeMs: () => pool.nextChangeMs() };
  const line = queue.size > 0 ? new RequestQueue(queue, places) : undefined;
  const needs = {
    slowStartMs: options.slowStartMs,
    observesLatency: policy.observesLatency === true,
    maxRequests: options.maxRequests,
    freed: line && (() => line.advance()),
  };
  const pool = new BackendPool(policy, (config) => {
    const { origin } = config.url;
    const circuit = new Circuit(origin, {
      ...circuitOptions,
      openMs,
      consecutiveFailures: consecutiveFailures(circuitOptions),
    });
    circuit.onStateChange((from, to, retryAfterMs) => {
      events.emit('circuitStateChange', { circuit: origin, proxy: name, from, to, retryAfterMs });
      // Not in the middle of the change: whoever waits enters a circuit.
      if (to === 'closed' && line !== undefined) queueMicrotask(() => line.advance());
    });
    return new Backend(config, circuit, needs);
  });
  const health = new PoolHealth(
    options,
    Math.max(circuitOptions.openMs, circuitOptions.maxOpenMs),
    pool,
    events,
    needs.freed,
  );
  const connections = new Connections(options);
  const tunnel = resolveOptions('roundRobinProxy.tunnel', options.tunnel, tunnelDefaults, tunnelChecks);
  const { responseTimeoutMs, idleTimeoutMs } = options;
  const idle = tunnel.idleTimeoutMs || tunnel.closeTimeoutMs;
  const watchdog = new Watchdog(Math.min(responseTimeoutMs, idleTimeoutMs, idle, tunnel.closeTimeoutMs));
  const tunnels = new Tunnels(tunnel, watchdog);
  const dns = resolveOptions('roundRobinProxy.dns', options.dns, dnsDefaults, dnsChecks);
  const { drainTimeoutMs } = options;
  const membership = new Membership(
    { pool, health, connections, tunnels, line, events },
    { name, dns, drainTimeoutMs },
    readBackends(options.backends),
  );
  const retry = resolveOptions('roundRobinProxy.retry', options.retry, retryDefaults, retryChecks);
  const parts: ForwardingParts = {
    name,
    pool,
    health,
    connections,
    watchdog,
    timeouts: options,
    rules: requestHeadRules({ ...options, via: options.via === false ? undefined : new Via(options.via) }),
    events,
    retry,
    budget: new RetryBudget(retry.budgetRatio, retry.budgetMinimum),
    caps: options.maxInFlight > 0 || options.maxInFlightPerClient > 0 ? new InFlightCaps(options) : undefined,
    line,
    isFailure: options.isFailure,
    ambiguousPaths: options.ambiguousPaths,
    body: options.body,
    maxBodyBytes: options.maxBodyBytes,
    tunnels,
    shortages: new ResourceShortages(events, options.name),
  };
  watchRequests();
  const { pathFilter, pathRewrite } = options;
  warnOfOpenPrefixes(pathFilter);
  const filter = new PathFilterErrors(pathFilter);
  const forward = (req: IncomingMessage, res: ServerResponse, next: Next) =>
    new Forwarding(parts, exchangeOf(req, res), next).start();
  const filtered = createProxyMiddleware({
    // It wants a target; which backend it really is is known per request only.
    target: new URL('http://backend.invalid'),
    ejectPlugins: true,
    plugins: [
      (proxyServer) => {
        // Without a listener, the error of a throwing path rewrite would end the process before it reached next().
        proxyServer.on('error', () => {});
        // What is rejected goes to next(). Nobody waits for anything else.
        proxyServer.web = (req, res) => new Promise((_resolve, reject) => forward(req, res, reject));
      },
    ],
    ...(filter.filter === undefined ? {} : { pathFilter: filter.filter }),
    ...(pathRewrite === undefined ? {} : { pathRewrite }),
  });
  // Without a filter or a rewrite nothing lies between the request and the transport: see docs/decisions/0007.
  const direct = pathFilter === undefined && pathRewrite === undefined;

  const madeAt = Date.now();
  let isKnown = false;
  let ownAddressChecked = false;
  const hold = (backend: string, act: (backend: Backend) => void): boolean => {
    const found = pool.each(backend, act);
    // How many may be out for their health depends on who is left.
    if (found) health.membershipChanged({ added: [], removed: [] });
    line?.advance();
    return found;
  };

  const proxy = Object.assign(
    function expresswayProxy(req, res, next) {
      if (!ownAddressChecked) {
        ownAddressChecked = true;
        tellOfOwnAddress(req, pool.status());
        if (!isKnown) noticeMaking(req, madeAt, 'WARN_EXPRESSWAY_PROXY_PER_REQUEST', MADE_PER_REQUEST);
        isKnown = true;
      }
      if (direct) forward(req, res, next);
      else void filtered(req, res, filter.passedTo(held(req, toOriginForm(req, next))));
    } satisfies Middleware,
    {
      events,
      status: () => pool.status(),
      load: () => ({ inFlight: parts.budget.requests, waiting: line?.length ?? 0, retriesLeft: parts.budget.left }),
      setBackends(backends: readonly (string | BackendOptions)[]): void {
        assertBackends(backends);
        membership.replace(readBackends(backends));
        ownAddressChecked = false;
      },
      drain: (backend: string) => hold(backend, (one) => one.drain()),
      isolate: (backend: string) => hold(backend, (one) => one.isolate()),
      restore: (backend: string) => hold(backend, (one) => one.restore()),
      setTls(tls: BackendTlsOptions): void {
        assertBackendTls(tls);
        connections.setTls(tls);
        health.setTls(tls);
      },
      ready: () => membership.ready(),
      async close(): Promise<void> {
        health.close();
        membership.close();
        line?.close();
        void tunnels.close();
        await connections.close();
        // Those whose handshake was still under way have come to be since.
        await tunnels.close();
        watchdog.close();
      },
    },
  );
  // Not assigned: the name of a function is read-only.
  return Object.defineProperty(proxy, 'name', { value: name });
}
