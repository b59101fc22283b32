import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { WeightedRoundRobin } from '../../../lib/backends/selection/weighted-round-robin.ts';
import { counts, exchange, type FakeBackend, manyBackends, pool, word } from './fake-backend.ts';

/** nginx's ngx_http_upstream_get_peer(), as plainly as it can be written. */
class Nginx {
  readonly current = new Map<FakeBackend, number>();

  select(backends: readonly FakeBackend[], tried: readonly FakeBackend[]): FakeBackend | undefined {
    let best: FakeBackend | undefined;
    let total = 0;
    for (const backend of backends) {
      if (tried.includes(backend) || !backend.isAvailable()) continue;
      total += backend.effectiveWeight;
      this.current.set(backend, this.of(backend) + backend.effectiveWeight);
      if (best === undefined || this.of(backend) > this.of(best)) best = backend;
    }
    if (best !== undefined) this.current.set(best, this.of(best) - total);
    return best;
  }

  of(backend: FakeBackend): number {
    return this.current.get(backend) ?? 0;
  }
}

describe('weighted round robin', () => {
  test.each([
    [[5, 1, 1], 'aabacaaaabacaa'],
    [[1, 1, 1], 'abcabc'],
    [[4, 2, 1], 'abacabaabacaba'],
    [[1, 3], 'babbbabb'],
    [[3, 0, 1], 'aacaaaca'],
    [[1000, 1000], 'abab'],
    [[2], 'aaa'],
  ])('weights %j give %s', (weights, expected) => {
    expect(word(new WeightedRoundRobin(), pool(...weights), expected.length)).toBe(expected);
  });

  test('gives over a whole cycle each its weight, also in a large pool', () => {
    const backends = manyBackends(1_000, (index) => 1 + (index % 7));
    const total = backends.reduce((sum, { weight }) => sum + weight, 0);
    expect(counts(new WeightedRoundRobin(), backends, total)).toEqual(backends.map(({ weight }) => weight));
  });

  test('an unavailable backend gets no share, and returns without a burst or a delay', () => {
    const backends = pool(5, 1, 1);
    const policy = new WeightedRoundRobin();
    word(policy, backends, 3);
    backends[0]!.available = false;
    expect(word(policy, backends, 8)).toBe('ccbcbcbc');
    backends[0]!.available = true;
    expect(counts(policy, backends, 70)).toEqual([50, 10, 10]);
  });

  const weights = fc.array(fc.nat(9), { minLength: 1, maxLength: 8 });

  test('picks like nginx when any backends are unavailable or tried', () => {
    const out = fc.array(fc.nat(7), { maxLength: 2 });
    const tried = fc.array(fc.array(fc.nat(7), { maxLength: 2 }), { maxLength: 60 });
    fc.assert(
      fc.property(weights, out, tried, (given, missing, attempts) => {
        const backends = pool(...given);
        for (const index of missing) backends[index % backends.length]!.available = false;
        const [policy, nginx, one] = [new WeightedRoundRobin(), new Nginx(), exchange()];
        for (const indices of attempts) {
          const asked = indices.map((index) => backends[index % backends.length]!);
          expect(policy.select(backends, one, asked)?.origin).toBe(nginx.select(backends, asked)?.origin);
        }
      }),
    );
  });

  const change = fc.record({ toggle: fc.nat(7), share: fc.constantFrom(1, 1, 1, 0.1, 0.5), picks: fc.nat(9) });

  test('after any history, the next requests are shared by weight to within two', () => {
    fc.assert(
      fc.property(weights, fc.array(change, { maxLength: 30 }), (given, changes) => {
        const backends = pool(...given);
        const policy = new WeightedRoundRobin();
        for (const { toggle, share, picks } of changes) {
          const changed = backends[toggle % backends.length]!;
          changed.available = !changed.available;
          changed.share = share;
          word(policy, backends, picks);
        }
        // The first one may be what tells the policy of the last change.
        word(policy, backends, 1);
        const present = backends.filter((backend) => backend.isAvailable());
        const total = present.reduce((sum, { effectiveWeight }) => sum + effectiveWeight, 0);
        const found = counts(policy, backends, 50);
        for (const [index, backend] of backends.entries()) {
          const fair = present.includes(backend) ? (50 * backend.effectiveWeight) / total : 0;
          expect(Math.abs((found[index] as number) - fair)).toBeLessThanOrEqual(2 + 1e-9);
        }
      }),
    );
  });

  test('in a pool of 32 a returning backend is picked at once', () => {
    const backends = manyBackends(32, (index) => (index === 20 ? 100 : 1));
    const heavy = backends[20]!;
    const policy = new WeightedRoundRobin();
    heavy.available = false;
    word(policy, backends, 33);
    heavy.available = true;
    expect(policy.select(backends, exchange(), [])).toBe(heavy);
  });

  test('in a large pool it asks a few dozen backends per pick, not all', () => {
    const backends = manyBackends(1_000);
    const policy = new WeightedRoundRobin();
    word(policy, backends, 1);
    for (const backend of backends) backend.asked = 0;
    word(policy, backends, 1_000);
    const asked = backends.reduce((sum, backend) => sum + backend.asked, 0);
    expect(asked).toBeLessThan(40_000);
  });

  test('in a large pool it never picks one that has just gone, and soon picks one that has just come', () => {
    const backends = manyBackends(1_000);
    const policy = new WeightedRoundRobin();
    word(policy, backends, 500);
    for (const backend of backends.slice(10)) backend.available = false;
    const found = counts(policy, backends, 2_000).slice(10);
    expect(found).toEqual(Array(990).fill(0));
    expect(counts(policy, backends, 100).slice(0, 10)).toEqual(Array(10).fill(10));
    for (const backend of backends) backend.available = false;
    expect(word(policy, backends, 1)).toBe('-');
    backends[777]!.available = true;
    expect(policy.select(backends, exchange(), [])).toBe(backends[777]);
    backends[5]!.available = true;
    expect(counts(policy, backends, 100)[5]).toBeGreaterThan(30);
  });
});

