import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { KeepAliveTime } from '../../../lib/proxy/transport/kept-connections.ts';

const closed = (...closes: readonly number[]): KeepAliveTime => {
  const time = new KeepAliveTime();
  for (const idleMs of closes) time.closedAfter(idleMs);
  return time;
};

describe('the keep-alive time of a backend', () => {
  test('is not known at first: any connection may be used', () => {
    expect([closed().isKnown, closed().allows(1e9), closed().isContradictedBy(1e9)]).toEqual([false, true, false]);
  });

  test.each([
    ['some milliseconds: the first half', [8, 2, 5], 0, 1],
    ['a second: the first half', [1_000], 499, 500],
    ['two seconds: the first half', [2_000], 999, 1_000],
    ['five seconds: up to the last one', [5_000], 3_999, 4_000],
    ['a minute: up to the last second', [60_000, 61_000], 58_999, 59_000],
  ])('allows of %s', (_name, closes, last, first) => {
    expect([closed(...closes).allows(last), closed(...closes).allows(first)]).toEqual([true, false]);
  });

  test('of a backend that closes at once allows nothing, also when the clock was set back', () => {
    for (const idleMs of [0, -5_000]) expect(closed(idleMs).allows(0)).toBe(false);
  });

  test('is contradicted by a connection that stays open for much longer, and rises then', () => {
    const time = closed(3);
    expect([time.isContradictedBy(22), time.isContradictedBy(23)]).toEqual([false, true]);
    let idleMs = 23;
    let steps = 0;
    // A backend that restarted, and keeps its connections for 5 s.
    for (; idleMs < 5_000; idleMs += 1) {
      if (!time.isContradictedBy(idleMs)) continue;
      time.outlived();
      steps += 1;
    }
    expect(time.allows(500)).toBe(true);
    expect(steps).toBeLessThan(12);
  });

  test('rises from nothing, too', () => {
    const time = closed(0);
    for (let i = 0; i < 4; i += 1) time.outlived();
    expect(time.allows(3)).toBe(true);
  });

  test('never allows the second half of the shortest time seen, or more than all but its last second', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(100_000), { minLength: 1 }), fc.nat(200_000), (closes, idleMs) => {
        const shortest = Math.min(...closes);
        expect(closed(...closes).allows(idleMs)).toBe(idleMs < shortest / 2 || idleMs < shortest - 1_000);
      }),
    );
  });
});
