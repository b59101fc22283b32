import type { LimiterMode } from '../core/events.ts';

/** What one request wants of a limiter. */
export interface Claim {
  /** Who is counted. */
  readonly key: string;
  /** How much the request counts for, from 0 up. What is more than the limit counts as the limit. */
  readonly cost: number;
  /** In place of the limit of a meter's only quota. */
  readonly limit: number | undefined;
}

/** How a client stands with one quota. */
export interface QuotaState {
  /** What is left. */
  readonly remaining: number;
  /**
   * Milliseconds to wait. Where the claim was too much: until it would pass, if nothing else is spent meanwhile.
   * Where nothing is left: until a claim of 1 would pass. Else until the window is over, or the bucket full.
   */
  readonly resetMs: number;
}

/** What a meter says to one claim. */
export interface Decision {
  readonly allowed: boolean;
  /** Milliseconds after which the same claim would pass, if nothing else is spent meanwhile; 0 when it passed. */
  readonly retryAfterMs: number;
  /** One for each quota, in their order; none when the claim could not be counted. */
  readonly quotaStates: readonly QuotaState[];
}

/** Counts what clients spend, and says when it is too much. Either all quotas of a claim are charged, or none. */
export interface Meter {
  /** At once where no other process has to be asked. */
  take(claim: Claim): Decision | Promise<Decision>;
  /** Forgets what one client has spent. */
  reset(key: string): void | Promise<void>;
}

/** A meter that never rejects. */
export interface LimiterMeter extends Meter {
  readonly mode: LimiterMode;
  /** What the shared store failed with last, while something else counts in its place. */
  readonly storeError?: Error | undefined;
  /** Where there is something to wait for at a start. Never rejects. */
  ready?(): Promise<void>;
  /** Never rejects. */
  close(): void | Promise<void>;
}

/** Is called once per change, with the error that caused it, if one did. */
export type ModeListener = (from: LimiterMode, to: LimiterMode, error: Error | undefined) => void;

/** A request that waits for a decision of the shared store. */
export interface Wait {
  /** What the fallback decided when the store's time was over. */
  decided: Decision | undefined;
}

/** A meter that all gateways share, for one era of the connection: after a failure it is made anew. */
export interface SharedMeter extends Meter {
  /** Settles when the store is known to work, or not. */
  readonly loaded: Promise<void>;
  /**
   * Rejects when the store fails, or when it did not get a claim that was decided meanwhile; has no deadline.
   *
   * @param wait For a request that does not wait for ever.
   */
  take(claim: Claim, wait?: Wait): Promise<Decision>;
  /** Charges what was spent while the store was away, as far as it fits. */
  charge(debt: Debt): Promise<void>;
  reset(key: string): Promise<void>;
}

/** What one client spent while the store could not be asked. */
export interface Debt {
  readonly key: string;
  /** As in a claim. */
  readonly limit: number | undefined;
  /** For each quota. */
  readonly owed: readonly Owed[];
}

/** What was spent under one quota. */
export interface Owed {
  readonly units: number;
  /** The part of them that was spent in the window before. */
  readonly older: number;
  /** What must be spent by all gateways together, at least; 0 unless the store may have lost its counts. */
  readonly least: number;
  /** Milliseconds until the window in which it was spent is over. */
  readonly restMs: number;
  /** Units that are charged even where they do not fit: they passed here, although the store had refused them. */
  readonly over?: number | undefined;
}

/**
 * Sends one command to Redis. Rejects when the connection is down, or when the reply is an error.
 *
 * @param key One of the command's keys, which says where in a cluster it belongs.
 */
export type Send = (args: readonly string[], key?: string) => Promise<unknown>;
