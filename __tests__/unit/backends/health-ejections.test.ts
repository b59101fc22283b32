import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { Backend } from '../../../lib/backends/backend.ts';
import { type EjectionRule, Ejections } from '../../../lib/backends/health/ejections.ts';
import type { HealthVerdict } from '../../../lib/core/events.ts';
import { microtasks } from '../circuit-breaker/microtasks.ts';
import { makeBackends } from './health-story.ts';

beforeEach(() => {
  jest.useFakeTimers({ now: 1_700_000_000_000 });
});
afterEach(() => {
  jest.useRealTimers();
});

const RULE: EjectionRule = { maxUnavailableRatio: 1, panic: false };

/** A pool whose health is told in numbers: the first backend is 1. */
class Pool {
  backends: readonly Backend[];
  readonly ejections: Ejections;

  constructor(count: number, rule: Partial<EjectionRule> = {}, weights: readonly number[] = []) {
    this.backends = makeBackends(count, weights);
    this.ejections = new Ejections({ ...RULE, ...rule }, () => this.backends);
  }

  at(number: number): Backend {
    return this.backends[number - 1] as Backend;
  }

  judge(number: number, verdict: HealthVerdict): void {
    this.at(number).health.verdict = verdict;
    this.ejections.reconsider(this.at(number));
  }

  /** `-2` turns unhealthy, `2` healthy. */
  turn(...numbers: readonly number[]): this {
    for (const number of numbers) this.judge(Math.abs(number), number < 0 ? 'unhealthy' : 'healthy');
    return this;
  }

  get out(): number[] {
    return this.backends.flatMap((backend, index) => (backend.isAvailable() ? [] : [index + 1]));
  }
}

describe('unhealthy backends', () => {
  const table: readonly (readonly [number, Partial<EjectionRule>, number[], number[]])[] = [
    // backends, rule, turns, out
    [3, {}, [], []],
    [3, {}, [-2], [2]],
    [3, {}, [-2, 2], []],
    [3, {}, [-3, -1], [1, 3]],
    [3, {}, [-3, -1, -2], [1, 3]],
    [3, {}, [-3, -1, -2, 3], [1, 2]],
    [1, {}, [-1], []],
    [2, {}, [-1, -2], [1]],
    [4, { maxUnavailableRatio: 0.5 }, [-4, -3], [3, 4]],
    [4, { maxUnavailableRatio: 0.5 }, [-4, -3, -1], [3, 4]],
    [4, { maxUnavailableRatio: 0.5 }, [-4, -3, -1, 4], [1, 3]],
    [3, { maxUnavailableRatio: 0.5 }, [-1, -2], [1]],
    [3, { maxUnavailableRatio: 0 }, [-1, -2, -3], []],
    [4, { maxUnavailableRatio: 0.5, panic: true }, [-4, -3], [3, 4]],
    [4, { maxUnavailableRatio: 0.5, panic: true }, [-4, -3, -1], []],
    [4, { maxUnavailableRatio: 0.5, panic: true }, [-4, -3, -1, 3], [1, 4]],
    [3, { panic: true }, [-1, -2], [1, 2]],
    [3, { panic: true }, [-1, -2, -3], []],
    [1, { panic: true }, [-1], []],
  ];

  test.each(table)('of %d with %j, after the turns %j: %j are out', (count, rule, turns, out) => {
    expect(new Pool(count, rule).turn(...turns).out).toEqual(out);
  });

  test('a share that binary fractions cannot hold allows exactly its number', () => {
    const numbers = Array.from({ length: 100 }, (_, index) => -(index + 1));
    expect(new Pool(100, { maxUnavailableRatio: 0.29 }).turn(...numbers).out).toHaveLength(29);
    expect(new Pool(100, { maxUnavailableRatio: 0.285 }).turn(...numbers).out).toHaveLength(28);
  });

  test('the last available backend is kept with any weights', () => {
    const pool = new Pool(3, {}, [1, 0, 1]).turn(-1, -2, -3);
    expect(pool.out).toEqual([1, 2]);
    expect(pool.at(3).isAvailable()).toBe(true);
  });

  test('an open circuit is not counted', async () => {
    const pool = new Pool(2);
    pool.at(1).acquire()?.release('failure');
    await microtasks();
    expect(pool.turn(-2).out).toEqual([1, 2]);
  });

  test('an ejected backend has a Retry-After, and admits no request', () => {
    const pool = new Pool(2).turn(-1);
    expect(pool.at(1).status()).toMatchObject({ health: 'unhealthy', available: false, retryAfterMs: 1_000 });
    expect(pool.at(2).retryAfterMs()).toBe(0);
  });
});

