import { CAUSES, type Cause } from '../../core/causes.ts';
import type { RejectedEarlyEvent } from '../../core/events.ts';
import type { Outcome } from '../../core/outcome.ts';
import type { LimiterDecision } from '../../core/recorder.ts';
import { DEFAULT_ROUTE, type FinishedRequest, type RequestSink } from '../request-record.ts';
import { backendKey, Counts } from './counts.ts';
import { Histogram } from './histogram.ts';
import type { DefineMetric, Sample } from './metric.ts';
import { CLASSES, classOf, RequestSeries } from './request-series.ts';
import { emptyRouteTotals, emptyTotals, type TrafficTotals } from './traffic-totals.ts';

const TOO_MANY_REQUESTS = 429;
const OVERFLOW = 'OTHER';
const NO_SERVICE = '';
/** On average: a route with one service has a second series for what was rejected before a service was chosen. */
const SERVICES_PER_ROUTE = 4;
/** Number of backends above which removed ones are dropped. */
const PRUNE_AT = 64;

/** The counts of requests. They are updated on the path of each request, so all of them are prepared in advance. */
export class RequestCounts implements RequestSink {
  readonly #maxRoutes: number;
  readonly #knownBackends: () => ReadonlySet<string>;
  /** By route, then by service. */
  readonly #routes = new Map<string, Map<string, RequestSeries>>();
  /** By service, then by backend: two lookups cost less than building one common key. */
  readonly #backends = new Map<string, Map<string, BackendCounts>>();
  /** By limiter, then by its mode. */
  readonly #decisions = new Map<string, Map<string, DecisionCounts>>();
  readonly #causes = new Counts('route', 'service', 'cause');
  #seriesCount = 0;
  #backendCount = 0;
  #pruneAt = PRUNE_AT;
  #inFlight = 0;

  constructor(maxRoutes: number, knownBackends: () => ReadonlySet<string>) {
    this.#maxRoutes = maxRoutes;
    this.#knownBackends = knownBackends;
  }

  started(): void {
    this.#inFlight += 1;
  }

  answered(backend: string, headMs: number, service: string): void {
    this.#countsOf(service, backend).heads.observe(headMs / 1000);
  }

  attempt(backend: string, durationMs: number, service: string, outcome: Outcome): void {
    const counts = this.#countsOf(service, backend);
    counts.durations.observe(durationMs / 1000);
    if (outcome.kind === 'completed') counts.statuses[classOf(outcome.status)]! += 1;
  }

