import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { MemoryStore, type Options } from 'express-rate-limit';
import fc from 'fast-check';
import type { Algorithm } from '../../../lib/rate-limit/algorithms/algorithm.ts';
import { fixedWindow } from '../../../lib/rate-limit/algorithms/fixed-window.ts';
import { slidingWindow } from '../../../lib/rate-limit/algorithms/sliding-window.ts';
import { tokenBucket } from '../../../lib/rate-limit/algorithms/token-bucket.ts';
import { Debts } from '../../../lib/rate-limit/fallback/debts.ts';
import { LocalFallback } from '../../../lib/rate-limit/fallback/fallback.ts';
import { MemoryMeter } from '../../../lib/rate-limit/memory/memory-meter.ts';
import type { Decision } from '../../../lib/rate-limit/meter.ts';
import { shareOf } from '../../../lib/rate-limit/quota.ts';
import { ALGORITHMS } from './algorithms.ts';

const START = 1_790_000_000_123;
const WINDOW_MS = 60_000;

beforeEach(() => {
  jest.useFakeTimers({ now: START });
});
afterEach(() => {
  jest.useRealTimers();
});

const quotaOf = (limit: number) => ({ limit, windowMs: WINDOW_MS, burst: limit });
const claim = { key: 'k', cost: 1, limit: undefined };

const meterOf = (algorithm: Algorithm, limit: number, maxKeys = 1_000) =>
  new MemoryMeter({ algorithm, quotas: [quotaOf(limit)], maxKeys, onFull: () => onFull() });

const fallbackOf = (algorithm: Algorithm, limit: number) =>
  new LocalFallback(meterOf(algorithm, limit), new Debts(algorithm, [quotaOf(limit)]));

let onFull = () => {};

/** A store that can fail, and its fallback. */
function pair(algorithm: Algorithm, limit: number) {
  const store = meterOf(algorithm, limit);
  const fallback = fallbackOf(algorithm, limit);
  const spend = () => {
    const decision = store.take(claim);
    fallback.learn(claim, decision);
    return decision;
  };
  return { store, fallback, spend };
}

describe.each(ALGORITHMS)('the fallback, with %s', (name, algorithm) => {
  const gaps = fc.array(fc.integer({ min: 0, max: WINDOW_MS / 3 }), { minLength: 1, maxLength: 60 });

  test('is no more lenient than the store would have been, and starts with exactly the remaining quota', () =>
    fc.assert(
      fc.property(gaps, gaps, (before, after) => {
        jest.setSystemTime(START);
        const { store, fallback, spend } = pair(algorithm, 8);
        let last: Decision = spend();
        for (const gap of before) {
          jest.setSystemTime(Date.now() + gap);
          last = spend();
        }
        expect(fallback.take({ ...claim, cost: 0 }).quotaStates[0]?.remaining).toBe(last.quotaStates[0]?.remaining);
        let [here, there] = [0, 0];
        const start = Date.now();
        // Of a refused client, a sliding window tells how long it waits, not how its two counts are.
        const vague = name === 'sliding-window' && !last.allowed;
        // Who was refused in one sliding window has more room in the next one: beyond it, the two go ways of their own.
        const until = algorithm === slidingWindow ? Date.now() + (last.quotaStates[0]?.resetMs ?? 0) : Infinity;
        for (const gap of after) {
          jest.setSystemTime(Date.now() + gap);
          if (Date.now() >= until) break;
          if (fallback.take(claim).allowed) here++;
          if (store.take(claim).allowed) there++;
          const most = vague ? 1 + (8 * (Date.now() - start)) / WINDOW_MS : there;
          expect(here).toBeLessThanOrEqual(most);
        }
      }),
      { numRuns: 300 },
    ));

  test('lets a client that was refused wait as long as the store said', () => {
    const { fallback, spend } = pair(algorithm, 3);
    let last = spend();
    while (last.allowed) {
      jest.setSystemTime(Date.now() + 1_000);
      last = spend();
    }
    expect(fallback.take(claim).allowed).toBe(false);
    jest.setSystemTime(Date.now() + last.retryAfterMs);
    expect(fallback.take(claim).allowed).toBe(true);
  });

  test('shares the limit: all gateways together spend no more than the remaining quota', () => {
    for (const gateways of [2, 3, 4, 7]) {
      jest.setSystemTime(START);
      const store = meterOf(algorithm, 100);
      const standIns = Array.from({ length: gateways }, () => fallbackOf(algorithm, 100));
      for (const one of standIns) one.shareWith(gateways);
      for (let i = 0; i < 37; i++) {
        const decision = store.take(claim);
        for (const one of standIns) one.learn(claim, decision);
      }
      let passed = 0;
      for (const one of standIns) for (let i = 0; i < 100; i++) if (one.take(claim).allowed) passed++;
      expect(passed).toBeLessThanOrEqual(63);
      expect(passed).toBeGreaterThan(63 - gateways);
    }
  });

  test('remembers no more clients than allowed, and news about one client does not affect another', () => {
    let told = 0;
    onFull = () => told++;
    const meter = meterOf(algorithm, 5, 1_000);
    const decision = (remaining: number): Decision => ({
      allowed: remaining > 0,
      retryAfterMs: remaining > 0 ? 0 : WINDOW_MS,
      quotaStates: [{ remaining, resetMs: WINDOW_MS }],
    });
    for (let i = 0; i < 5_000; i++) meter.learn({ ...claim, key: `client-${i}` }, decision(0));
    expect(meter.size).toBeLessThanOrEqual(1_024);
    expect(told).toBe(0);
    // What newcomers share is not what the store said of any one of them.
    expect(meter.take({ ...claim, key: 'client-4999' }).allowed).toBe(true);
    onFull = () => {};
  });

  test('owes the store the hits of clients that share a record', async () => {
    const fallback = new LocalFallback(meterOf(algorithm, 5, 1), new Debts(algorithm, [quotaOf(5)]));
    const paid: [key: string, units: number | undefined][] = [];
    for (const key of ['first', 'second', 'third']) {
      const { allowed } = fallback.take({ ...claim, key });
      fallback.owe({ ...claim, key }, allowed);
    }
    await fallback.debts.payAll(async ({ key, owed }) => {
      paid.push([key, owed[0]?.units]);
    });
    expect(paid).toEqual([
      ['first', 1],
      ['second', 1],
      ['third', 1],
    ]);
  });
});

