import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { RollingWindow } from '../../../lib/circuit-breaker/rolling-window.ts';

const T0 = 1_700_000_000_000;
const rule = { failureRatio: 0.5, minimumRequests: 4, windowMs: 10_000 };

beforeEach(() => void jest.useFakeTimers({ now: T0 }));
afterEach(() => void jest.useRealTimers());

test('a call counts to the last millisecond of the tenth bucket', () => {
  const window = new RollingWindow(rule);
  jest.advanceTimersByTime(999);
  window.success();
  jest.advanceTimersByTime(9_000);
  expect(window.counts.calls).toBe(1);
  jest.advanceTimersByTime(1);
  expect(window.counts.calls).toBe(0);
});

test('a window that is no multiple of ten is rounded up', () => {
  const window = new RollingWindow({ ...rule, windowMs: 5 });
  window.success();
  jest.advanceTimersByTime(9);
  expect(window.counts.calls).toBe(1);
  jest.advanceTimersByTime(1);
  expect(window.counts.calls).toBe(0);
});

test('a clock set back a little keeps the counts, and they expire when it has caught up', () => {
  const window = new RollingWindow(rule);
  window.success();
  jest.setSystemTime(T0 - 8_999);
  window.failure();
  expect(window.counts).toEqual({ calls: 2, failures: 1 });
  jest.setSystemTime(T0 + 10_000);
  expect(window.counts).toEqual({ calls: 0, failures: 0 });
});

test('a clock set back by more than the window starts afresh, and time passes from there', () => {
  const window = new RollingWindow(rule);
  window.failure();
  jest.setSystemTime(T0 - 3_600_000);
  expect(window.counts).toEqual({ calls: 0, failures: 0 });
  window.failure();
  jest.advanceTimersByTime(9_999);
  expect(window.counts).toEqual({ calls: 1, failures: 1 });
  jest.advanceTimersByTime(1);
  expect(window.counts).toEqual({ calls: 0, failures: 0 });
});

test.each([
  [-9_000, { calls: 2, failures: 1 }],
  [-9_001, { calls: 1, failures: 1 }],
  [9_999, { calls: 2, failures: 1 }],
  [10_000, { calls: 1, failures: 1 }],
])('a clock that jumps by %d ms keeps the counts of the window: %j', (ms, counts) => {
  const window = new RollingWindow(rule);
  window.success();
  jest.setSystemTime(T0 + ms);
  window.failure();
  expect(window.counts).toEqual(counts);
});

test('a window of 0 never ends, even if the clock is set', () => {
  const window = new RollingWindow({ ...rule, windowMs: 0 });
  for (const ms of [0, 86_400_000, -86_400_000, 365 * 86_400_000]) {
    jest.setSystemTime(T0 + ms);
    window.success();
  }
  expect(window.counts).toEqual({ calls: 4, failures: 0 });
  for (let i = 0; i < 3; i += 1) expect(window.failure()).toBe(false);
  expect(window.failure()).toBe(true);
});

test('a function as minimum is called only when the share of failures is reached, and then each time', () => {
  let backends = 1;
  const asked = jest.fn(() => 2 * backends);
  const window = new RollingWindow({ ...rule, minimumRequests: asked });
  window.success();
  window.success();
  expect(window.failure()).toBe(false);
  expect(asked).not.toHaveBeenCalled();
  backends = 3;
  expect(window.failure()).toBe(false);
  expect(asked).toHaveBeenCalledTimes(1);
  backends = 2;
  expect(window.failure()).toBe(true);
});

test('a minimum that throws is not reached, and said to be broken', () => {
  const warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
  const minimumRequests = () => {
    throw new Error('no idea');
  };
  const window = new RollingWindow({ ...rule, minimumRequests });
  for (let i = 0; i < 10; i += 1) expect(window.failure()).toBe(false);
  expect(warned).toHaveBeenCalledTimes(1);
  expect(warned).toHaveBeenCalledWith(
    'minimumRequests of a circuit threw, the circuit stays closed: Error: no idea',
    expect.objectContaining({ type: 'ExpresswayPredicateWarning', code: 'WARN_EXPRESSWAY_MINIMUM_REQUESTS' }),
  );
  warned.mockRestore();
});

test('failures in a row open the circuit at any ratio, as long as all of them are in the window', () => {
  const window = new RollingWindow({ failureRatio: 0.6, minimumRequests: 5, windowMs: 10_000, consecutiveFailures: 5 });
  for (let i = 0; i < 1_000; i += 1) window.success();
  const fail = () => window.failure();
  expect([fail(), fail(), fail(), fail()]).toEqual([false, false, false, false]);
  window.success();
  expect([fail(), fail(), fail(), fail(), fail()]).toEqual([false, false, false, false, true]);
  jest.advanceTimersByTime(60_000);
  for (let i = 0; i < 1_000; i += 1) window.success();
  for (let i = 0; i < 4; i += 1) {
    jest.advanceTimersByTime(9_000);
    expect(fail()).toBe(false);
  }
});
