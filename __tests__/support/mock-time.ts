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

/** `setTimeout()` waits for the test, until `jest.useRealTimers()`; all else goes on. */
export function mockTimeoutsOnly(): void {
  jest.useFakeTimers({
    doNotFake: [
      'nextTick',
      'queueMicrotask',
      'setImmediate',
      'clearImmediate',
      'setInterval',
      'clearInterval',
      'Date',
      'hrtime',
      'performance',
    ],
  });
}