  #countsOf(service: string, backend: string): BackendCounts {
    return this.#backends.get(service)?.get(backend) ?? this.#newBackend(service, backend);
  }

  #newBackend(service: string, backend: string): BackendCounts {
    // Backends that were removed between two scrapes leave only little behind.
    if (this.#backendCount >= this.#pruneAt) this.#prune();
    const counts = { durations: new Histogram(), heads: new Histogram(), statuses: new Float64Array(CLASSES.length) };
    const ofService = this.#backends.get(service) ?? new Map<string, BackendCounts>();
    this.#backends.set(service, ofService.set(backend, counts));
    this.#backendCount += 1;
    return counts;
  }

  limiterDecided({ limiter, mode, allowed, shadow }: LimiterDecision): void {
    const counts = this.#decisions.get(limiter)?.get(mode) ?? this.#newDecisions(limiter, mode);
    if (allowed) counts.allowed += 1;
    else if (shadow) counts.shadowed += 1;
    else counts.limited += 1;
  }

  #newDecisions(limiter: string, mode: string): DecisionCounts {
    const counts = { allowed: 0, limited: 0, shadowed: 0 };
    const ofLimiter = this.#decisions.get(limiter) ?? new Map<string, DecisionCounts>();
    this.#decisions.set(limiter, ofLimiter.set(mode, counts));
    return counts;
  }

  finished(request: FinishedRequest): void {
    this.#inFlight -= 1;
    const series = this.#seriesOf(request.route, request.service);
    series.add(request);
    if (request.cause !== undefined) this.#countCause(series, request.cause, 1);
  }

  /** Requests whose route is unknown. */
  rejectedEarly(event: RejectedEarlyEvent): void {
    const series = this.#seriesOf(DEFAULT_ROUTE);
    series.addRejected(event);
    for (const count of event.requests.values()) this.#countCause(series, event.cause, count);
  }

  #countCause({ labels: { route, service } }: RequestSeries, cause: Cause, count: number): void {
    this.#causes.addMany(count, route, service, cause);
  }

  #seriesOf(route: string, service = NO_SERVICE): RequestSeries {
    return this.#routes.get(route)?.get(service) ?? this.#newSeries(route, service);
  }

  /** A function of the app may make up route names, so neither routes nor their services may grow without end. */
  #newSeries(given: string, givenService: string): RequestSeries {
    const route = this.#routes.has(given) || this.#routes.size < this.#maxRoutes ? given : OVERFLOW;
    const ofRoute = this.#routes.get(route) ?? new Map<string, RequestSeries>();
    this.#routes.set(route, ofRoute);
    const isFull = this.#seriesCount >= SERVICES_PER_ROUTE * this.#maxRoutes;
    const service = isFull && !ofRoute.has(givenService) ? OVERFLOW : givenService;
    const known = ofRoute.get(service);
    if (known !== undefined) return known;
    const series = new RequestSeries(route, service);
    ofRoute.set(service, series);
    this.#seriesCount += 1;
    return series;
  }

  /** Totals of all routes together, and of each route. */
  totals(): TrafficTotals {
    const totals = emptyTotals();
    const limited = new Map<string, number>();
    for (const { labels, value } of this.#causes.samples()) {
      const [route, cause] = [String(labels.route), String(labels.cause)];
      totals.causes.set(cause, (totals.causes.get(cause) ?? 0) + value);
      if (CAUSES[cause as Cause]?.status === TOO_MANY_REQUESTS) limited.set(route, (limited.get(route) ?? 0) + value);
    }
    for (const [route, services] of this.#routes) {
      const ofRoute = emptyRouteTotals(limited.get(route) ?? 0);
      for (const series of services.values()) series.addTo(totals, ofRoute);
      totals.routes.set(route, ofRoute);
    }
    for (const { limiter, decision, count } of this.#eachDecision())
      totals.decisions.push({ limiter, decision, count });
    this.#prune();
    for (const [service, backends] of this.#backends) {
      for (const [backend, { durations, heads }] of backends) {
        const requests = durations.counts.reduce((all, one) => all + one, 0);
        const total = { service, backend, requests, seconds: durations.sum, heads: Float64Array.from(heads.counts) };
        totals.backends.set(backendKey(service, backend), total);
      }
    }
    return totals;
  }

  define(define: DefineMetric): void {
    const each = (of: (series: RequestSeries) => Iterable<Sample>) => this.#each(of);
    define('requests_total', 'Completed requests, by the source of the response.', 'counter', () =>
      each((series) => series.counts()),
    );
    define(
      'request_duration_seconds',
      'From the first middleware to the last byte of the response, or to the cut; upgraded connections left out.',
      'histogram',
      (name) => each((series) => series.durations(name)),
    );
    define('requests_in_flight', 'Requests and upgraded connections in progress.', 'gauge', () => [
      { labels: {}, value: this.#inFlight },
    ]);
    define(
      'request_failures_total',
      'Requests that got no complete response of a backend or the app, by cause.',
      'counter',
      () => this.#causes.samples(),
    );
    define('received_bytes_total', 'Bytes from clients, heads and framing included.', 'counter', () =>
      each((series) => [series.bytesIn]),
    );
    define('sent_bytes_total', 'Bytes to clients, heads and framing included.', 'counter', () =>
      each((series) => [series.bytesOut]),
    );
    define(
      'backend_duration_seconds',
      'From picking a backend to the end of its response, or of the attempt.',
      'histogram',
      (name) => this.#backendSamples(name, 'durations'),
    );
    define(
      'backend_head_duration_seconds',
      'From picking a backend to the head of its response.',
      'histogram',
      (name) => this.#backendSamples(name, 'heads'),
    );
    define('backend_responses_total', 'Responses of backends by class of status.', 'counter', () =>
      this.#backendStatuses(),
    );
    define(
      'limiter_decisions_total',
      'Decisions of limiters about requests, by the mode of the limiter.',
      'counter',
      () => this.#decisionSamples(),
    );
  }

  *#each(of: (series: RequestSeries) => Iterable<Sample>): Iterable<Sample> {
    for (const services of this.#routes.values()) for (const series of services.values()) yield* of(series);
  }

  *#backendSamples(name: string, which: 'durations' | 'heads'): Iterable<Sample> {
    this.#prune();
    for (const [service, backends] of this.#backends) {
      for (const [backend, counts] of backends) yield* counts[which].samples(name, { service, backend });
    }
  }

  *#backendStatuses(): Iterable<Sample> {
    this.#prune();
    for (const [service, backends] of this.#backends) {
      for (const [backend, { statuses }] of backends) {
        for (const [index, value] of statuses.entries()) {
          if (value > 0) yield { labels: { service, backend, status: CLASSES[index] as string }, value };
        }
      }
    }
  }

  *#decisionSamples(): Iterable<Sample> {
    for (const { limiter, mode, decision, count } of this.#eachDecision()) {
      yield { labels: { limiter, mode, decision }, value: count };
    }
  }

  *#eachDecision() {
    for (const [limiter, modes] of this.#decisions) {
      for (const [mode, counts] of modes) {
        for (const [decision, count] of Object.entries(counts)) if (count > 0) yield { limiter, mode, decision, count };
      }
    }
  }

  #prune(): void {
    const known = this.#knownBackends();
    let left = 0;
    for (const [service, backends] of this.#backends) {
      for (const backend of backends.keys()) if (!known.has(backendKey(service, backend))) backends.delete(backend);
      if (backends.size === 0) this.#backends.delete(service);
      left += backends.size;
    }
    this.#backendCount = left;
    this.#pruneAt = Math.max(PRUNE_AT, 2 * left);
  }
}

interface BackendCounts {
  /** Duration of attempts. */
  readonly durations: Histogram;
  /** Time until the head of the response. */
  readonly heads: Histogram;
  /** Responses by class of status. */
  readonly statuses: Float64Array;
}

interface DecisionCounts {
  allowed: number;
  limited: number;
  shadowed: number;
}
