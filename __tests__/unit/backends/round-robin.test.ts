import { describe, expect, test } from '@jest/globals';
import { RoundRobin } from '../../../lib/backends/selection/round-robin.ts';
import { counts, exchange, pool, word } from './fake-backend.ts';

describe('round robin', () => {
  test('F01: strict rotation with any weights', () => {
    expect(word(new RoundRobin(), pool(1, 1, 1), 7)).toBe('abcabca');
    expect(word(new RoundRobin(), pool(5, 1, 1), 7)).toBe('abcabca');
  });

  test('the turns of an unavailable backend are shared by all others', () => {
    const backends = pool(1, 1, 1, 1);
    backends[1]!.available = false;
    expect(counts(new RoundRobin(), backends, 300)).toEqual([100, 0, 100, 100]);
  });

  test('picks the only available backend, and undefined without one', () => {
    const backends = pool(1, 1, 1);
    backends[0]!.available = false;
    backends[2]!.weight = 0;
    expect(word(new RoundRobin(), backends, 3)).toBe('bbb');
    backends[1]!.available = false;
    expect(word(new RoundRobin(), backends, 2)).toBe('--');
    expect(word(new RoundRobin(), [], 1)).toBe('-');
  });

  test('continues its rotation when the pool grows or shrinks', () => {
    const policy = new RoundRobin();
    const backends = pool(1, 1, 1);
    expect(word(policy, backends, 2)).toBe('ab');
    expect(word(policy, [...backends, ...pool(1, 1, 1, 1).slice(3)], 2)).toBe('cd');
    expect(word(policy, backends.slice(0, 2), 3)).toBe('aba');
  });

  test('a slow start takes the share of its turns that it has, in a fixed pattern', () => {
    const backends = pool(1, 1);
    backends[1]!.share = 0.25;
    expect(word(new RoundRobin(), backends, 10)).toBe('aaaabaaaab');
    backends[1]!.share = 1;
    expect(word(new RoundRobin(), backends, 4)).toBe('abab');
  });

  test('slow start has no effect when no other backend is available', () => {
    const backends = pool(1, 1, 1);
    for (const backend of backends) backend.share = 0.1;
    // All at once: as if nobody was.
    expect(counts(new RoundRobin(), backends, 300)).toEqual([100, 100, 100]);
    backends[0]!.available = false;
    backends[2]!.available = false;
    expect(word(new RoundRobin(), backends, 5)).toBe('bbbbb');
  });

  test('a backend in slow start that was tried is not picked again', () => {
    const backends = pool(1, 1);
    backends[0]!.share = 0.1;
    const policy = new RoundRobin();
    expect(policy.select(backends, exchange(), [backends[1]!])).toBe(backends[0]);
    expect(policy.select(backends, exchange(), [...backends])).toBeUndefined();
  });
});
