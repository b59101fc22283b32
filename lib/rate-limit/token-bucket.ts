import type { Algorithm, ClientRecord } from './algorithm.ts';
import type { Quota } from './quota.ts';

/** A bucket is refilled at the limit of its latest hit, so that it is full, and forgotten in Redis, at one known moment. */
const rateOf = (record: ClientRecord, { limit }: Quota): number => record.before || limit;

/**
 * A bucket of `burst` tokens that is refilled evenly, `limit` per window: the generic cell rate algorithm
 * (ITU-T I.371 annex A). Its theoretical arrival time is kept as what is missing in the bucket, in units of
 * 1/`windowMs` token, of which each millisecond brings `limit`: so nothing is ever rounded.
 */
export const tokenBucket: Algorithm = Object.freeze({
  lifetimeMs: ({ limit, windowMs, burst }: Quota) => Math.ceil((burst * windowMs) / limit),

  settle(record: ClientRecord, now: number, quota: Quota): void {
    record.spent = Math.max(0, record.spent - (now - record.at) * rateOf(record, quota));
    record.at = now;
  },

  remaining: (record: ClientRecord, _now: number, { windowMs, burst }: Quota) =>
    Math.floor((burst * windowMs - record.spent) / windowMs),

  spend(record: ClientRecord, cost: number, { limit, windowMs }: Quota): void {
    record.spent += cost * windowMs;
    record.before = limit;
  },

  waitMs: (record: ClientRecord, _now: number, quota: Quota, cost: number) =>
    Math.ceil((record.spent - (quota.burst - cost) * quota.windowMs) / rateOf(record, quota)),

  restMs: (record: ClientRecord, _now: number, quota: Quota) => Math.ceil(record.spent / rateOf(record, quota)),

  most: ({ burst }: Quota) => burst,

  restore(record: ClientRecord, now: number, quota: Quota, remaining: number, resetMs: number): void {
    const { limit, windowMs, burst } = quota;
    // The next token may be under way: then the wait says how much of it is missing.
    const missing = remaining > 0 ? windowMs : Math.min(windowMs, resetMs * limit);
    record.spent = (burst - remaining - 1) * windowMs + missing;
    record.before = limit;
    record.at = now;
  },
});