test('the debt of a client starts with the count of the store', async () => {
  const fallback = fallbackOf(fixedWindow, 10);
  const owed = async () => {
    const all: unknown[] = [];
    await fallback.debts.payAll(async ({ key, owed }) => void all.push([key, owed[0]?.units]));
    return all;
  };
  // As it goes: the fallback decides, and what it lets pass is owed.
  const pass = (cost: number, key = 'k') => {
    const one = { key, cost, limit: undefined };
    fallback.owe(one, fallback.take(one).allowed);
  };
  pass(0);
  expect(fallback.debts.empty).toBe(true);
  fallback.learn(claim, { allowed: true, retryAfterMs: 0, quotaStates: [{ remaining: 6, resetMs: 60_000 }] });
  pass(2);
  pass(3);
  expect(await owed()).toEqual([['k', 5]]);
  // Refused: nothing more is owed, but a store that lost its counts is told of what there was.
  pass(2);
  fallback.debts.restore();
  expect(await owed()).toEqual([['k', 10]]);
  pass(1, 'forgotten');
  fallback.reset('forgotten');
  expect(fallback.debts.empty).toBe(true);
  fallback.shareWith(2);
  pass(1, 'shared');
  pass(9, 'shared');
  expect(await owed()).toEqual([['shared', 1]]);
});

test('each gateway reports the hits of all gateways for a bucket that the store may have lost', async () => {
  const fallback = fallbackOf(tokenBucket, 10);
  fallback.shareWith(3);
  fallback.owe(claim, fallback.take(claim).allowed);
  fallback.debts.restore();
  const leasts: unknown[] = [];
  await fallback.debts.payAll(async ({ owed }) => void leasts.push(owed[0]?.least));
  expect(leasts).toEqual([3]);
});

