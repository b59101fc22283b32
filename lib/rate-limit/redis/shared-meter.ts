import type { Debt } from '../fallback/debts.ts';
import type { Claim, Decision, Meter } from '../meter.ts';

/** A meter that all gateways share, for one era of the connection: after a failure it is made anew. */
export interface SharedMeter extends Meter {
  /** Settles when the store is known to work, or not. */
  readonly loaded: Promise<void>;
  /** Rejects when the store fails; has no deadline. */
  take(claim: Claim): Promise<Decision>;
  /** Charges what was spent while the store was away, as far as it fits. */
  charge(debt: Debt): Promise<void>;
  reset(key: string): Promise<void>;
}

/**
 * Sends one command to Redis. Rejects when the connection is down, or when the reply is an error.
 *
 * @param key One of the command's keys, which says where in a cluster it belongs.
 */
export type Send = (args: readonly string[], key?: string) => Promise<unknown>;

export type OpenSharedMeter = (send: Send) => SharedMeter;
