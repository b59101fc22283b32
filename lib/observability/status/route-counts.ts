import { DURATION_BUCKETS } from '../metrics/histogram.ts';
import type { RouteTotals } from '../metrics/traffic-totals.ts';

/** Places of the numbers of a route in a slot: three counts, then the durations. */
const [REQUESTS, ERRORS, LIMITED, DURATIONS] = [0, 1, 2, 3] as const;
const WIDTH = DURATIONS + DURATION_BUCKETS.length + 1;

interface Series {
  /** A ring of slots. */
  readonly slots: Uint32Array;
  /** All slots of the ring together. */
  readonly sums: Float64Array;
  /** Totals at the end of the latest slot. */
  before: Float64Array;
}

/** The numbers of a route in the latest slots and since. */
export interface RecentRoute {
  readonly requests: number;
  readonly errors: number;
  readonly limited: number;
  readonly durations: readonly number[];
}

/** The numbers of each route in the latest slots: about two kilobytes for each route with a request. */
export class RouteCounts {
  readonly #length: number;
  readonly #all = new Map<string, Series>();
  /** Place of the next slot in the rings. */
  #place = 0;

  constructor(length: number) {
    this.#length = length;
  }

  slotEnded(totals: ReadonlyMap<string, RouteTotals>): void {
    for (const name of this.#all.keys()) if (!totals.has(name)) this.#all.delete(name);
    for (const [name, total] of totals) {
      const series = this.#all.get(name) ?? this.#add(name);
      const now = numbersOf(total);
      const at = this.#place * WIDTH;
      for (let index = 0; index < WIDTH; index += 1) {
        const count = (now[index] as number) - (series.before[index] as number);
        series.sums[index]! += count - (series.slots[at + index] as number);
        series.slots[at + index] = count;
      }
      series.before = now;
    }
    this.#place = (this.#place + 1) % this.#length;
  }

  /** @param total Its totals now. */
  recent(name: string, total: RouteTotals | undefined): RecentRoute {
    const series = this.#all.get(name);
    const now = total === undefined ? undefined : numbersOf(total);
    const sums = new Array<number>(WIDTH);
    for (let index = 0; index < WIDTH; index += 1) {
      const since = now === undefined ? 0 : (now[index] as number) - (series?.before[index] ?? 0);
      sums[index] = (series?.sums[index] ?? 0) + since;
    }
    return {
      requests: sums[REQUESTS] as number,
      errors: sums[ERRORS] as number,
      limited: sums[LIMITED] as number,
      durations: sums.slice(DURATIONS),
    };
  }

  #add(name: string): Series {
    const series = {
      slots: new Uint32Array(WIDTH * this.#length),
      sums: new Float64Array(WIDTH),
      before: new Float64Array(WIDTH),
    };
    this.#all.set(name, series);
    return series;
  }
}

function numbersOf({ requests, errors, limited, durations }: RouteTotals): Float64Array {
  const numbers = new Float64Array(WIDTH);
  numbers.set([requests, errors, limited]);
  numbers.set(durations, DURATIONS);
  return numbers;
}
