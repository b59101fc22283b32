import type { CircuitStateName, HealthVerdict, LimiterMode } from '../../core/events.ts';
import { allBreakers, allLimiters, allProxies, type RouterParts } from '../router-parts.ts';
import { backendKey } from './counts.ts';
import type { DefineMetric, Sample } from './metric.ts';

interface LimiterSource {
  readonly name: string;
  readonly mode: LimiterMode;
}

interface BreakerSource {
  readonly name: string;
  readonly state: CircuitStateName;
}

/** The middlewares whose state is read at each scrape. */
export interface MetricSources {
  /** Results of `ipRateLimit()`. Default: none. */
  limiters?: readonly LimiterSource[];
  /** Results of `circuitBreaker()`. Default: none. */
  breakers?: readonly BreakerSource[];
  /** Results of `roundRobinProxy()`; without them there are no metrics of single backends. Default: none. */
  proxies?: readonly ProxySource[];
  /** Results of `serviceRouter()`: its services as proxies, and limiters and circuits of its routes. Default: none. */
  routers?: readonly RouterParts<LimiterSource, BreakerSource, ProxySource>[];
  /** Results of `accessLog()`. Default: none. */
  accessLogs?: readonly { readonly dropped: number }[];
}

interface ConcurrencySource {
  readonly limit: number;
  readonly inFlight: number;
  readonly limitedSince?: number | undefined;
}

interface ProxySource {
  readonly name: string;
  status(): readonly {
    readonly backend: string;
    readonly circuit: CircuitStateName;
    readonly health: HealthVerdict;
    readonly available: boolean;
    readonly inFlight: number;
    readonly concurrency?: ConcurrencySource | undefined;
  }[];
  load(): { readonly inFlight: number; readonly waiting: number; readonly retriesLeft: number };
}

const CIRCUIT_STATES: readonly CircuitStateName[] = ['closed', 'half-open', 'open', 'isolated'];
const LIMITER_MODES: readonly LimiterMode[] = ['memory', 'redis', 'local', 'open', 'closed'];

/** Gauges of the states of the middlewares, read at each scrape. */
export class StateGauges {
  readonly #sources: MetricSources;

  constructor(sources: MetricSources) {
    this.#sources = sources;
  }

  /** The keys of all present backends. */
  backends(): ReadonlySet<string> {
    return new Set(this.#backends().map(({ service, backend }) => backendKey(service, backend)));
  }

  /** The keys of all present circuits. Circuits of routes belong to no service. */
  circuits(): ReadonlySet<string> {
    return new Set([...this.#breakers().map(({ name }) => backendKey('', name)), ...this.backends()]);
  }

  define(define: DefineMetric): void {
    define('circuit_state', '1 for the present state of a circuit, 0 for the others.', 'gauge', () => this.#circuits());
    define('backend_up', 'Whether a backend gets requests now, other than trials.', 'gauge', () =>
      this.#backends().map(({ service, backend, available, circuit }) => ({
        labels: { service, backend },
        // Trials show whether it is up: until they have succeeded, an alert must stay.
        value: Number(available && circuit === 'closed'),
      })),
    );
    define(
      'backend_healthy',
      'Whether a backend passes its active checks; missing before the first result.',
      'gauge',
      () =>
        this.#backends()
          .filter(({ health }) => health !== 'unknown')
          .map(({ service, backend, health }) => ({
            labels: { service, backend },
            value: Number(health === 'healthy'),
          })),
    );
    define('backend_requests_in_flight', 'Requests in progress at a backend.', 'gauge', () =>
      this.#backends().map(({ service, backend, inFlight }) => ({ labels: { service, backend }, value: inFlight })),
    );
    define('backend_concurrency_limit', 'Requests that may wait for a response head of a backend.', 'gauge', () =>
      this.#concurrencies(({ limit }) => limit),
    );
    define('backend_concurrency', 'Requests that wait for a response head of a backend.', 'gauge', () =>
      this.#concurrencies(({ inFlight }) => inFlight),
    );
    define(
      'backend_limited_seconds',
      'Seconds for which a backend has been at its adaptive limit; 0 when it is not.',
      'gauge',
      () =>
        this.#concurrencies(({ limitedSince }) =>
          limitedSince === undefined ? 0 : Math.max(0, Date.now() - limitedSince) / 1000,
        ),
    );
    define('queue_length', 'Requests that wait for a place at a backend.', 'gauge', () =>
      this.#loads(({ waiting }) => waiting),
    );
    define('retry_budget_left', 'Retries that the budget allows now.', 'gauge', () =>
      this.#loads(({ retriesLeft }) => retriesLeft),
    );
    define('limiter_mode', '1 for the present mode of a limiter, 0 for the others.', 'gauge', () =>
      this.#limiters().flatMap(({ name, mode }) =>
        LIMITER_MODES.map((one) => ({ labels: { limiter: name, mode: one }, value: Number(one === mode) })),
      ),
    );
    define('access_log_dropped_total', 'Access log lines dropped because the log was too slow.', 'counter', () => {
      const logs = this.#sources.accessLogs ?? [];
      return logs.length === 0 ? [] : [{ labels: {}, value: logs.reduce((sum, { dropped }) => sum + dropped, 0) }];
    });
  }

  #backends() {
    return this.#proxies().flatMap((proxy) => proxy.status().map((status) => ({ service: proxy.name, ...status })));
  }

  #proxies(): readonly ProxySource[] {
    return allProxies(this.#sources.proxies, this.#sources.routers);
  }

  #limiters(): readonly LimiterSource[] {
    return allLimiters(this.#sources.limiters, this.#sources.routers);
  }

  #breakers(): readonly BreakerSource[] {
    return allBreakers(this.#sources.breakers, this.#sources.routers);
  }

  #circuits(): Sample[] {
    const breakers = this.#breakers().map(({ name, state }) => ({ service: '', name, state }));
    const backends = this.#backends().map(({ service, backend, circuit }) => ({
      service,
      name: backend,
      state: circuit,
    }));
    return [...breakers, ...backends].flatMap(({ service, name, state }) =>
      CIRCUIT_STATES.map((one) => ({ labels: { service, circuit: name, state: one }, value: Number(one === state) })),
    );
  }

  /** Has no samples for backends without an adaptive limit. */
  #concurrencies(of: (one: ConcurrencySource) => number): Sample[] {
    return this.#backends().flatMap(({ service, backend, concurrency }) =>
      concurrency === undefined ? [] : [{ labels: { service, backend }, value: of(concurrency) }],
    );
  }

  #loads(of: (load: ReturnType<ProxySource['load']>) => number): Sample[] {
    return this.#proxies().map((proxy) => ({ labels: { service: proxy.name }, value: of(proxy.load()) }));
  }
}
