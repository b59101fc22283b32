import type { Claim, Debt, Decision, QuotaState } from '../meter.ts';

/** What one trip to Redis has brought. */
export interface Grant {
  /** Charged in Redis beyond the claim itself. */
  readonly ahead: number;
  /** Milliseconds for which all of it may be kept, counted from when Redis was asked. */
  readonly leaseMs: number;
  /** How Redis stands, with all of it charged: `resetMs` as for a claim of 1 where nothing is left. */
  readonly quotaStates: readonly QuotaState[];
  /** Milliseconds until each window is over, or each bucket full. */
  readonly restsMs: readonly number[];
  /** What of it is not there yet, under each quota where something is not. */
  readonly dues?: readonly Due[] | undefined;
}

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

/** A trip to where all count: what is said of one claim, and what was charged for later ones. */
export interface RoundTrip {
  readonly decision: Decision;
  readonly grant: Grant;
}

/** Where all count, and shares of quotas can be taken from. */
export interface RoundTripStore {
  /** Settles when the store is known to work, or not. */
  readonly loaded: Promise<void>;
  /**
   * @param waiting The cost of claims that wait for this one.
   * @param wish What is wished for claims that will come.
   * @param everMs Milliseconds in which a client that sends more than it may uses one more here: for it some may be charged
   * before it is there. Not given, or `Infinity`, for others.
   * @param isNew Whether nothing is known here of the client yet, and a lease can be kept: it may be hot elsewhere.
   */
  take(claim: Claim, waiting: number, wish: number, everMs?: number, isNew?: boolean): Promise<RoundTrip>;
  charge(debt: Debt): Promise<void>;
  reset(key: string): Promise<void>;
}
