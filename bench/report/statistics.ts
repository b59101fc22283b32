export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export function spreadOf(values: readonly number[]): Spread | undefined {
  if (values.length === 0) return undefined;
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] as number;
  const median = sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] as number) + upper) / 2;
  return { median, min: sorted[0] as number, max: sorted.at(-1) as number };
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
