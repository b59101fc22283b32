import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { Watchdog, type Watched } from '../../../lib/proxy/watchdog.ts';

class Silent implements Watched {
  timeoutMs = 1_000;
  silentSince = 0;
  index = -1;
  expiredAfter: number | undefined;
  onExpired = () => {};

  expired(silentMs: number): void {
    this.expiredAfter ??= silentMs;
    this.onExpired();
  }
}

beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

const HOUR = 3_600_000;

test.each([60_000, HOUR, -60_000, -HOUR])('the watchdog is not affected by a clock that is set by %i ms', (jump) => {
  const watchdog = new Watchdog(1_000);
  const one = new Silent();
  watchdog.watch(one);
  jest.advanceTimersByTime(500);
  jest.setSystemTime(Date.now() + jump);
  jest.advanceTimersByTime(400);
  expect(one.expiredAfter).toBeUndefined();
  jest.advanceTimersByTime(300);
  expect(one.expiredAfter).toBeGreaterThanOrEqual(1_000);
  expect(one.expiredAfter).toBeLessThan(1_200);
  watchdog.close();
});

test('the watchdog does not time out on a request that starts after a long idle time', () => {
  const watchdog = new Watchdog(1_000);
  const one = new Silent();
  watchdog.watch(one);
  jest.advanceTimersByTime(300);
  watchdog.unwatch(one);
  jest.advanceTimersByTime(HOUR);
  const two = new Silent();
  watchdog.watch(two);
  jest.advanceTimersByTime(900);
  expect(two.expiredAfter).toBeUndefined();
  jest.advanceTimersByTime(200);
  expect(two.expiredAfter).toBe(1_000);
  watchdog.close();
});

const watchedBy = (watchdog: Watchdog, count: number): Silent[] => {
  const all = Array.from({ length: count }, () => new Silent());
  for (const one of all) watchdog.watch(one);
  return all;
};

test.each([0, 1, 2])('the watchdog forgets the one that is unwatched (%i of three), and watches the others', (gone) => {
  const watchdog = new Watchdog(1_000);
  const all = watchedBy(watchdog, 3);
  watchdog.unwatch(all[gone] as Silent);
  watchdog.unwatch(all[gone] as Silent);
  jest.advanceTimersByTime(1_100);
  expect(all.map(({ expiredAfter }) => expiredAfter)).toEqual(
    [0, 1, 2].map((index) => (index === gone ? undefined : 1_000)),
  );
  for (const one of all) watchdog.unwatch(one);
  jest.advanceTimersByTime(100);
  expect(jest.getTimerCount()).toBe(0);
});

test('the watchdog has one timer, which ends when it is closed', () => {
  const watchdog = new Watchdog(1_000);
  const all = watchedBy(watchdog, 3);
  expect(jest.getTimerCount()).toBe(1);
  watchdog.close();
  expect(jest.getTimerCount()).toBe(0);
  jest.advanceTimersByTime(2_000);
  expect(all.map(({ expiredAfter }) => expiredAfter)).toEqual([undefined, undefined, undefined]);
});

test('a watched object that times out may unwatch itself, and close the watchdog', () => {
  const watchdog = new Watchdog(1_000);
  const all = watchedBy(watchdog, 4);
  for (const one of all.slice(1)) one.onExpired = () => watchdog.unwatch(one);
  jest.advanceTimersByTime(1_100);
  expect(all.map(({ expiredAfter }) => expiredAfter)).toEqual([1_000, 1_000, 1_000, 1_000]);
  const more = watchedBy(watchdog, 2);
  (more[1] as Silent).onExpired = () => watchdog.close();
  jest.advanceTimersByTime(1_100);
  expect(more.map(({ expiredAfter }) => expiredAfter)).toEqual([undefined, 1_000]);
});

test('the watchdog says how long it has seen no progress', () => {
  const watchdog = new Watchdog(1_000);
  const [one] = watchedBy(watchdog, 1) as [Silent];
  expect(watchdog.silentMs(one)).toBe(0);
  jest.advanceTimersByTime(540);
  expect(watchdog.silentMs(one)).toBe(450);
  one.silentSince = 0;
  expect(watchdog.silentMs(one)).toBe(0);
  jest.advanceTimersByTime(1_000);
  expect([watchdog.silentMs(one), one.expiredAfter]).toEqual([950, undefined]);
  watchdog.close();
});
