import type { Send } from '../meter.ts';
import type { Quota } from '../quota.ts';
import { RedisWindows } from '../redis/redis-windows.ts';
import { type Algorithm, type ClientRecord, partOf, type Told } from './algorithm.ts';

const restMs = (record: ClientRecord, now: number, { windowMs }: Quota): number => record.at + windowMs - now;

/** A window that starts with a client's first request, counted as rate-limit-redis counts it. */
export const fixedWindow: Algorithm = Object.freeze({
  summary: 'In the window that the first request of a client has started. In Redis by rate-limit-redis.',
  atMost: 'twice the limit',
  redis: (send: Send, prefix: string, quota: Quota) => new RedisWindows(send, prefix, quota),
  countsRefused: true,

  lifetimeMs: ({ windowMs }: Quota) => windowMs,

  settle(record: ClientRecord, now: number, { windowMs }: Quota): void {
    if (record.spent === 0 || now - record.at >= windowMs) {
      record.spent = 0;
      record.at = now;
    }
  },

  remaining: (record: ClientRecord, _now: number, { limit }: Quota) => limit - record.spent,

  spend(record: ClientRecord, cost: number): void {
    record.spent += cost;
  },

  waitMs: restMs,
  restMs,

  most: ({ limit }: Quota) => limit,

  restore(record: ClientRecord, now: number, { limit, windowMs }: Quota, told: Told): void {
    record.spent = limit - partOf(told);
    record.at = now + Math.min(told.resetMs, windowMs) - windowMs;
  },
});