describe('the state of a client that a store has reported', () => {
  const quota = { limit: 10, windowMs: 1_000, burst: 10 };
  const open = (algorithm: Algorithm) =>
    new MemoryMeter({ algorithm, quotas: [quota], maxKeys: 1_000, onFull: () => {} });
  const tell = (meter: MemoryMeter, remaining: number, resetMs: number, limit?: number) =>
    meter.learn({ ...claim, limit }, { allowed: true, retryAfterMs: 0, quotaStates: [{ remaining, resetMs }] });
  const ask = (meter: MemoryMeter, limit?: number) => meter.take({ key: 'k', cost: 0, limit }).quotaStates[0];

  test.each<[string, Algorithm, number, [number, number], [number, number]]>([
    ['fixed-window', fixedWindow, 1, [4, 600], [4, 600]],
    ['fixed-window', fixedWindow, 1, [0, 600], [0, 600]],
    ['fixed-window', fixedWindow, 1, [4, 5_000], [4, 1_000]],
    ['fixed-window', fixedWindow, 1, [10, 600], [10, 1_000]],
    ['fixed-window', fixedWindow, 2, [5, 600], [2, 600]],
    ['sliding-window', slidingWindow, 1, [4, 600], [4, 600]],
    ['sliding-window', slidingWindow, 1, [0, 600], [0, 600]],
    ['sliding-window', slidingWindow, 1, [4, 5_000], [4, 1_000]],
    ['sliding-window', slidingWindow, 2, [4, 600], [2, 600]],
    ['sliding-window', slidingWindow, 2, [1, 600], [0, 600]],
    // The next one is for all gateways: this one waits for its turn, 100 ms for each other.
    ['sliding-window', slidingWindow, 2, [0, 600], [0, 700]],
    ['sliding-window', slidingWindow, 3, [0, 600], [0, 800]],
    ['sliding-window', slidingWindow, 2, [0, 950], [0, 1_000]],
    // 6 are missing, and each takes 100 ms.
    ['token-bucket', tokenBucket, 1, [4, 5], [4, 600]],
    ['token-bucket', tokenBucket, 1, [1, 5], [1, 900]],
    ['token-bucket', tokenBucket, 1, [0, 30], [0, 30]],
    ['token-bucket', tokenBucket, 1, [0, 200], [0, 100]],
    ['token-bucket', tokenBucket, 1, [10, 0], [10, 0]],
    ['token-bucket', tokenBucket, 1, [12, 0], [10, 0]],
    ['token-bucket', tokenBucket, 2, [4, 5], [2, 600]],
    ['token-bucket', tokenBucket, 2, [5, 5], [2, 500]],
    ['token-bucket', tokenBucket, 2, [0, 30], [0, 130]],
  ])('%s, %#: in one of %2$i gateways, is how the client stands there', (_, algorithm, gateways, told, stands) => {
    const meter = open(algorithm);
    meter.shareWith(gateways);
    tell(meter, ...told);
    expect(Object.values(ask(meter) as object)).toEqual(stands);
    // Whatever was known of it before.
    const known = open(algorithm);
    known.take({ ...claim, cost: 7 });
    jest.advanceTimersByTime(1_100);
    known.take({ ...claim, cost: 2 });
    jest.advanceTimersByTime(50);
    known.shareWith(gateways);
    tell(known, ...told);
    expect(Object.values(ask(known) as object)).toEqual(stands);
  });

  test('a bucket is refilled at the limit of the request that was reported', () => {
    const meter = open(tokenBucket);
    tell(meter, 0, 50, 20);
    expect(ask(meter, 20)).toEqual({ remaining: 0, resetMs: 50 });
    expect(ask(meter)).toEqual({ remaining: 0, resetMs: 550 });
    const other = open(tokenBucket);
    other.take({ key: 'k', cost: 20, limit: 20 });
    expect(ask(other)).toEqual({ remaining: 0, resetMs: 550 });
  });

  test.each<[string, Algorithm, number, number]>([
    ['fixed-window', fixedWindow, 10, 1_000],
    ['sliding-window', slidingWindow, 10, 2_000],
    ['token-bucket', tokenBucket, 10, 1_000],
    ['token-bucket', tokenBucket, 45, 4_500],
    ['token-bucket', tokenBucket, 2, 1_000],
  ])('%s, %#: a client that is left alone is as good as new after a while', (_, algorithm, burst, lifetimeMs) => {
    const quotas = [{ ...quota, burst }];
    expect(new MemoryMeter({ algorithm, quotas, maxKeys: 1_000, onFull: () => {} }).lifetimeMs).toBe(lifetimeMs);
  });
});

test('a share is at least 1, and its bucket is full again no later than a window or the whole one', () =>
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 50 }),
      fc.integer({ min: 1, max: 50 }),
      fc.integer({ min: 1, max: 9 }),
      (l, b, g) => {
        const whole = { limit: l, windowMs: WINDOW_MS, burst: b };
        const share = shareOf(whole, g);
        expect(Math.min(share.limit, share.burst)).toBeGreaterThanOrEqual(1);
        if (l >= g) expect(share.limit * g).toBeLessThanOrEqual(l);
        if (b >= g) expect(share.burst * g).toBeLessThanOrEqual(b);
        expect(tokenBucket.lifetimeMs(share)).toBeLessThanOrEqual(Math.max(WINDOW_MS, tokenBucket.lifetimeMs(whole)));
      },
    ),
  ));

test('a fixed window decides as the store of express-rate-limit does', () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 0, max: WINDOW_MS / 2 }), { minLength: 1, maxLength: 40 }),
      async (gaps) => {
        jest.setSystemTime(START);
        const [meter, store] = [meterOf(fixedWindow, 3), new MemoryStore()];
        store.init({ windowMs: WINDOW_MS } as Options);
        for (const gap of gaps) {
          jest.setSystemTime(Date.now() + gap);
          const { totalHits, resetTime } = await store.increment('k');
          expect(meter.take(claim)).toMatchObject({
            allowed: totalHits <= 3,
            quotaStates: [{ remaining: Math.max(0, 3 - totalHits), resetMs: Number(resetTime) - Date.now() }],
          });
        }
        store.shutdown();
      },
    ),
    { numRuns: 200 },
  ));
