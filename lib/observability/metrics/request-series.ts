import type { RejectedEarlyEvent } from '../../core/events.ts';
import type { FinishedRequest } from '../request-record.ts';
import { Histogram } from './histogram.ts';
import type { Sample } from './metric.ts';
import { addAll, type GrowingRouteTotals, type TrafficTotals } from './traffic-totals.ts';

/** RFC 9110 §9.3 and RFC 5789. All other methods are one label value, because clients can invent them. */
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT', 'OTHER'];
const OTHER = METHODS.length - 1;
const SOURCES = ['gateway', 'backend', 'route'] as const satisfies readonly FinishedRequest['source'][];
type Source = (typeof SOURCES)[number];
const BACKEND = SOURCES.indexOf('backend');
const ROUTE = SOURCES.indexOf('route');
/** Classes of statuses; the first is for invalid ones. */
export const CLASSES = ['other', '1xx', '2xx', '3xx', '4xx', '5xx'];

const SERVER_ERROR = CLASSES.indexOf('5xx');

/** Index of a status in the list of classes. */
export const classOf = (status: number): number => (status >= 100 && status < 600 ? Math.floor(status / 100) : 0);

/** The counts of one route and one of its services. They are found by position; only the names of route and method are hashed. */
export class RequestSeries {
  readonly labels: { readonly route: string; readonly service: string };
  readonly #counts = new Float64Array(METHODS.length * CLASSES.length * SOURCES.length);
  /** By source. Few routes respond themselves, so the last one is made when it is needed. */
  readonly #durations = [new Histogram(), new Histogram()];
  #bytesIn = 0;
  #bytesOut = 0;

  /** @param service Empty where the request was for none. */
  constructor(route: string, service: string) {
    this.labels = { route, service };
  }

  /** Requests that load shedding rejected with a 5xx before they were parsed. */
  addRejected({ requests, bytesIn, bytesOut }: RejectedEarlyEvent): void {
    for (const [method, count] of requests) {
      const at = METHODS.indexOf(method);
      const place = (at < 0 ? OTHER : at) * CLASSES.length + SERVER_ERROR;
      this.#counts[place * SOURCES.length]! += count;
      (this.#durations[0] as Histogram).observeNothing(count);
    }
    this.#bytesIn += bytesIn;
    this.#bytesOut += bytesOut;
  }

  add({ method, status, source, durationMs, bytesIn, bytesOut }: FinishedRequest): void {
    const at = METHODS.indexOf(method);
    const place = (at < 0 ? OTHER : at) * CLASSES.length + classOf(status);
    const from = source === 'backend' ? BACKEND : source === 'route' ? ROUTE : 0;
    this.#counts[place * SOURCES.length + from]! += 1;
    if (from === ROUTE) this.#durations[ROUTE] ??= new Histogram();
    // The duration of a tunnel tells nothing about the speed of responses.
    if (status !== 101) (this.#durations[from] as Histogram).observe(durationMs / 1000);
    this.#bytesIn += bytesIn;
    this.#bytesOut += bytesOut;
  }

  /** Adds these counts to the totals, and to those of the route. */
  addTo({ responses, durations }: TrafficTotals, ofRoute: GrowingRouteTotals): void {
    // This runs every two seconds for each route. entries() would create an array for each number.
    for (let index = 0; index < this.#counts.length; index += 1) {
      const value = this.#counts[index] as number;
      if (value === 0) continue;
      const place = Math.floor(index / SOURCES.length);
      const from = index % SOURCES.length;
      responses[SOURCES[from] as Source][place % CLASSES.length]! += value;
      ofRoute.requests += value;
      // A 503 that the route declares, such as a maintenance page, is no error.
      if (place % CLASSES.length === SERVER_ERROR && from !== ROUTE) ofRoute.errors += value;
    }
    // Responses of the gateway itself take no time and would hide slow backends.
    const { counts } = this.#durations[BACKEND] as Histogram;
    addAll(durations, counts);
    addAll(ofRoute.durations, counts);
  }

  *counts(): Iterable<Sample> {
    for (const [index, value] of this.#counts.entries()) {
      if (value === 0) continue;
      const place = Math.floor(index / SOURCES.length);
      const labels = {
        ...this.labels,
        method: METHODS[Math.floor(place / CLASSES.length)] as string,
        status: CLASSES[place % CLASSES.length] as string,
        source: SOURCES[index % SOURCES.length] as string,
      };
      yield { labels, value };
    }
  }

  *durations(name: string): Iterable<Sample> {
    for (const [index, histogram] of this.#durations.entries()) {
      yield* histogram.samples(name, { ...this.labels, source: SOURCES[index] as Source });
    }
  }

  get bytesIn(): Sample {
    return { labels: this.labels, value: this.#bytesIn };
  }

  get bytesOut(): Sample {
    return { labels: this.labels, value: this.#bytesOut };
  }
}
