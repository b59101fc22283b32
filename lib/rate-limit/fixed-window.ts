import type { Algorithm, ClientRecord } from './algorithm.ts';
import type { Quota } from './quota.ts';

const restMs = (record: ClientRecord, now: number, { windowMs }: Quota): number => record.at + windowMs - now;

/**
 * The window that a client's first request has started: what stands in for the store of rate-limit-redis, with
 * bounded memory. What it refuses it does not count, which nobody can tell: it is refused until the window ends.
 */
export const fixedWindow: Algorithm = Object.freeze({
  lifetimeMs: ({ windowMs }: Quota) => windowMs,

  settle(record: ClientRecord, now: number, { windowMs }: Quota): void {
    if (record.spent === 0 || now - record.at >= windowMs) {
      record.spent = 0;
      record.at = now;
    }
    // The clock was set back: no client waits for more than a window because of it.
    if (record.at > now) record.at = now;
  },

  remaining: (record: ClientRecord, _now: number, { limit }: Quota) => limit - record.spent,

  spend(record: ClientRecord, cost: number): void {
    record.spent += cost;
  },

  waitMs: restMs,
  restMs,

  most: ({ limit }: Quota) => limit,

  restore(record: ClientRecord, now: number, { limit, windowMs }: Quota, remaining: number, resetMs: number): void {
    record.spent = limit - remaining;
    record.at = now + Math.min(resetMs, windowMs) - windowMs;
  },
});
