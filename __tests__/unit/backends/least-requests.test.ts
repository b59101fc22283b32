import { describe, expect, test } from '@jest/globals';
import { LeastRequests } from '../../../lib/backends/selection/least-requests.ts';
import { counts, exchange, type FakeBackend, manyBackends, pool, seeded, word } from './fake-backend.ts';

/** Picks that stay in flight. */
function fill(policy: LeastRequests, backends: readonly FakeBackend[], requests: number): number[] {
  for (let request = 0; request < requests; request += 1) {
    const backend = policy.select(backends, exchange(), []);
    if (backend !== undefined) backend.inFlight += 1;
  }
  return backends.map(({ inFlight }) => inFlight);
}

describe('least requests in a small pool', () => {
  test('picks the one with the fewest in flight', () => {
    const backends = pool(1, 1, 1);
    [3, 1, 2].forEach((inFlight, index) => {
      backends[index]!.inFlight = inFlight;
    });
    expect(word(new LeastRequests(), backends, 1)).toBe('b');
    backends[1]!.available = false;
    expect(word(new LeastRequests(), backends, 1)).toBe('c');
  });

  test('requests that last are spread evenly, and by weight', () => {
    expect(fill(new LeastRequests(), pool(1, 1, 1), 30)).toEqual([10, 10, 10]);
    expect(fill(new LeastRequests(), pool(5, 1, 1, 0), 70)).toEqual([50, 10, 10, 0]);
  });

  test('an idle pool takes weighted turns', () => {
    expect(word(new LeastRequests(), pool(1, 1, 1), 6)).toBe('abcabc');
    expect(word(new LeastRequests(), pool(5, 1, 1), 7)).toBe('aabacaa');
  });

  test('a slow start gets its part of an idle pool, and its part of the load', () => {
    const backends = pool(1, 1);
    backends[1]!.share = 0.1;
    expect(counts(new LeastRequests(), backends, 110)).toEqual([100, 10]);
    expect(fill(new LeastRequests(), backends, 22)).toEqual([20, 2]);
  });

  test('picks nothing when no backend is available', () => {
    const backends = pool(1, 0);
    expect(new LeastRequests().select(backends, exchange(), [backends[0]!])).toBeUndefined();
    expect(new LeastRequests().select([], exchange(), [])).toBeUndefined();
  });

  test('goes on when the pool changes', () => {
    const policy = new LeastRequests();
    const backends = pool(1, 1, 1);
    word(policy, backends, 100);
    expect(counts(policy, backends.slice(1), 10)).toEqual([5, 5]);
    expect(counts(policy, [...backends, ...pool(1)], 40)).toEqual([10, 10, 10, 10]);
  });
});

describe('least requests in a large pool', () => {
  test('takes the better of two: no backend is far above the average', () => {
    const found = fill(new LeastRequests(seeded(1)), manyBackends(1_000), 10_000);
    // A single random choice would give a maximum of about 22 and leave some with 1 or 2.
    expect(Math.max(...found)).toBeLessThanOrEqual(12);
    expect(Math.min(...found)).toBeGreaterThanOrEqual(5);
  });

  test('follows the weights, when idle and when busy', () => {
    const backends = manyBackends(100, (index) => (index < 50 ? 3 : 1));
    const heavy = (numbers: number[]) => numbers.slice(0, 50).reduce((sum, one) => sum + one, 0);
    expect(heavy(counts(new LeastRequests(seeded(2)), backends, 40_000)) / 40_000).toBeCloseTo(0.75, 1);
    expect(heavy(fill(new LeastRequests(seeded(3)), backends, 20_000)) / 20_000).toBeCloseTo(0.75, 1);
  });

  test('a backend in slow start gets its reduced share', () => {
    const backends = manyBackends(100);
    for (const backend of backends.slice(0, 50)) backend.share = 0.25;
    const found = counts(new LeastRequests(seeded(4)), backends, 40_000);
    const slow = found.slice(0, 50).reduce((sum, one) => sum + one, 0);
    expect(slow / 40_000).toBeCloseTo(0.2, 1);
  });

  test('when most are unavailable, the others share evenly', () => {
    const backends = manyBackends(1_000);
    for (const backend of backends) backend.available = false;
    for (const index of [3, 4, 5, 900]) backends[index]!.available = true;
    const found = counts(new LeastRequests(seeded(5)), backends, 4_000).filter((count) => count > 0);
    expect(found).toHaveLength(4);
    for (const count of found) expect(Math.abs(count - 1_000)).toBeLessThan(120);
  });

  test('looks at few backends, however many there are', () => {
    const backends = manyBackends(1_000);
    counts(new LeastRequests(seeded(6)), backends, 1_000);
    expect(backends.reduce((sum, { asked }) => sum + asked, 0)).toBeLessThan(2_100);
  });
});
