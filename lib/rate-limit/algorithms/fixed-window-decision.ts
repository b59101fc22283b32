import type { ClientRateLimitInfo } from 'express-rate-limit';
import type { Decision } from '../meter.ts';

/** What a count of a fixed window says. */
export function fixedWindowDecision({ totalHits, resetTime }: ClientRateLimitInfo, limit: number): Decision {
  const resetMs = resetTime === undefined ? 0 : Math.max(0, resetTime.getTime() - Date.now());
  const allowed = totalHits <= limit;
  const quotaStates = [{ remaining: Math.max(0, limit - totalHits), resetMs }];
  return { allowed, retryAfterMs: allowed ? 0 : resetMs, quotaStates };
}
