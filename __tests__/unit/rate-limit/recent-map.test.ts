import { expect, test } from '@jest/globals';
import { RecentMap } from '../../../lib/rate-limit/recent-map.ts';

test('a recent map keeps used entries, and never more than its capacity', () => {
  const map = new RecentMap<number>(10);
  map.set('kept', 1);
  for (let i = 0; i < 1_000; i++) {
    map.set(`other-${i}`, i);
    expect(map.get('kept')).toBe(1);
    expect(map.size).toBeLessThanOrEqual(10);
  }
  expect(map.get('other-1')).toBeUndefined();
  expect(map.get('other-999')).toBe(999);
});

test('a recent map has one value for a key, and forgets it when told', () => {
  const map = new RecentMap<number>(4);
  map.set('a', 1);
  map.set('b', 2);
  map.set('c', 3);
  map.set('a', 4);
  expect(map.get('a')).toBe(4);
  map.delete('a');
  expect(map.get('a')).toBeUndefined();
  map.clear();
  expect([map.size, map.get('b'), map.get('c')]).toEqual([0, undefined, undefined]);
});

test('a recent map always keeps more than half of its capacity', () => {
  const map = new RecentMap<number>(10);
  for (let i = 0; i < 100; i++) {
    map.set(`key-${i}`, i);
    if (i >= 5) expect(map.size).toBeGreaterThanOrEqual(6);
    expect(map.size).toBeLessThanOrEqual(10);
  }
});

test('a recent map has each key once, also after it was old', () => {
  const map = new RecentMap<number>(4);
  for (const [i, key] of ['a', 'b', 'c'].entries()) map.set(key, i);
  expect([map.size, map.get('a'), map.size]).toEqual([3, 0, 3]);
  map.set('b', 7);
  expect([map.get('a'), map.get('b')]).toEqual([0, 7]);
  expect(map.size).toBeLessThanOrEqual(3);
  for (let i = 0; i < 10; i++) map.set('b', i);
  expect([map.get('a'), map.get('b')]).toEqual([0, 9]);
});

test('a recent map forgets an old key when told', () => {
  const map = new RecentMap<number>(4);
  for (const key of ['a', 'b', 'c']) map.set(key, 1);
  map.delete('a');
  expect([map.get('a'), map.get('b')]).toEqual([undefined, 1]);
});

test('a recent map for two has two', () => {
  const map = new RecentMap<number>(2);
  map.set('a', 1);
  map.set('b', 2);
  expect([map.get('a'), map.get('b'), map.get('c')]).toEqual([1, 2, undefined]);
  expect([map.size, map.get('a'), map.get('b')]).toEqual([2, 1, 2]);
});

test('a value that is written again takes no second place', () => {
  const map = new RecentMap<number>(4);
  for (const key of ['a', 'b', 'b']) map.set(key, 1);
  expect(map.size).toBe(2);
  map.set('c', 1);
  map.set('a', 2);
  expect([map.size, map.get('a')]).toEqual([3, 2]);
});
