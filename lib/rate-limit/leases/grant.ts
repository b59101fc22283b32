import type { Claim, Debt, Decision, QuotaState } from '../meter.ts';

/** What one command to Redis charged in advance: a lease. */
export interface Grant {
  /** Units charged in Redis beyond the claim itself. */
  readonly ahead: number;
  /** Milliseconds for which all of `ahead` may be kept, from when the command was sent. */
  readonly leaseMs: number;
  /** The state in Redis after the charge. Where nothing remains, `resetMs` is the wait of a claim of 1. */
  readonly quotaStates: readonly QuotaState[];
  /** For each quota, milliseconds until the window ends, or the bucket is full. */
  readonly restsMs: readonly number[];
  /** The part of `ahead` that is not available yet, for each quota that has such a part. */
  readonly dues?: readonly Due[] | undefined;
}

/** What was charged under one quota before it is available. In units of 1/`windowMs`, so that nothing is rounded. */
export interface Due {
  /** At the time of the charge. Less than `windowMs` units make no whole hit. */
  readonly units: number;
  /** How many of `units` become available per millisecond. */
  readonly perMs: number;
  readonly windowMs: number;
}

/** Hits that are still not available after so many milliseconds. */
export function notYet(dues: readonly Due[], elapsedMs: number): number {
  let most = 0;
  for (const { units, perMs, windowMs } of dues) {
    most = Math.max(most, Math.floor((units - perMs * elapsedMs) / windowMs));
  }
  return most;
}

/** Milliseconds until at most `left` hits are not available. */
export function msUntil(dues: readonly Due[], left: number): number {
  let most = 0;
  for (const { units, perMs, windowMs } of dues) {
    most = Math.max(most, Math.ceil((units - (left + 1) * windowMs + 1) / perMs));
  }
  return most;
}

/** The reply to one command: the decision about one claim, and what was charged for later ones. */
export interface RoundTrip {
  readonly decision: Decision;
  readonly grant: Grant;
}

/** A shared store that can charge in advance. */
export interface RoundTripStore {
  /** Settles when it is known whether the store works. */
  readonly loaded: Promise<void>;
  /**
   * @param waiting Total cost of claims that wait for this reply.
   * @param wish Units to charge for claims of the future.
   * @param everMs For a client that sends more than its limit: the milliseconds per hit at this gateway. Units may then be charged
   * before they are available. `Infinity` (the default) for all other clients.
   * @param isNew Whether this gateway knows nothing of the client yet and can keep a lease. The client may be busy at other gateways.
   */
  take(claim: Claim, waiting: number, wish: number, everMs?: number, isNew?: boolean): Promise<RoundTrip>;
  charge(debt: Debt): Promise<void>;
  reset(key: string): Promise<void>;
}
