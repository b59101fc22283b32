import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { Failed } from '../../../lib/core/outcome.ts';
import { Retries } from '../../../lib/proxy/retry/retries.ts';
import { RetryBudget } from '../../../lib/proxy/retry/retry-budget.ts';
import { backoffMs, type RetryOptions, retryDefaults } from '../../../lib/proxy/retry/retry-rules.ts';

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

const failure = (facts: Partial<Failed> = {}): Failed => ({
  kind: 'failed',
  cause: 'connection_terminated',
  error: new Error('reset'),
  sent: true,
  headSent: false,
  ...facts,
});

const plenty = () => new RetryBudget(1, 1_000);
const retries = (method = 'GET', options: RetryOptions = {}, budget = plenty()) =>
  new Retries({ ...retryDefaults, ...options }, budget, method, Date.now());

describe('Retries', () => {
  test('a request that was never sent is retried with every method, any number of times', () => {
    const exchange = retries('POST', { attempts: 0 });
    for (let i = 0; i < 5; i += 1) expect(exchange.afterFailure(failure({ sent: false }), false)).toBe(true);
  });

  test.each<readonly [string, boolean, boolean]>([
    ['GET', true, true],
    ['GET', false, false],
    ...['HEAD', 'OPTIONS', 'PUT', 'DELETE'].map((method) => [method, true, true] as const),
    ...['POST', 'PATCH', 'FOO'].map((method) => [method, true, false] as const),
  ])('%s with replayable content: %p gives %p', (method, replayable, expected) => {
    expect(retries(method).afterFailure(failure(), replayable)).toBe(expected);
  });

  test('a connection that died unused is replaced once, beyond the attempts', () => {
    const exchange = retries('GET', { attempts: 1 });
    const unused = failure({ unused: true });
    expect([1, 2, 3].map(() => exchange.afterFailure(unused, true))).toEqual([true, true, false]);
    expect(retries('POST').afterFailure(unused, true)).toBe(false);
  });

  test('no retry begins after the deadline', () => {
    const exchange = retries('GET', { deadlineMs: 1_000, attempts: 9 });
    jest.advanceTimersByTime(999);
    expect(exchange.remainingMs).toBe(1);
    expect(exchange.afterFailure(failure(), true)).toBe(true);
    jest.advanceTimersByTime(1);
    expect(exchange.afterFailure(failure(), true)).toBe(false);
    expect(exchange.afterFailure(failure({ sent: false }), true)).toBe(false);
  });

  test('a response is not dropped at the deadline or after it', () => {
    const exchange = retries('GET', { deadlineMs: 1_000, attempts: 9 });
    jest.advanceTimersByTime(999);
    expect(exchange.afterResponse(true)).toBe(true);
    jest.advanceTimersByTime(1);
    expect([exchange.remainingMs, exchange.afterResponse(true)]).toEqual([0, false]);
  });

  test('there are as many attempts as configured, and the third one waits', () => {
    const exchange = retries('GET', { attempts: 3, backoffMs: 100 });
    const seen = [1, 2, 3, 4].map(() => [exchange.afterFailure(failure(), true), exchange.waitMs > 0]);
    expect(seen).toEqual([
      [true, false],
      [true, true],
      [true, true],
      [false, true],
    ]);
  });

  test('content is kept only for a method that may be repeated', () => {
    expect([retries('PUT', { bufferBytes: 7 }).keepBytes, retries('POST', { bufferBytes: 7 }).keepBytes]).toEqual([
      7, 0,
    ]);
  });

  test('the first retry has no delay, later ones have growing delays with jitter', () => {
    const at = (retry: number, random: number) => backoffMs(retry, retryDefaults, () => random);
    expect([0, 1].map((retry) => at(retry, 1))).toEqual([0, 0]);
    expect([2, 3, 4, 5, 6, 7].map((retry) => at(retry, 1))).toEqual([25, 50, 100, 200, 250, 250]);
    expect(at(6, 0)).toBe(125);
  });

  test('retries only the configured statuses, and only methods that may be repeated', () => {
    expect(retries('GET').isWorthwhile(503)).toBe(false);
    expect([502, 503].map((status) => retries('GET', { statuses: [503] }).isWorthwhile(status))).toEqual([false, true]);
    expect(retries('GET').afterResponse(true)).toBe(true);
    expect(retries('GET').afterResponse(false)).toBe(false);
    expect(retries('POST').afterResponse(true)).toBe(false);
  });
});

