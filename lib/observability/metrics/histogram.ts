import type { Sample } from './metric.ts';

/** Upper bounds in seconds, from the response of a near backend to the timeouts. */
export const DURATION_BUCKETS: readonly number[] = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
];

/**
 * Estimates the duration, in milliseconds, that a share of responses did not exceed. As in Prometheus, durations are taken to be spread
 * evenly within a bucket, and the last bucket gives its lower bound. `undefined` without counts.
 */
export function quantileMs(counts: ArrayLike<number>, share: number): number | undefined {
  let total = 0;
  for (let index = 0; index < counts.length; index += 1) total += counts[index] as number;
  if (total === 0) return undefined;
  let left = share * total;
  for (const [index, bound] of DURATION_BUCKETS.entries()) {
    const inside = counts[index] as number;
    const from = index === 0 ? 0 : (DURATION_BUCKETS[index - 1] as number);
    if (inside > 0 && inside >= left) return Math.round((from + ((bound - from) * left) / inside) * 1e6) / 1000;
    left -= inside;
  }
  return (DURATION_BUCKETS.at(-1) as number) * 1000;
}

/** Counts durations by bucket. */
export class Histogram {
  readonly #counts = new Float64Array(DURATION_BUCKETS.length + 1);
  #sum = 0;

  observe(seconds: number): void {
    let index = 0;
    // Most responses are quick, so the search begins at the lowest bound.
    while (index < DURATION_BUCKETS.length && seconds > (DURATION_BUCKETS[index] as number)) index += 1;
    this.#counts[index]! += 1;
    this.#sum += seconds;
  }

  /** Adds durations of nearly 0. */
  observeNothing(count: number): void {
    this.#counts[0]! += count;
  }

  /** The count of each bucket, not cumulative; the last one counts durations above all bounds. */
  get counts(): Readonly<Float64Array> {
    return this.#counts;
  }

  /** Sum of all durations, in seconds. */
  get sum(): number {
    return this.#sum;
  }

  *samples(name: string, labels: Readonly<Record<string, string>>): Iterable<Sample> {
    let total = 0;
    for (const [index, count] of this.#counts.entries()) {
      total += count;
      yield {
        metricName: `${name}_bucket`,
        labels: { le: DURATION_BUCKETS[index] ?? '+Inf', ...labels },
        value: total,
      };
    }
    yield { metricName: `${name}_sum`, labels, value: this.#sum };
    yield { metricName: `${name}_count`, labels, value: total };
  }
}
