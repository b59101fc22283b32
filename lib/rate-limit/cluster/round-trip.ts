import type { Grant } from '../leases/leasing-table.ts';
import type { Claim, Debt, Decision } from '../meter.ts';

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
