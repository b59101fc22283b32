import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { Watchdog, type Watched } from '../../../lib/proxy/watchdog.ts';

class Silent implements Watched {
  timeoutMs = 1_000;
  silentSince = 0;
  index = -1;
  expiredAfter: number | undefined;

  expired(silentMs: number): void {
    this.expiredAfter ??= silentMs;
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
  watchdog.close();
});
