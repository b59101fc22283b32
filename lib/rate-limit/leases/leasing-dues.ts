/** What is charged under one quota before it is there, in units of 1/`windowMs` so that nothing is rounded. */
export interface Due {
  /** When the charge was made. Less than `windowMs` of them is nothing. */
  readonly units: number;
  /** What each millisecond brings of these. */
  readonly perMs: number;
  readonly windowMs: number;
}

/** How much is not there yet so many milliseconds later. */
export function notYet(dues: readonly Due[], elapsedMs: number): number {
  let most = 0;
  for (const { units, perMs, windowMs } of dues) {
    most = Math.max(most, Math.floor((units - perMs * elapsedMs) / windowMs));
  }
  return most;
}

/** Milliseconds after which no more than this is not there yet. */
export function msUntil(dues: readonly Due[], left: number): number {
  let most = 0;
  for (const { units, perMs, windowMs } of dues) {
    most = Math.max(most, Math.ceil((units - (left + 1) * windowMs + 1) / perMs));
  }
  return most;
}
