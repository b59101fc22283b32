import { backendKey } from '../metrics/counts.ts';
import type { TrafficTotals } from '../metrics/traffic-totals.ts';
import type { RateStatus } from './status-snapshot.ts';
import { countsOf, difference } from './traffic-counts.ts';

interface Reading {
  readonly totals: TrafficTotals;
  readonly at: number;
}

/** Rates are over this many milliseconds, or a little more. Over a single second they would jump. */
const SPAN_MS = 4_000;
const LEAST_MS = 500;

/** Present rates per second, from readings of the totals while a page is open. */
export class LiveRates {
  #readings: Reading[] = [];

  /** @param fallback The latest reading of the history, for the first look. */
  read(totals: TrafficTotals, fallback: Reading): LiveRate {
    const now = Date.now();
    // No page was open for a while, or the clock was set back: the old readings are of no use.
    this.#readings = this.#readings.filter(({ at }) => at <= now && now - at < 3 * SPAN_MS);
    while (this.#readings.length > 1 && now - (this.#readings[1] as Reading).at >= SPAN_MS) this.#readings.shift();
    // After the clock was set back, the age of the fallback is unknown.
    const before = this.#readings[0] ?? (fallback.at <= now ? fallback : { totals, at: now });
    const latest = this.#readings.at(-1);
    // Two readings within a short time need not both be kept.
    if (latest === undefined || now - latest.at >= LEAST_MS) this.#readings.push({ totals, at: now });
    return new LiveRate(before.totals, totals, Math.max(LEAST_MS, now - before.at));
  }
}

/** The rates per second between two readings. */
export class LiveRate {
  readonly #before: TrafficTotals;
  readonly #now: TrafficTotals;
  readonly #seconds: number;

  constructor(before: TrafficTotals, now: TrafficTotals, spanMs: number) {
    this.#before = before;
    this.#now = now;
    this.#seconds = spanMs / 1000;
  }

  all(): RateStatus {
    const { requests, backendErrors, gatewayErrors, limited } = difference(countsOf(this.#now), countsOf(this.#before));
    return {
      requests: this.#perSecond(requests),
      backendErrors: this.#perSecond(backendErrors),
      gatewayErrors: this.#perSecond(gatewayErrors),
      limited: this.#perSecond(limited),
    };
  }

  of(service: string, backend: string): number {
    const key = backendKey(service, backend);
    const now = this.#now.backends.get(key)?.requests ?? 0;
    return this.#perSecond(now - (this.#before.backends.get(key)?.requests ?? 0));
  }

  ofRoute(route: string): number {
    return this.#perSecond(
      (this.#now.routes.get(route)?.requests ?? 0) - (this.#before.routes.get(route)?.requests ?? 0),
    );
  }

  /** A backend that left and came back is counted from 0 again. */
  #perSecond(count: number): number {
    return Math.max(0, Math.round((count / this.#seconds) * 10) / 10);
  }
}
