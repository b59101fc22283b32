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
