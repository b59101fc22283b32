import type { Algorithm, ClientRecord } from './algorithm.ts';
import type { Quota } from './quota.ts';

const lifetimeMs = ({ limit, windowMs, burst }: Quota): number => Math.ceil((burst * windowMs) / limit);

/**
 * A bucket of `burst` tokens that is refilled evenly, `limit` per window: the generic cell rate algorithm
 * (ITU-T I.371 annex A). Its theoretical arrival time is kept as what is missing in the bucket, in units of
 * 1/`windowMs` token, of which each millisecond brings `limit`: so nothing is ever rounded.
 */
export const tokenBucket: Algorithm = Object.freeze({
  lifetimeMs,

  settle(record: ClientRecord, now: number, quota: Quota): void {
    if (now >= record.at) {
      record.spent = Math.max(0, record.spent - (now - record.at) * quota.limit);
      record.at = now;
    } else if (record.at - now + Math.ceil(record.spent / quota.limit) > 2 * lifetimeMs(quota)) {
      // The clock was set back by so much that nobody should wait until it is that late again. When the bucket will be full does
      // not depend on the last look at it, which Redis forgets when it was a refusal.
      record.spent = 0;
      record.at = now;
    }
  },

  remaining: (record: ClientRecord, _now: number, { windowMs, burst }: Quota) =>
    Math.floor((burst * windowMs - record.spent) / windowMs),

  spend(record: ClientRecord, cost: number, { windowMs }: Quota): void {
    record.spent += cost * windowMs;
  },

  waitMs: (record: ClientRecord, now: number, { limit, windowMs, burst }: Quota, cost: number) =>
    record.at - now + Math.ceil((record.spent - (burst - cost) * windowMs) / limit),

  restMs: (record: ClientRecord, now: number, { limit }: Quota) => record.at - now + Math.ceil(record.spent / limit),

  most: ({ burst }: Quota) => burst,

  restore(record: ClientRecord, now: number, quota: Quota, remaining: number, resetMs: number): void {
    const { limit, windowMs, burst } = quota;
    // The next token may be under way: then the wait says how much of it is missing.
    const missing = remaining > 0 ? windowMs : Math.min(windowMs, resetMs * limit);
    record.spent = (burst - remaining - 1) * windowMs + missing;
    record.at = now;
  },
});
