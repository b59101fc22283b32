import type { ClientRateLimitInfo } from 'express-rate-limit';
import type { Ruling } from '../meter.ts';

/** What a count of a fixed window says. */
export function fixedWindowRuling({ totalHits, resetTime }: ClientRateLimitInfo, limit: number): Ruling {
  const resetMs = resetTime === undefined ? 0 : Math.max(0, resetTime.getTime() - Date.now());
  const allowed = totalHits <= limit;
  const standings = [{ remaining: Math.max(0, limit - totalHits), resetMs }];
  return { allowed, retryAfterMs: allowed ? 0 : resetMs, standings };
}
