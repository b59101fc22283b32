import { type Check, integer } from '../core/options.ts';

/** Amount that a client may spend per window. */
export interface Quota {
  /** Units that one client may spend per window. */
  readonly limit: number;
  /** Length of the window in milliseconds. */
  readonly windowMs: number;
  /** Tokens in a full bucket. Only token buckets use it. */
  readonly burst: number;
}

/** The part of a quota for one of several gateways that count by themselves. At least 1; otherwise the parts never exceed the quota. */
export function shareOf(quota: Quota, gateways: number): Quota {
  if (gateways === 1) return quota;
  const limit = Math.max(1, Math.floor(quota.limit / gateways));
  // In proportion to the limit. If the bucket took longer to refill, its record would be forgotten too early.
  const burst = Math.max(1, Math.floor((quota.burst * limit) / quota.limit));
  return { limit, windowMs: quota.windowMs, burst: Math.min(burst, Math.max(1, Math.floor(quota.burst / gateways))) };
}

/** Why the arithmetic of a quota would not be exact; `undefined` if it is. Here and in Lua, it multiplies counts by milliseconds. */
export function quotaProblem({ limit, windowMs, burst }: Quota): string | undefined {
  const largest = (Math.max(limit, burst) + 1) * windowMs;
  return largest <= Number.MAX_SAFE_INTEGER
    ? undefined
    : `a limit (or burst) times its window in milliseconds must be below 2^53`;
}

/** One of several windows of a limiter. */
export interface RateLimitWindow {
  /** Requests that one client may make per window, at least 1. */
  readonly limit: number;
  /** Length of the window in milliseconds. */
  readonly windowMs: number;
}

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const MOST_WINDOWS = 8;

/** A leap year. Windows need no timer, so the 24.8 days of Node's longest timer are no bound. */
export const LONGEST_WINDOW_MS = 366 * 86_400_000;

export const windowMsCheck: Check = integer(1, LONGEST_WINDOW_MS);

/** Parses `100/1m, 1000/1h`, with the units ms, s, m, h and d. `undefined` for anything else. */
function parseWindows(text: string): readonly RateLimitWindow[] | undefined {
  const windows: RateLimitWindow[] = [];
  for (const item of text.split(',')) {
    const match = /^\s*(\d{1,15})\s*\/\s*(\d{0,10})\s*(ms|s|m|h|d)\s*$/.exec(item);
    if (match === null) return undefined;
    const [, limit, count, unit = ''] = match;
    windows.push({ limit: Number(limit), windowMs: Number(count || 1) * (UNIT_MS[unit] as number) });
  }
  return windows;
}

const isCount = (value: unknown, most: number): boolean =>
  Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= most;

export const windowsCheck: Check = (value) => {
  const windows = typeof value === 'string' ? parseWindows(value) : value;
  const problem = `must be 1 to ${MOST_WINDOWS} windows of different lengths, like "100/1m, 1000/1h"`;
  if (!Array.isArray(windows) || windows.length < 1 || windows.length > MOST_WINDOWS) return problem;
  const good = windows.every(
    (one) => isCount(one?.limit, Number.MAX_SAFE_INTEGER) && isCount(one?.windowMs, LONGEST_WINDOW_MS),
  );
  if (!good || new Set(windows.map(({ windowMs }) => windowMs)).size < windows.length) return problem;
  return undefined;
};

/** @param value Has passed `windowsCheck`. */
export function quotasOfWindows(value: string | readonly RateLimitWindow[]): readonly Quota[] {
  const windows = typeof value === 'string' ? (parseWindows(value) ?? []) : value;
  return windows.map(({ limit, windowMs }) => ({ limit, windowMs, burst: limit }));
}
