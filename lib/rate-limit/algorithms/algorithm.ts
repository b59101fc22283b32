import type { Send, SharedMeter } from '../meter.ts';
import type { Quota } from '../quota.ts';
import type { AlgorithmScripts } from './algorithm-scripts.ts';

/** The counts of one client under one quota, and the time they were made. */
export class ClientRecord {
  at: number;
  /** Spent in the current window; for a token bucket, what is missing in the bucket. */
  spent = 0;
  /** Spent in the previous window; for a token bucket, the limit of the latest hit, which is the speed of its refill. */
  before = 0;

  constructor(now: number) {
    this.at = now;
  }
}

/** Opens a Redis store of another package. Such a store has one quota, no cost, no secret for keys and no leases. */
export type OpenStore = (send: Send, prefix: string, quota: Quota) => SharedMeter;

/**
 * How requests are counted: the arithmetic, and how to count in Redis. All numbers are integers below 2^53, so the arithmetic is
 * exact, and the same in Lua. All functions except `settle()` expect a record that is settled to `now`.
 */
export interface Algorithm {
  /** How it counts, for the table in docs/rate-limit.md. */
  readonly summary: string;
  /** The most requests that pass in any window, for the same table. */
  readonly atMost: string;
  /** How it counts in Redis. */
  readonly redis: AlgorithmScripts | OpenStore;
  /** Whether a refused hit counts too. */
  readonly countsRefused?: boolean;
  /** Whether the quota refills continuously, up to `burst`. */
  readonly isRefilled?: boolean;
  /** Milliseconds after which an unused record is worth the same as none. */
  lifetimeMs(quota: Quota): number;
  /** Moves a record forward to `now`. Never called with a record of a later time: see `redate()`. */
  settle(record: ClientRecord, now: number, quota: Quota): void;
  /** What may still be spent; below 0 when the limit was lowered meanwhile. */
  remaining(record: ClientRecord, now: number, quota: Quota): number;
  spend(record: ClientRecord, cost: number, quota: Quota): void;
  /** The part that was spent in the previous window, for algorithms that tell it apart. */
  older?(record: ClientRecord, now: number, quota: Quota): number;
  /** Milliseconds until a cost would pass that is above what remains, and at most the limit. */
  waitMs(record: ClientRecord, now: number, quota: Quota, cost: number): number;
  /** Milliseconds until the window ends, or the bucket is full. */
  restMs(record: ClientRecord, now: number, quota: Quota): number;
  /** The most that one claim can spend. */
  most(quota: Quota): number;
  /** Sets a record from what the shared store replied. Where the reply leaves room, the record is too strict, never too lenient. */
  restore(record: ClientRecord, now: number, quota: Quota, told: Told): void;
}

/** What a client has left with all gateways together, as the shared store replied. */
export interface Told {
  readonly remaining: number;
  readonly resetMs: number;
  /** Of all gateways together. */
  readonly limit: number;
  readonly gateways: number;
}

/** What remains for this gateway alone. */
export const partOf = ({ remaining, gateways }: Told): number => Math.floor(remaining / gateways);

/**
 * Handles a system clock that was set back: the record counts as made now. No count is lost, and no client waits longer than without
 * the change. Call it before `settle()`, on the record that is kept.
 */
export function redate(record: ClientRecord, now: number): void {
  if (record.at > now) record.at = now;
}

export function copy(from: ClientRecord, to: ClientRecord): void {
  to.at = from.at;
  to.spent = from.spent;
  to.before = from.before;
}

export function copyOf(record: ClientRecord): ClientRecord {
  const other = new ClientRecord(record.at);
  copy(record, other);
  return other;
}
