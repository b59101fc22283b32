import { expect, test } from '@jest/globals';
import { quotaProblem, shareOf, windowsCheck } from '../../../lib/rate-limit/quota.ts';

test.each([
  [{ limit: 100, burst: 50 }, 4, { limit: 25, burst: 12 }],
  [{ limit: 10, burst: 10 }, 3, { limit: 3, burst: 3 }],
  [{ limit: 1, burst: 3 }, 5, { limit: 1, burst: 1 }],
  [{ limit: 3, burst: 1 }, 5, { limit: 1, burst: 1 }],
  // In proportion to the limit.
  [{ limit: 19, burst: 20 }, 10, { limit: 1, burst: 1 }],
  [{ limit: 10, burst: 100 }, 1, { limit: 10, burst: 100 }],
])('of %j, the part of one of %i gateways is %j', (whole, gateways, share) => {
  expect(shareOf({ windowMs: 1_000, ...whole }, gateways)).toEqual({ windowMs: 1_000, ...share });
});

test('a quota is exact up to 2^53', () => {
  const most = Number.MAX_SAFE_INTEGER;
  expect(quotaProblem({ limit: most - 1, windowMs: 1, burst: 1 })).toBeUndefined();
  expect(quotaProblem({ limit: most, windowMs: 1, burst: 1 })).toContain('2^53');
  expect(quotaProblem({ limit: 1, windowMs: 1, burst: most })).toContain('2^53');
  expect(quotaProblem({ limit: 1, windowMs: most, burst: 1 })).toContain('2^53');
});

const eight = '1/1s,1/2s,1/3s,1/4s,1/5s,1/6s,1/7s,1/8s';

test.each([eight, '1/ms', ' 5 / 10 m , 7/h', [{ limit: 1, windowMs: 1 }]])('%j are windows', (windows) => {
  expect(windowsCheck(windows)).toBeUndefined();
});

test.each([
  `${eight},1/9s`,
  '1/1s x',
  'x 1/1s',
  [
    { limit: 1, windowMs: 1 },
    { limit: 0, windowMs: 2 },
  ],
  [],
  null,
])('%j are no windows', (windows) => {
  expect(windowsCheck(windows)).toMatch(/^must be 1 to 8 windows/);
});
