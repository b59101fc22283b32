import { Backend } from '../backends/backend.ts';
import { BackendPool } from '../backends/backend-pool.ts';
import { readBackends } from '../backends/backend-url.ts';
import { RequestQueue } from '../backends/queue.ts';
import { selectionPolicy } from '../backends/selection/load-balancing.ts';
import type { SelectionPolicy } from '../backends/selection/selection-policy.ts';
import { Circuit } from '../circuit-breaker/circuit.ts';
import { consecutiveFailures, openBackoff } from '../circuit-breaker/circuit-options.ts';
import type { GatewayEvents } from '../core/gateway-events.ts';
import { failureByStatus, type Outcome } from '../core/outcome.ts';
import type { AmbiguousPaths } from '../ingress/request-checks.ts';
import type { AttemptTimeouts } from './attempt-owner.ts';
import { type InFlightCapOptions, InFlightCaps, inFlightCapDefaults } from './in-flight-caps.ts';
import { Membership } from './membership.ts';
import { PoolHealth } from './pool-health.ts';
import type { ProxySettings } from './proxy-settings.ts';
import { Via } from './request/forwarding-headers.ts';
import type { ReadBody } from './request/read-body.ts';
import { type RequestHeadRules, requestHeadRules } from './request/request-head.ts';
import { type ResponseOptions, ResponseRules } from './response/response-rules.ts';
import { RetryBudget } from './retry/retry-budget.ts';
import type { RetryOptions, RetrySettings } from './retry/retry-rules.ts';
import { AllConnections } from './transport/all-connections.ts';
import { ResourceShortages } from './transport/failure.ts';
import { Tunnels } from './tunnel/tunnels.ts';
import { Watchdog } from './watchdog.ts';

/** Settings of one route that shares the backends, circuits and connections of a proxy with other routes. */
export interface RouteForwarding extends Partial<AttemptTimeouts> {
  readonly retry?: RetryOptions | undefined;
  readonly maxBodyBytes?: number | undefined;
  /** Replaces the option of the service. */
  readonly response?: ResponseOptions | undefined;
  /** Additional response headers to remove. */
  readonly removedHeaders?: readonly string[] | undefined;
  readonly caps?: InFlightCapOptions | undefined;
  /** Replaces the policy of the service, and may use that one. */
  readonly policy?: SelectionPolicy | undefined;
}

/** The parts of one proxy, which all its requests share. */
export interface ProxyParts {
  readonly name: string;
  readonly events: GatewayEvents;
  readonly pool: BackendPool;
  readonly policy: SelectionPolicy;
  readonly membership: Membership;
  readonly health: PoolHealth;
  readonly connections: AllConnections;
  readonly tunnels: Tunnels;
  readonly watchdog: Watchdog;
  readonly timeouts: AttemptTimeouts;
  readonly rules: RequestHeadRules;
  readonly ambiguousPaths: AmbiguousPaths;
  /** Where to find a body that a middleware read before the proxy. */
  readonly body: ReadBody | undefined;
  /** 0 for any number. */
  readonly maxBodyBytes: number;
  /** `undefined` if responses are not changed. */
  readonly response: ResponseRules | undefined;
  readonly retry: RetrySettings;
  readonly budget: RetryBudget;
  /** `undefined` without caps. */
  readonly caps: InFlightCaps | undefined;
  /** `undefined` if requests do not wait for a backend. */
  readonly queue: RequestQueue | undefined;
  readonly isFailure: ((outcome: Outcome) => boolean) | undefined;
  readonly shortages: ResourceShortages;
}

/** Creates the parts of a proxy, and starts its health checks and DNS look-ups. */
export function proxyParts(settings: ProxySettings): ProxyParts {
  const { name, events, circuit, tunnel, retry, responseTimeoutMs, idleTimeoutMs } = settings;
  // Queue and pool need each other. These functions are called only after the pool exists.
  const slots = { hasAny: () => pool.hasCandidate([]), nextChangeMs: () => pool.nextChangeMs() };
  const queue = settings.queue.size > 0 ? new RequestQueue(settings.queue, slots) : undefined;
  const freed = queue && (() => queue.advance());
  const policy = selectionPolicy(settings.loadBalancing);
  const pool = new BackendPool(policy, backendMaker(settings, policy, freed));
  const health = new PoolHealth(settings, Math.max(circuit.openMs, circuit.maxOpenMs), pool, events, freed);
  const connections = new AllConnections(settings);
  const { idleTimeoutMs: tunnelIdleMs, sendTimeoutMs, closeTimeoutMs } = tunnel;
  const shortestMs = Math.min(tunnelIdleMs || closeTimeoutMs, sendTimeoutMs || closeTimeoutMs, closeTimeoutMs);
  const watchdog = new Watchdog(Math.min(responseTimeoutMs, idleTimeoutMs, shortestMs));
  const tunnels = new Tunnels(tunnel, watchdog);
  const sources = readBackends(settings.backends);
  return {
    name,
    events,
    pool,
    policy,
    membership: new Membership({ pool, health, connections, tunnels, queue, events }, settings, sources),
    health,
    connections,
    tunnels,
    watchdog,
    timeouts: { responseTimeoutMs, idleTimeoutMs },
    rules: requestHeadRules({ ...settings, via: settings.via === false ? undefined : new Via(settings.via) }),
    ambiguousPaths: settings.ambiguousPaths,
    body: settings.body,
    maxBodyBytes: settings.maxBodyBytes,
    response: responseRules(settings),
    retry,
    budget: new RetryBudget(retry.budgetRatio, retry.budgetMinimum),
    caps: settings.maxInFlight > 0 || settings.maxInFlightPerClient > 0 ? new InFlightCaps(settings) : undefined,
    queue,
    isFailure: settings.isFailure ?? failureByStatus(circuit.failureStatuses),
    shortages: new ResourceShortages(events, name),
  };
}

