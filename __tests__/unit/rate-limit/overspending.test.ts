import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { slidingWindow } from '../../../lib/rate-limit/algorithms/sliding-window.ts';
import { tokenBucket } from '../../../lib/rate-limit/algorithms/token-bucket.ts';
import { Overspending } from '../../../lib/rate-limit/fallback/overspending.ts';

const QUOTAS = [{ limit: 10, windowMs: 1_000, burst: 4 }];
const claim = { key: 'k', cost: 1, limit: undefined };

beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

/** What the store is told to charge, by client. */
const told = (overspending: Overspending) =>
  overspending.take().map(({ key, limit, owed }) => [key, limit, ...owed.map(({ over }) => over)]);

test('returns once, for each client and limit, the hits that only this gateway admitted', () => {
  const overspending = new Overspending(slidingWindow, QUOTAS);
  expect(overspending.add(claim, true)).toBe(true);
  expect(overspending.add({ ...claim, cost: 2 }, true)).toBe(false);
  overspending.add({ ...claim, limit: 5 }, true);
  overspending.add({ ...claim, limit: 6 }, true);
  overspending.add({ ...claim, key: 'other' }, true);
  expect(told(overspending)).toEqual([
    ['k', undefined, 3],
    ['k', 5, 1],
    ['k', 6, 1],
    ['other', undefined, 1],
  ]);
  expect(told(overspending)).toEqual([]);
  expect(overspending.add(claim, true)).toBe(true);
});

test('a hit that was counted in vain makes up for one that was not counted, for a second', () => {
  const overspending = new Overspending(slidingWindow, QUOTAS);
  overspending.add(claim, false);
  overspending.add(claim, false);
  expect(told(overspending)).toEqual([]);
  for (let i = 0; i < 2; i++) overspending.add(claim, true);
  expect(told(overspending)).toEqual([]);
  overspending.add(claim, true);
  expect(told(overspending)).toEqual([['k', undefined, 1]]);
  overspending.add(claim, false);
  jest.advanceTimersByTime(1_001);
  overspending.add(claim, true);
  expect(told(overspending)).toEqual([['k', undefined, 1]]);
});

test('no more than one claim may cost', () => {
  const overspending = new Overspending(tokenBucket, QUOTAS);
  overspending.add({ ...claim, cost: 7 }, true);
  overspending.add({ ...claim, cost: 7, limit: 6 }, true);
  expect(told(overspending)).toEqual([
    ['k', undefined, 4],
    ['k', 6, 6],
  ]);
});
