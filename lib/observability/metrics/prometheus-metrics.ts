import { eventsCheck, type GatewayEvents, subscribe } from '../../core/gateway-events.ts';
import { type Checks, integer, nonEmptyString, resolveOptions } from '../../core/options.ts';
import type { RequestSink } from '../request-record.ts';
import { sourcesCheck } from '../status/status-sources.ts';
import { EventCounts } from './event-counts.ts';
import { Metric, type MetricAggregator, type MetricRegister, type MetricType, type Sample } from './metric.ts';
import { RequestCounts } from './request-counts.ts';
import { type MetricSources, StateGauges } from './state-gauges.ts';
import type { TrafficSource } from './traffic-totals.ts';

/** Options of {@link prometheusMetrics}. */
export interface PrometheusMetricsOptions extends MetricSources {
  /** A prom-client `Registry`. Nothing of prom-client itself is loaded here. */
  register: MetricRegister;
  /** The emitter that the middlewares share. */
  events: GatewayEvents;
  /** Prefix of all names. Default `expressway`. */
  prefix?: string;
  /**
   * Number of routes that get a label value, from 1 to 10 000; further routes are `OTHER`. All routes together have four times as many
   * pairs of route and service; further services are `OTHER`. Default 100.
   */
  maxRoutes?: number;
}

/** Defaults of {@link PrometheusMetricsOptions}. */
export const prometheusMetricsDefaults = Object.freeze({ prefix: 'expressway', maxRoutes: 100 });

/**
 * Metrics of several workers that are not merged to a sum: a state is 1 if any worker is in it, and availability of a backend is the share of
 * workers that would pick it.
 */
const AGGREGATORS: Readonly<Record<string, MetricAggregator>> = {
  circuit_state: 'max',
  limiter_mode: 'max',
  backend_limited_seconds: 'max',
  backend_up: 'average',
  backend_healthy: 'average',
  problem: 'max',
};

const isAskable = (value: unknown): boolean =>
  (typeof value === 'object' || typeof value === 'function') && value !== null;

const checks: Checks<PrometheusMetricsOptions> = {
  register: (value) =>
    isAskable(value) && typeof (value as MetricRegister).registerMetric === 'function'
      ? undefined
      : 'must be a Registry of prom-client, as new Registry() gives it',
  events: eventsCheck,
  prefix: (value) =>
    nonEmptyString(value) ??
    (/^[a-z][a-z0-9_]*$/.test(value as string)
      ? undefined
      : 'must be a name like my_gateway, of small letters, digits and _'),
  maxRoutes: integer(1, 10_000),
  limiters: sourcesCheck('ipRateLimit', 'name', 'mode'),
  breakers: sourcesCheck('circuitBreaker', 'name', 'state'),
  proxies: sourcesCheck('roundRobinProxy', 'name', 'status', 'load'),
  routers: sourcesCheck('serviceRouter', 'routes'),
  accessLogs: sourcesCheck('accessLog', 'dropped'),
};

/** `observability()` adds the requests here. */
export interface PrometheusMetrics extends RequestSink, TrafficSource {
  /** Stops listening to events. The counts stay in the registry. */
  close(): void;
}

/**
 * Metrics of a gateway in a registry of prom-client; `docs/metrics.md` lists them. Requests come from `observability()`,
 * the rest from events and, at each scrape, from the middlewares themselves.
 *
 * ```ts
 * const register = new Registry();
 * const metrics = prometheusMetrics({ register, events, limiters: [limiter], breakers: [breaker], proxies: [proxy] });
 * app.use(observability({ metrics }), limiter, breaker, proxy);
 * ```
 *
 * Label values are bounded: methods are those of RFC 9110 and PATCH, or `OTHER`; backends are those of `proxies`, and go with
 * them; routes are names that the app gives.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 * @throws {Error} of prom-client, for a registry that has metrics of these names already.
 */
export function prometheusMetrics(given: PrometheusMetricsOptions): PrometheusMetrics {
  const { register, events, prefix, maxRoutes, ...sources } = resolveOptions(
    'prometheusMetrics',
    given,
    prometheusMetricsDefaults,
    checks,
  );
  const state = new StateGauges(sources);
  const requests = new RequestCounts(maxRoutes, () => state.backends());
  const counts = new EventCounts(events, () => state.circuits());
  const unsubscribe = subscribe(events, { rejectedEarly: (event) => requests.rejectedEarly(event) });

  const define = (name: string, help: string, type: MetricType, samples: (name: string) => Iterable<Sample>): void => {
    const full = `${prefix}_${name}`;
    register.registerMetric(new Metric(full, help, type, () => samples(full), AGGREGATORS[name]));
  };
  for (const owner of [requests, counts, state]) owner.define(define);
  return {
    started: () => requests.started(),
    answered: (backend, headMs, service) => requests.answered(backend, headMs, service),
    attempt: (backend, durationMs, service, outcome) => requests.attempt(backend, durationMs, service, outcome),
    limiterDecided: (decision) => requests.limiterDecided(decision),
    finished: (request) => requests.finished(request),
    totals: () => requests.totals(),
    showProblems(kinds, problems) {
      define('problem', 'Whether there is a problem of this kind: docs/problems.md.', 'gauge', () =>
        problemSamples(kinds, problems()),
      );
    },
    close: () => {
      unsubscribe();
      counts.close();
    },
  };
}

/** 0 or 1 for each kind, so that alert rules find the series before there is a problem. */
export function problemSamples(kinds: readonly string[], problems: readonly { readonly problem: string }[]): Sample[] {
  const found = new Set(problems.map(({ problem }) => problem));
  return kinds.map((problem) => ({ labels: { problem }, value: Number(found.has(problem)) }));
}
