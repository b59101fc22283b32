import type { LimiterMode } from '../core/events.ts';

/** What one request asks of a limiter. */
export interface Claim {
  /** The client that is counted. */
  readonly key: string;
  /** How much the request counts for, at least 0. A cost above the limit counts as the limit. */
  readonly cost: number;
  /** Replaces the limit of the meter's only quota, if given. */
  readonly limit: number | undefined;
}

/** What one client has left under one quota. */
export interface QuotaState {
  readonly remaining: number;
  /**
   * Milliseconds: after a refused claim, until the same claim would pass if nothing else is spent; if nothing remains, until a claim
   * of 1 would pass; otherwise until the window ends, or the bucket is full.
   */
  readonly resetMs: number;
}

/** The decision of a meter about one claim. */
export interface Decision {
  readonly allowed: boolean;
  /** Milliseconds until the same claim would pass if nothing else is spent; 0 when it passed. */
  readonly retryAfterMs: number;
  /** One for each quota, in the same order; empty when the claim could not be counted. */
  readonly quotaStates: readonly QuotaState[];
}

/** Counts what clients spend and decides about claims. A claim is charged to all quotas, or to none. */
export interface Meter {
  /** Not a promise where no other process has to be asked. */
  take(claim: Claim): Decision | Promise<Decision>;
  /** Forgets what a client has spent. */
  reset(key: string): void | Promise<void>;
}

/** A meter that never rejects. */
export interface LimiterMeter extends Meter {
  readonly mode: LimiterMode;
  /** The last error of the shared store, while a fallback counts. */
  readonly storeError?: Error | undefined;
  /** Waits for the store at a start, if there is one. Never rejects. */
  ready?(): Promise<void>;
  /** Never rejects. */
  close(): void | Promise<void>;
}

/** Called once per change of mode, with the error that caused it, if there was one. */
export type ModeListener = (from: LimiterMode, to: LimiterMode, error: Error | undefined) => void;

/** A request that waits for a decision of the shared store. */
export interface Wait {
  /** The decision of the fallback, once the deadline has passed. */
  decided: Decision | undefined;
}

/** A meter that all gateways share. It lasts for one era of the connection: after a failure a new one is made. */
export interface SharedMeter extends Meter {
  /** Settles when it is known whether the store works. */
  readonly loaded: Promise<void>;
  /**
   * Rejects when the store fails, or when the fallback decided before the claim was sent. Has no deadline.
   *
   * @param wait Of a request with a deadline.
   */
  take(claim: Claim, wait?: Wait): Promise<Decision>;
  /** Charges what was spent while the store was away, up to the limit. */
  charge(debt: Debt): Promise<void>;
  reset(key: string): Promise<void>;
}

/** What one client spent while the store was away. */
export interface Debt {
  readonly key: string;
  /** As in {@link Claim}. */
  readonly limit: number | undefined;
  /** One for each quota. */
  readonly owed: readonly Owed[];
}

/** What one client spent under one quota. */
export interface Owed {
  readonly units: number;
  /** The part of `units` that was spent in the previous window. */
  readonly older: number;
  /** Lower bound for the count of all gateways together; 0 unless the store may have lost its counts. */
  readonly least: number;
  /** Milliseconds until the window ends in which the rest was spent. */
  readonly restMs: number;
  /** Units that are charged even above the limit: this gateway admitted them although the store refused them. */
  readonly over?: number | undefined;
}

/**
 * Sends one command to Redis. Rejects when the connection is down, or when the reply is an error.
 *
 * @param key One of the command's keys. It decides which node of a cluster gets the command.
 */
export type Send = (args: readonly string[], key?: string) => Promise<unknown>;
