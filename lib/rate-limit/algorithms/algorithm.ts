import type { Send, SharedMeter } from '../meter.ts';
import type { Quota } from '../quota.ts';
import type { AlgorithmScripts } from './algorithm-scripts.ts';

/** What is known of one client under one quota: two counts, and the moment they are of. */
export class ClientRecord {
  at: number;
  /** In the current window; or what is missing in the bucket. */
  spent = 0;
  /** In the window before; or the limit of the latest hit, at which the bucket is refilled. */
  before = 0;

  constructor(now: number) {
    this.at = now;
  }
}

/** Opens a store for Redis that another package maintains. It knows one quota, no cost, no secret for keys and no leases. */
export type OpenStore = (send: Send, prefix: string, quota: Quota) => SharedMeter;

/**
 * How requests are counted: the arithmetic of a limit, and the way to count in Redis. All numbers are
 * integers below 2^53, so that it is exact, and the same in Lua. Everything but `settle()` expects a record that is settled to `now`.
 */
export interface Algorithm {
  /** How it counts, for the table in docs/rate-limit.md. */
  readonly summary: string;
  /** The most that passes in any window, for the same table. */
  readonly atMost: string;
  /** How it counts in Redis. */
  readonly redis: AlgorithmScripts | OpenStore;
  /** Whether a refused hit is spent as well. */
  readonly countsRefused?: boolean;
  /** Whether what was spent is refilled all the time, up to `burst`. */
  readonly isRefilled?: boolean;
  /** Milliseconds for which a record that is left alone still matters. */
  lifetimeMs(quota: Quota): number;
  /** Brings a record up to now. Never called with a record that is later than now: see `redate()`. */
  settle(record: ClientRecord, now: number, quota: Quota): void;
  /** What may still be spent; less than 0 when the limit was lowered meanwhile. */
  remaining(record: ClientRecord, now: number, quota: Quota): number;
  spend(record: ClientRecord, cost: number, quota: Quota): void;
  /** What of that which is spent was spent in the window before, where that matters. */
  older?(record: ClientRecord, now: number, quota: Quota): number;
  /** Milliseconds until a cost that is more than what remains, and not more than the limit, would pass. */
  waitMs(record: ClientRecord, now: number, quota: Quota, cost: number): number;
  /** Milliseconds until the window is over, or the bucket full. */
  restMs(record: ClientRecord, now: number, quota: Quota): number;
  /** The most that one claim can spend. */
  most(quota: Quota): number;
  /** Makes a record of what a quotaState says, where the two leave room rather too strict than too lenient. */
  restore(record: ClientRecord, now: number, quota: Quota, told: Told): void;
}

/** How a client stands with all gateways together, of which this one keeps its part. */
export interface Told {
  readonly remaining: number;
  readonly resetMs: number;
  /** Of all gateways together. */
  readonly limit: number;
  readonly gateways: number;
}

/** What remains for one gateway. */
export const partOf = ({ remaining, gateways }: Told): number => Math.floor(remaining / gateways);

/**
 * After the system clock was set back, a record counts as made now: no count is lost, and no client waits longer than it would
 * without the change of the clock. To be called before `settle()`, on the record that is kept.
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