type BackendMaker = ConstructorParameters<typeof BackendPool>[1];

/** @param freed Called when a backend may be free for a waiting request. */
function backendMaker(settings: ProxySettings, policy: SelectionPolicy, freed: (() => void) | undefined): BackendMaker {
  const { name, events, slowStartMs, maxRequests, concurrency } = settings;
  const circuitOptions = {
    ...settings.circuit,
    openMs: openBackoff(settings.circuit),
    consecutiveFailures: consecutiveFailures(settings.circuit),
  };
  const needs = { slowStartMs, observesLatency: policy.observesLatency === true, maxRequests, concurrency, freed };
  return (config) => {
    const { origin } = config.url;
    const circuit = new Circuit(origin, circuitOptions);
    circuit.onStateChange((from, to, retryAfterMs) => {
      events.emit('circuitStateChange', { circuit: origin, service: name, from, to, retryAfterMs });
      // Later, because the change is not complete, and a request that leaves the queue enters a circuit.
      if (to === 'closed' && freed !== undefined) queueMicrotask(freed);
    });
    return new Backend(config, circuit, needs);
  };
}

/** The parts with the settings of one route. The order of the properties stays, so that V8 sees one shape of object for all requests. */
export function partsForRoute(parts: ProxyParts, own: RouteForwarding): ProxyParts {
  const { retry = {}, maxBodyBytes = parts.maxBodyBytes, caps, policy = parts.policy } = own;
  const { responseTimeoutMs = parts.timeouts.responseTimeoutMs, idleTimeoutMs = parts.timeouts.idleTimeoutMs } = own;
  const isPatient =
    responseTimeoutMs >= parts.timeouts.responseTimeoutMs && idleTimeoutMs >= parts.timeouts.idleTimeoutMs;
  return {
    ...parts,
    policy,
    timeouts: { responseTimeoutMs, idleTimeoutMs },
    // How exact a timeout is depends on how often the watchdog looks.
    watchdog: isPatient ? parts.watchdog : new Watchdog(Math.min(responseTimeoutMs, idleTimeoutMs)),
    maxBodyBytes,
    response: responseForRoute(parts, own),
    // All routes share the retry budget of the service: with one each, they could cause a storm of retries.
    retry: { ...parts.retry, ...retry },
    caps: caps === undefined ? parts.caps : new InFlightCaps({ ...inFlightCapDefaults, ...caps }),
  };
}

/** With `changeOrigin`, a backend does not know the host that clients ask, and names its own address in redirects and cookies. */
function responseRules({ response, changeOrigin }: ProxySettings): ResponseRules | undefined {
  if (response === undefined && !changeOrigin) return undefined;
  return new ResponseRules({ ...response, rewriteUrls: response?.rewriteUrls ?? changeOrigin });
}

function responseForRoute({ response }: ProxyParts, own: RouteForwarding): ResponseRules | undefined {
  if (own.response === undefined && own.removedHeaders === undefined) return response;
  const options = { ...response?.options, ...own.response };
  const removed = [...(options.headers?.remove ?? []), ...(own.removedHeaders ?? [])];
  return new ResponseRules({ ...options, headers: { ...options.headers, remove: removed } });
}

/** Closes the parts of a proxy. Later requests get 503. */
export async function closeParts({ health, membership, queue, tunnels, connections, watchdog, budget }: ProxyParts) {
  health.close();
  membership.close();
  queue?.close();
  void tunnels.close();
  // A connection that is being opened for a request that has ended would delay the end by up to connectTimeoutMs.
  void budget.none().then(() => connections.destroy());
  await connections.close();
  // Tunnels whose handshake was in progress may have opened in the meantime.
  await tunnels.close();
  watchdog.close();
}

/**
 * Waits until the requests and tunnels in progress have ended. Retries may still use other backends. Health checks and DNS look-ups stop.
 *
 * @param drainTimeoutMs Milliseconds after which the remaining requests and tunnels are cut; 0 for never.
 */
export async function drainParts(parts: ProxyParts, drainTimeoutMs: number): Promise<void> {
  const { health, membership, budget, pool, connections, tunnels } = parts;
  health.close();
  membership.stopDiscovery();
  const cutAll = () => {
    for (const backend of pool.backends) {
      connections.remove(backend.identity);
      connections.cut(backend.identity);
      tunnels.cut(backend);
    }
  };
  const timer = drainTimeoutMs > 0 ? setTimeout(cutAll, drainTimeoutMs).unref() : undefined;
  await budget.none();
  clearTimeout(timer);
}
