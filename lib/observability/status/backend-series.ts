import type { BackendTotals, TrafficTotals } from '../metrics/traffic-totals.ts';
import type { BackendSeriesData } from './status-snapshot.ts';

interface Series {
  readonly requests: number[];
  readonly totalMs: number[];
  readonly failures: number[];
  readonly service: string;
  readonly backend: string;
  /** Totals at the end of the latest slot. */
  before: { readonly requests: number; readonly seconds: number; readonly failures: number };
}

const NOTHING = Object.freeze({ requests: 0, seconds: 0, failures: 0 });

/** The numbers of each backend in the latest slots. Removed backends have no totals and are dropped. */
export class BackendSeries {
  readonly #length: number;
  readonly #all = new Map<string, Series>();

  constructor(length: number) {
    this.#length = length;
  }

  add(totals: TrafficTotals['backends'], failuresOf: (backend: BackendTotals) => number): void {
    for (const key of this.#all.keys()) if (!totals.has(key)) this.#all.delete(key);
    for (const [key, total] of totals) {
      let series = this.#all.get(key);
      if (series === undefined) {
        const { service, backend } = total;
        series = { service, backend, requests: [], totalMs: [], failures: [], before: NOTHING };
        this.#all.set(key, series);
      }
      const { requests, seconds } = total;
      const now = { requests, seconds, failures: failuresOf(total) };
      // The counts of a backend that left and came back within one slot start at 0 again.
      const isNew = requests < series.before.requests || seconds < series.before.seconds;
      const before = isNew ? NOTHING : series.before;
      series.before = now;
      this.#push(series.requests, now.requests - before.requests);
      this.#push(series.totalMs, Math.round((now.seconds - before.seconds) * 1e6) / 1000);
      this.#push(series.failures, Math.max(0, now.failures - before.failures));
    }
  }

  /** Padded at the front, for backends that were added later. */
  data(length: number): BackendSeriesData[] {
    const filled = (list: readonly number[]): number[] => [...new Array<number>(length - list.length).fill(0), ...list];
    return [...this.#all.values()].map(({ service, backend, requests, totalMs, failures }) => ({
      service,
      backend,
      requests: filled(requests),
      totalMs: filled(totalMs),
      failures: filled(failures),
    }));
  }

  #push(list: number[], value: number): void {
    list.push(value);
    if (list.length > this.#length) list.shift();
  }
}
