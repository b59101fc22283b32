/** So many requests in so much time. */
export interface Quota {
  /** What one client may spend per window. */
  readonly limit: number;
  /** Length of the window in milliseconds. */
  readonly windowMs: number;
  /** What a full token bucket holds; a sliding window has no use for it. */
  readonly burst: number;
}

/** The part of one of several gateways that count apart: never more in total, but at least 1 each. */
export function shareOf(quota: Quota, gateways: number): Quota {
  if (gateways === 1) return quota;
  const limit = Math.max(1, Math.floor(quota.limit / gateways));
  // In proportion to the limit: a bucket must not take longer to refill, so that its record is not forgotten early.
  const burst = Math.max(1, Math.floor((quota.burst * limit) / quota.limit));
  return { limit, windowMs: quota.windowMs, burst: Math.min(burst, Math.max(1, Math.floor(quota.burst / gateways))) };
}

/** Says why the arithmetic of a quota would not be exact: it multiplies counts with milliseconds, here and in Lua. */
export function quotaProblem({ limit, windowMs, burst }: Quota): string | undefined {
  const largest = (Math.max(limit, burst) + 1) * windowMs;
  return largest <= Number.MAX_SAFE_INTEGER
    ? undefined
    : `a limit (or burst) times its window in milliseconds must be below 2^53`;
}
