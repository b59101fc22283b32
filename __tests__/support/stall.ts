import { jest } from '@jest/globals';

const CELL = new Int32Array(new SharedArrayBuffer(4));

/**
 * Holds this process up, as a long computation does: what `meanwhile` sends lies in the kernel when it goes on, and every
 * timer is due before anything of it is read. The clock goes on by `ms`; the time that it really takes is only what
 * the timers need to be due.
 */
export async function stall(ms: number, realMs: number, meanwhile: () => void): Promise<void> {
  // After the turn's reading and before the next turn's timers.
  await new Promise<void>((resolve) => {
    setImmediate(() => {
      meanwhile();
      hold(realMs);
      advanceClock(ms - realMs);
      resolve();
    });
  });
}

/** Lets this thread do nothing. */
export function hold(realMs: number): void {
  Atomics.wait(CELL, 0, 0, realMs);
}

/** Timers stay where they are, `Date.now()` does not. Undone by `jest.restoreAllMocks()`. */
function advanceClock(ms: number): void {
  const now = Date.now.bind(Date);
  jest.spyOn(Date, 'now').mockImplementation(() => now() + ms);
}
