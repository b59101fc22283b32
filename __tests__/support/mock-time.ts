import { afterAll, beforeAll, jest } from '@jest/globals';

/** The clock of this test file is the test's own, from `now` on; Redis and sockets keep the timers that they need. */
export function mockDateOnly(now: number): void {
  beforeAll(() => {
    jest.useFakeTimers({
      now,
      doNotFake: [
        'setTimeout',
        'setImmediate',
        'nextTick',
        'queueMicrotask',
        'clearTimeout',
        'clearImmediate',
        'setInterval',
        'clearInterval',
        'performance',
        'hrtime',
      ],
    });
  });
  afterAll(() => {
    jest.useRealTimers();
  });
}

const NO_TIMERS = [
  'nextTick',
  'queueMicrotask',
  'setImmediate',
  'clearImmediate',
  'Date',
  'hrtime',
  'performance',
] as const;

/** `setTimeout()` waits for the test, until `jest.useRealTimers()`; all else goes on. */
export function mockTimeoutsOnly(): void {
  jest.useFakeTimers({ doNotFake: [...NO_TIMERS, 'setInterval', 'clearInterval'] });
}

/** No timer fires any more, until `jest.useRealTimers()`: what happens then waits for no time. */
export function stopTimers(): void {
  jest.useFakeTimers({ doNotFake: [...NO_TIMERS] });
}