test('a backend that returns starts slowly when slow start is on', () => {
  const slow = makeBackends(2, [10, 10], { slowStartMs: 1_000, observesLatency: false });
  const ejections = new Ejections(RULE, () => slow);
  const [backend] = slow as [Backend];
  backend.health.verdict = 'unhealthy';
  ejections.reconsider(backend);
  expect(backend.effectiveWeight).toBe(10);
  backend.health.verdict = 'healthy';
  ejections.reconsider(backend);
  expect(backend.effectiveWeight).toBe(1);
  expect(slow[1]?.effectiveWeight).toBe(10);
});

describe('ejections when the list of backends changes', () => {
  test('an added backend allows one more ejection, a removed one takes it back', () => {
    const pool = new Pool(2).turn(-1, -2);
    const [third] = makeBackends(3).slice(2) as [Backend];
    pool.backends = [...pool.backends, third];
    pool.ejections.membershipChanged([]);
    expect(pool.out).toEqual([1, 2]);
    pool.backends = pool.backends.slice(0, 2);
    pool.ejections.membershipChanged([third]);
    expect(pool.out).toEqual([1]);
  });

  test('the last unhealthy backend is used again when the healthy ones are removed', () => {
    const pool = new Pool(3).turn(-1);
    const [stays, ...gone] = pool.backends as [Backend, ...Backend[]];
    pool.backends = [stays];
    pool.ejections.membershipChanged(gone);
    expect(pool.out).toEqual([]);
  });

  test('weights that change count', () => {
    const pool = new Pool(2).turn(-1);
    pool.at(2).configure({ url: pool.at(2).url, weight: 0 });
    pool.ejections.membershipChanged([]);
    expect(pool.at(1).isAvailable()).toBe(true);
  });
});

describe('backends that send Retry-After', () => {
  test('are unavailable until it is over', () => {
    const pool = new Pool(2);
    pool.ejections.rest(pool.at(1), 5_000);
    expect(pool.out).toEqual([1]);
    expect(pool.at(1).retryAfterMs()).toBe(5_000);
    jest.advanceTimersByTime(4_999);
    expect(pool.out).toEqual([1]);
    jest.advanceTimersByTime(1);
    expect(pool.out).toEqual([]);
    expect(pool.at(1).retryAfterMs()).toBe(0);
  });

  test('use the latest of several times, with one timer', () => {
    const pool = new Pool(2);
    pool.ejections.rest(pool.at(1), 5_000);
    pool.ejections.rest(pool.at(1), 1_000);
    jest.advanceTimersByTime(2_000);
    pool.ejections.rest(pool.at(1), 10_000);
    expect(jest.getTimerCount()).toBe(1);
    jest.advanceTimersByTime(9_999);
    expect(pool.out).toEqual([1]);
    jest.advanceTimersByTime(1);
    expect(pool.out).toEqual([]);
  });

  test('count with the unhealthy ones, in the order in which they gave cause: the last one stays in', () => {
    const pool = new Pool(2);
    pool.ejections.rest(pool.at(1), 5_000);
    pool.turn(-2);
    expect(pool.out).toEqual([1]);
    jest.advanceTimersByTime(5_000);
    expect(pool.out).toEqual([2]);
  });

  test('stay unavailable when they are unhealthy as well', () => {
    const pool = new Pool(2).turn(-1);
    pool.ejections.rest(pool.at(1), 5_000);
    jest.advanceTimersByTime(5_000);
    expect(pool.out).toEqual([1]);
  });

  test('are forgotten when they are removed', () => {
    const pool = new Pool(2);
    const gone = pool.at(1);
    pool.ejections.rest(gone, 5_000);
    pool.backends = [pool.at(2)];
    pool.ejections.membershipChanged([gone]);
    pool.ejections.rest(gone, 5_000);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('close() leaves no timer', () => {
    const pool = new Pool(3);
    for (const backend of pool.backends) pool.ejections.rest(backend, 5_000);
    expect(pool.out).toEqual([1, 2]);
    pool.ejections.close();
    expect(jest.getTimerCount()).toBe(0);
  });
});
