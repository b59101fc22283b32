/** Median and quartiles: half of the values are between `lower` and `upper`. */
export interface Spread {
  readonly median: number;
  readonly lower: number;
  readonly upper: number;
}

export function spreadOf(values: readonly number[]): Spread | undefined {
  if (values.length === 0) return undefined;
  const sorted = values.toSorted((a, b) => a - b);
  const at = (part: number): number => {
    const place = part * (sorted.length - 1);
    const [below, above] = [sorted[Math.floor(place)] as number, sorted[Math.ceil(place)] as number];
    return below + (place % 1) * (above - below);
  };
  return { median: at(0.5), lower: at(0.25), upper: at(0.75) };
}

/**
 * Between which values the true median lies, with 95 % confidence: its standard error is 0.93 times the distance of the quartiles,
 * divided by the root of the number of values, for values that are normally distributed.
 */
export function medianRange({ median, lower, upper }: Spread, count: number): { low: number; high: number } {
  const error = (1.96 * 0.93 * (upper - lower)) / Math.sqrt(count);
  return { low: median - error, high: median + error };
}

/** Ratios of what was measured in the same round: a disturbance that lasts longer than a round falls out. */
export function pairedRatios(values: readonly number[], base: readonly number[]): number[] {
  return values.slice(0, base.length).map((value, index) => value / (base[index] as number));
}

export function pairedDifferences(values: readonly number[], base: readonly number[]): number[] {
  return values.slice(0, base.length).map((value, index) => value - (base[index] as number));
}

/** The smallest value that at least the part `q` of the values does not exceed. @param sorted In ascending order. */
export function quantileOf(sorted: Float64Array, q: number): number {
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? Number.NaN;
}

/** Median of the last third of a series ÷ that of its first third; `undefined` for fewer than three values. */
export function lastThirdOverFirst(values: readonly number[]): number | undefined {
  const third = Math.floor(values.length / 3);
  const first = spreadOf(values.slice(0, third));
  const last = spreadOf(third === 0 ? [] : values.slice(-third));
  return first === undefined || last === undefined ? undefined : last.median / first.median;
}
