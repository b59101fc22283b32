import type { Sample } from './metric.ts';

/** Upper bounds in seconds: from responses of a near backend to those that run into the time-outs. */
export const DURATION_BUCKETS: readonly number[] = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
];

/**
 * Estimates the duration that a share of responses did not exceed, in milliseconds: evenly spread within a bucket, as Prometheus does;
 * of the last bucket only its lower bound is known. Nothing without counts.
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

/** Counts durations by size. */
export class Histogram {
  readonly #counts = new Float64Array(DURATION_BUCKETS.length + 1);
  #sum = 0;

  observe(seconds: number): void {
    let index = 0;
    // Most responses are quick: the first bounds settle it.
    while (index < DURATION_BUCKETS.length && seconds > (DURATION_BUCKETS[index] as number)) index += 1;
    this.#counts[index]! += 1;
    this.#sum += seconds;
  }

  /** Durations that are next to nothing. */
  observeNothing(count: number): void {
    this.#counts[0]! += count;
  }

  /** Of each bound, not cumulative; the last one of what took longer than all. */
  get counts(): Readonly<Float64Array> {
    return this.#counts;
  }

  /** Seconds, all together. */
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