describe('weighted round robin when the pool changes', () => {
  test('backends that stay keep their place in the rotation', () => {
    const policy = new WeightedRoundRobin();
    const backends = pool(5, 1, 1);
    expect(word(policy, backends, 4)).toBe('aaba');
    expect(word(policy, [...backends], 3)).toBe('caa');
  });

  test('an added backend gets its share at once, without a burst', () => {
    const policy = new WeightedRoundRobin();
    const [a, b, c, d] = pool(1, 1, 1, 1) as [FakeBackend, FakeBackend, FakeBackend, FakeBackend];
    word(policy, [a, b, c], 100);
    expect(counts(policy, [a, b, c, d], 8)).toEqual([2, 2, 2, 2]);
  });

  test('a thousand changes cause no burst', () => {
    const policy = new WeightedRoundRobin();
    let backends = pool(3, 2, 1, 1);
    for (let change = 0; change < 1_000; change += 1) {
      word(policy, backends, 1 + (change % 5));
      backends = [...backends.slice(1), ...pool(1 + (change % 4))];
    }
    const [fresh] = pool(1) as [FakeBackend];
    backends = [...backends.slice(1), fresh];
    const total = backends.reduce((sum, { weight }) => sum + weight, 0);
    const found = counts(policy, backends, 10 * total);
    for (const [index, { weight }] of backends.entries()) {
      expect(Math.abs((found[index] as number) - 10 * weight)).toBeLessThanOrEqual(weight + 2);
    }
  });

  test('an added backend is picked within a round, also when others leave right after their turn', () => {
    const policy = new WeightedRoundRobin();
    const staying = pool(1, 1, 1);
    let backends = [...staying, ...pool(1)];
    let longest = 0;
    for (let change = 0; change < 200; change += 1) {
      let picks = 1;
      while (policy.select(backends, exchange(), []) !== backends[3]) picks += 1;
      longest = Math.max(longest, picks);
      backends = [...staying, ...pool(1)];
    }
    expect(longest).toBeLessThanOrEqual(5);
  });

  test('weights that become a thousand times smaller delay no backend', () => {
    const policy = new WeightedRoundRobin();
    const backends = pool(1000, 1000);
    expect(word(policy, backends, 1)).toBe('a');
    for (const backend of backends) backend.weight = 1;
    expect(word(policy, [...backends], 5)).toBe('babab');
  });

  test('weight 0 stops new requests, and a weight above 0 resumes them', () => {
    const policy = new WeightedRoundRobin();
    const backends = pool(1, 1);
    word(policy, backends, 1);
    backends[1]!.weight = 0;
    expect(word(policy, [...backends], 3)).toBe('aaa');
    backends[1]!.weight = 1;
    expect(counts(policy, [...backends], 10)).toEqual([5, 5]);
  });
});
