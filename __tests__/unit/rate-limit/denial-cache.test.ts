import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { DenialCache } from '../../../lib/rate-limit/fallback/denial-cache.ts';
import type { Claim, Decision } from '../../../lib/rate-limit/meter.ts';

const START = 1_790_000_000_000;
const claim = (more: Partial<Claim> = {}): Claim => ({ key: 'k', cost: 1, limit: undefined, ...more });
const denied = (retryAfterMs: number, remaining = 0): Decision => ({
  allowed: false,
  retryAfterMs,
  quotaStates: [{ remaining, resetMs: retryAfterMs }],
});

let cache: DenialCache;
beforeEach(() => {
  jest.useFakeTimers({ now: START });
  cache = new DenialCache();
});
afterEach(() => {
  jest.useRealTimers();
});

const learn = (one: Claim, decision: Decision) => cache.learn(one, decision, cache.era);

test('a denial holds until the claim can pass, with its waits counting down', () => {
  learn(claim(), denied(1_000));
  expect(cache.find(claim(), START)).toEqual(denied(1_000));
  expect(cache.find(claim(), START + 400)).toEqual(denied(600));
  expect(cache.find(claim(), START + 999)).toEqual(denied(1));
  expect(cache.find(claim(), START + 1_000)).toBeUndefined();
});

test('a denial that no client got is forgotten when it ends; of others it is known since when no client was refused', () => {
  const nothingLeft = { allowed: true, retryAfterMs: 0, quotaStates: [{ remaining: 0, resetMs: 700 }] };
  learn(claim(), nothingLeft);
  expect(cache.sinceMs(claim(), START + 100)).toBe(Number.POSITIVE_INFINITY);
  expect(cache.find(claim(), START + 700)).toBeUndefined();
  expect(cache.size).toBe(0);
  learn(claim(), nothingLeft);
  expect(cache.find(claim(), START + 300)?.retryAfterMs).toBe(400);
  expect(cache.find(claim(), START + 800)).toBeUndefined();
  expect(cache.sinceMs(claim(), START + 900)).toBe(600);
  expect(cache.sinceMs(claim({ cost: 2 }), START + 900)).toBe(Number.POSITIVE_INFINITY);
  learn(claim(), { allowed: true, retryAfterMs: 0, quotaStates: [{ remaining: 5, resetMs: 700 }] });
  expect(cache.sinceMs(claim(), START + 900)).toBe(Number.POSITIVE_INFINITY);
  expect(cache.size).toBe(0);
  learn(claim(), denied(1_000));
  expect(cache.sinceMs(claim(), START + 50)).toBe(50);
  expect(cache.sinceMs(claim(), START - 1)).toBe(Number.POSITIVE_INFINITY);
});

test('a denial is one of this client, cost and limit only: a cheaper claim may pass earlier', () => {
  learn(claim({ cost: 5 }), denied(1_000, 3));
  expect(cache.find(claim({ cost: 5 }), START)?.quotaStates).toEqual([{ remaining: 3, resetMs: 1_000 }]);
  for (const other of [
    claim(),
    claim({ cost: 4 }),
    claim({ cost: 6 }),
    claim({ cost: 0 }),
    claim({ cost: 5, limit: 9 }),
  ]) {
    expect(cache.find(other, START)).toBeUndefined();
  }
  expect(cache.find(claim({ key: 'other', cost: 5 }), START)).toBeUndefined();
});

test('denials of several costs hold beside each other', () => {
  for (const cost of [1, 2, 3]) learn(claim({ cost }), denied(1_000 * cost));
  expect([1, 2, 3].map((cost) => cache.find(claim({ cost }), START)?.retryAfterMs)).toEqual([1_000, 2_000, 3_000]);
  expect(cache.sinceMs(claim({ cost: 2 }), START)).toBe(0);
});

test('a claim that took the rest knows the decision of the next claim of 1', () => {
  const quotaStates = [
    { remaining: 0, resetMs: 700 },
    { remaining: 5, resetMs: 9_000 },
  ];
  learn(claim({ cost: 3 }), { allowed: true, retryAfterMs: 0, quotaStates });
  expect(cache.find(claim(), START + 100)).toEqual({
    allowed: false,
    retryAfterMs: 600,
    quotaStates: [
      { remaining: 0, resetMs: 600 },
      { remaining: 5, resetMs: 8_900 },
    ],
  });
  expect(cache.find(claim({ cost: 3 }), START + 100)).toBeUndefined();
});

test('of several quotas that have nothing left, the longest wait holds, and shorter ones count down to 0', () => {
  const quotaStates = [700, 900, 300].map((resetMs) => ({ remaining: 0, resetMs }));
  learn(claim(), { allowed: true, retryAfterMs: 0, quotaStates });
  expect(cache.find(claim(), START + 500)).toEqual({
    allowed: false,
    retryAfterMs: 400,
    quotaStates: [200, 400, 0].map((resetMs) => ({ remaining: 0, resetMs })),
  });
});

test('a denial of one millisecond holds for it, and one of another limit is another', () => {
  learn(claim({ limit: 9 }), denied(1));
  expect(cache.find(claim({ limit: 9 }), START)).toEqual(denied(1));
  expect(cache.find(claim({ limit: 9 }), START + 1)).toBeUndefined();
  learn(claim({ limit: 9 }), denied(1_000));
  expect([cache.find(claim({ limit: 8 }), START), cache.find(claim(), START)]).toEqual([undefined, undefined]);
  learn(claim({ cost: 2 }), denied(1_000));
  expect(cache.find(claim({ cost: 2, limit: 2 }), START)).toBeUndefined();
});

test('where limits differ from request to request, a hit with another limit ends earlier denials of the client', () => {
  const passed = { allowed: true, retryAfterMs: 0, quotaStates: [{ remaining: 5, resetMs: 700 }] };
  learn(claim({ limit: 5 }), denied(1_000));
  learn(claim({ key: 'other', limit: 100 }), passed);
  expect(cache.find(claim({ limit: 5 }), START)).toEqual(denied(1_000));
  for (const other of [claim({ limit: 100 }), claim({ limit: 100, cost: 0 }), claim({ limit: 5, cost: 0 })]) {
    learn(claim({ limit: 5 }), denied(1_000));
    learn(other, passed);
    expect(cache.find(claim({ limit: 5 }), START)).toBeUndefined();
  }
});

test('a claim that left something says nothing, nor does one that could not be counted', () => {
  learn(claim(), { allowed: true, retryAfterMs: 0, quotaStates: [{ remaining: 1, resetMs: 700 }] });
  learn(claim(), { allowed: true, retryAfterMs: 0, quotaStates: [] });
  expect(cache.size).toBe(0);
});

test('replies to requests from before a reset are not cached', () => {
  const { era } = cache;
  learn(claim(), denied(1_000));
  cache.forget();
  expect(cache.find(claim(), START)).toBeUndefined();
  cache.learn(claim(), denied(1_000), era);
  expect(cache.size).toBe(0);
});

test('a denial does not outlive a clock that is set back', () => {
  learn(claim(), denied(1_000));
  expect(cache.find(claim(), START - 1)).toBeUndefined();
});

test('denials are bounded', () => {
  for (let i = 0; i < 250_000; i++) learn(claim({ key: `k${i}` }), denied(60_000));
  expect(cache.size).toBeLessThanOrEqual(100_000);
});
