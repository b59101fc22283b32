import { expect, test } from '@jest/globals';
import { RecentMap } from '../../../lib/rate-limit/recent-map.ts';

test('a recent map keeps what is asked for, and never more than its capacity', () => {
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
