import type { Quota } from '../quota.ts';
import { type Algorithm, type ClientRecord, partOf, type Told } from './algorithm.ts';

/** A bucket is refilled at the limit of its latest hit, so that it is full, and forgotten in Redis, at one known moment. */
const rateOf = (record: ClientRecord, { limit }: Quota): number => record.before || limit;

/**
 * A bucket of `burst` tokens that is refilled evenly, `limit` per window: the generic cell rate algorithm
 * (ITU-T I.371 annex A). Its theoretical arrival time is kept as what is missing in the bucket, in units of
 * 1/`windowMs` token, of which each millisecond brings `limit`: so nothing is ever rounded.
 */
export const tokenBucket: Algorithm = Object.freeze({
  isRefilled: true,

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

  restore(record: ClientRecord, now: number, { limit, windowMs, burst }: Quota, told: Told): void {
    const { remaining, resetMs, gateways } = told;
    // The next token may be under way: then the wait says how much of it is missing. Of it, too, a gateway has its part.
    const next = remaining > 0 ? 0 : Math.max(0, windowMs - resetMs * told.limit);
    const part = Math.floor(((remaining % gateways) * windowMs + next) / gateways);
    record.spent = Math.max(0, (burst - partOf(told)) * windowMs - part);
    record.before = limit;
    record.at = now;
  },
});
