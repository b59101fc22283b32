import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { Failed } from '../../../lib/core/outcome.ts';
import { Retries } from '../../../lib/proxy/retries.ts';
import { RetryBudget } from '../../../lib/proxy/retry-budget.ts';
import { backoffMs, type RetryOptions, retryDefaults } from '../../../lib/proxy/retry-rules.ts';

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
  test('what was never sent goes on, whatever the method and however often', () => {
    const exchange = retries('POST', { attempts: 0 });
    for (let i = 0; i < 5; i += 1) expect(exchange.afterFailure(failure({ sent: false }), false)).toBe(true);
  });

  test.each([
    ['GET', true, true],
    ['GET', false, false],
    ['PUT', true, true],
    ['POST', true, false],
    ['FOO', true, false],
  ])('%s with replayable content: %p gives %p', (method, replayable, expected) => {
    expect(retries(method).afterFailure(failure(), replayable)).toBe(expected);
  });

  test('a connection that died unused is replaced once beyond the attempts', () => {
    const exchange = retries('GET', { attempts: 1 });
    const unused = failure({ unused: true });
    expect([1, 2, 3].map(() => exchange.afterFailure(unused, true))).toEqual([true, true, false]);
    expect(retries('POST').afterFailure(unused, true)).toBe(false);
  });

  test('nothing begins after the deadline', () => {
    const exchange = retries('GET', { deadlineMs: 1_000, attempts: 9 });
    jest.advanceTimersByTime(999);
    expect(exchange.remainingMs).toBe(1);
    expect(exchange.afterFailure(failure(), true)).toBe(true);
    jest.advanceTimersByTime(1);
    expect(exchange.afterFailure(failure(), true)).toBe(false);
    expect(exchange.afterFailure(failure({ sent: false }), true)).toBe(false);
  });

  test('the first retry waits for nothing, later ones longer and longer, with jitter', () => {
    const at = (retry: number, random: number) => backoffMs(retry, retryDefaults, () => random);
    expect([0, 1].map((retry) => at(retry, 1))).toEqual([0, 0]);
    expect([2, 3, 4, 5, 6, 7].map((retry) => at(retry, 1))).toEqual([25, 50, 100, 200, 250, 250]);
    expect(at(6, 0)).toBe(125);
  });

  test('only the statuses chosen, only for methods that may be repeated', () => {
    expect(retries('GET').afterAnswer(503, true)).toBe(false);
    expect(retries('GET', { statuses: [503] }).afterAnswer(503, true)).toBe(true);
    expect(retries('GET', { statuses: [503] }).afterAnswer(502, true)).toBe(false);
    expect(retries('POST', { statuses: [503] }).afterAnswer(503, true)).toBe(false);
  });
});

describe('RetryBudget', () => {
  test('a fifth of the requests that are no retries, and at least the minimum', () => {
    const budget = new RetryBudget(0.2, 3);
    expect(budget.left).toBe(3);
    const exchanges = Array.from({ length: 100 }, () => retries('GET', {}, budget));
    expect(budget.left).toBe(20);
    const allowed = exchanges.filter((exchange) => exchange.afterFailure(failure(), true));
    // Each retry leaves one request fewer to be counted as a first attempt.
    expect(allowed).toHaveLength(16);
    expect(budget.left).toBe(0);
    for (const exchange of exchanges) exchange.end();
    expect(budget.left).toBe(3);
  });

  test('an exchange takes from it once, however often it is repeated, and gives back once', () => {
    const budget = new RetryBudget(0, 1);
    const exchange = retries('GET', { attempts: 3 }, budget);
    const other = retries('GET', {}, budget);
    expect([1, 2, 3].map(() => exchange.afterFailure(failure(), true))).toEqual([true, true, true]);
    expect(other.afterFailure(failure(), true)).toBe(false);
    exchange.end();
    expect(other.afterFailure(failure(), true)).toBe(true);
  });
});