describe('RetryBudget', () => {
  test.each([10_001, 60_000, 3_600_000])(
    'a request that a middleware held for %i ms takes nothing from it',
    (heldMs) => {
      const budget = new RetryBudget(0.2, 0);
      for (let i = 0; i < 50; i += 1) budget.requestStarted(Date.now());
      const { left } = budget;
      budget.requestStarted(Date.now() - heldMs);
      expect([left, budget.left]).toEqual([10, 10]);
    },
  );

  const fail = (exchange: Retries) => exchange.afterFailure(failure(), true);

  test('allows a fifth of the requests of the last ten seconds, however many fail at once', () => {
    const budget = new RetryBudget(0.2, 0);
    const exchanges = Array.from({ length: 100 }, () => retries('GET', {}, budget));
    expect(budget.left).toBe(20);
    expect(exchanges.filter(fail)).toHaveLength(20);
    for (const exchange of exchanges) exchange.end();
    expect([budget.left, budget.requests]).toEqual([0, 0]);
    jest.advanceTimersByTime(5_000);
    const later = Array.from({ length: 50 }, () => retries('GET', {}, budget));
    expect(budget.left).toBe(10);
    for (const exchange of later) exchange.end();
    jest.advanceTimersByTime(5_000);
    expect(budget.left).toBe(10);
    jest.advanceTimersByTime(5_000);
    expect(budget.left).toBe(0);
  });

  test('allows the minimum at a time in any case, for a quiet gateway', () => {
    const budget = new RetryBudget(0.2, 3);
    const exchanges = Array.from({ length: 5 }, () => retries('GET', {}, budget));
    expect(budget.left).toBe(3);
    expect(exchanges.filter(fail)).toHaveLength(3);
    for (const exchange of exchanges) exchange.end();
    expect(budget.left).toBe(3);
  });

  test('each retry counts, and a request returns its retries to the budget', () => {
    const budget = new RetryBudget(0, 2);
    const exchange = retries('GET', { attempts: 3 }, budget);
    expect([fail(exchange), fail(exchange), fail(exchange)]).toEqual([true, true, false]);
    exchange.end();
    expect(budget.left).toBe(2);
  });

  test('a request that took its time to get here, and a clock set back, do no harm', () => {
    const budget = new RetryBudget(0.5, 0);
    const old = Date.now();
    jest.advanceTimersByTime(3_000);
    for (let i = 0; i < 10; i += 1) budget.requestStarted(Date.now());
    budget.requestStarted(old);
    budget.requestStarted(old);
    expect(budget.left).toBe(6);
    jest.setSystemTime(old - 3_600_000);
    expect(budget.left).toBe(0);
    for (let i = 0; i < 10; i += 1) budget.requestStarted(Date.now());
    expect(budget.left).toBe(5);
  });

  test('none() resolves when the last of the requests in progress has ended, and at once without one', async () => {
    const budget = new RetryBudget(0.2, 0);
    await budget.none();
    budget.requestStarted(Date.now());
    budget.requestStarted(Date.now());
    let seen: number | undefined;
    const none = budget.none().then(() => {
      seen = budget.requests;
    });
    budget.requestEnded();
    await Promise.resolve();
    await Promise.resolve();
    expect(seen).toBeUndefined();
    budget.requestEnded();
    await none;
    expect(seen).toBe(0);
  });

  test('each second leaves it by itself, ten seconds later', () => {
    jest.setSystemTime(1_790_000_000_000);
    const budget = new RetryBudget(1, 0);
    const left = () => budget.left;
    const seen = [left()];
    budget.requestStarted(Date.now());
    jest.advanceTimersByTime(1_000);
    budget.requestStarted(Date.now());
    budget.requestStarted(Date.now());
    jest.advanceTimersByTime(8_999);
    seen.push(left());
    jest.advanceTimersByTime(1);
    seen.push(left());
    jest.advanceTimersByTime(1_000);
    seen.push(left());
    expect(seen).toEqual([0, 3, 2, 0]);
  });

  test('requests leave the window only once', () => {
    const budget = new RetryBudget(0.5, 0);
    for (let round = 0; round < 3; round += 1) {
      for (let i = 0; i < 10; i += 1) budget.requestStarted(Date.now());
      expect([1, 2, 3, 4, 5, 6].map(() => budget.tryTake())).toEqual([true, true, true, true, true, false]);
      for (let i = 0; i < 30; i += 1) {
        jest.advanceTimersByTime(1_000);
        expect(budget.left).toBeLessThanOrEqual(5);
      }
    }
  });

  test.each([
    [1_000, 5],
    [9_000, 5],
    [10_000, 0],
    [11_000, 0],
  ])('a clock set back by %i ms leaves %i: within ten seconds it forgets nothing', (backMs, left) => {
    jest.setSystemTime(1_790_000_000_000);
    const budget = new RetryBudget(0.5, 0);
    for (let i = 0; i < 10; i += 1) budget.requestStarted(Date.now());
    jest.setSystemTime(Date.now() - backMs);
    expect(budget.left).toBe(left);
  });
});
