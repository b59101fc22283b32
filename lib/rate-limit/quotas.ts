import { MAX_DELAY_MS } from '../core/delay.ts';
import type { Check } from '../core/options.ts';
import type { Quota } from './quota.ts';

/** One of several windows of a limiter. */
export interface RateLimitWindow {
  /** Requests that one client may make per window, at least 1. */
  readonly limit: number;
  /** Length of the window in milliseconds. */
  readonly windowMs: number;
}

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const MOST_WINDOWS = 8;

/** Reads `100/1m, 1000/1h`; units are ms, s, m, h and d. `undefined` for anything else. */
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
    (one) => isCount(one?.limit, Number.MAX_SAFE_INTEGER) && isCount(one?.windowMs, MAX_DELAY_MS),
  );
  if (!good || new Set(windows.map(({ windowMs }) => windowMs)).size < windows.length) return problem;
  return undefined;
};

/** The quotas of windows that `windowsCheck` has passed. */
export function quotasOfWindows(value: string | readonly RateLimitWindow[]): readonly Quota[] {
  const windows = typeof value === 'string' ? (parseWindows(value) ?? []) : value;
  return windows.map(({ limit, windowMs }) => ({ limit, windowMs, burst: limit }));
}
