import { durationMs, func, integer, resolveOptions } from '../core/options.ts';
import { realImmediate } from './eventually.ts';

/** Moves the clock of a test runner: `jest.advanceTimersByTime`, `vi.advanceTimersByTime`, `mock.timers.tick` of `node:test`. */
export type Tick = (ms: number) => unknown;

/** Options of {@link advanceTime}. */
export interface AdvanceTimeOptions {
  /** Milliseconds of one step. Input and output that a timer starts can finish before the next step. Default 100. */
  stepMs?: number;
}

/**
 * Lets pending input and output arrive, and the code that waits for it continue.
 *
 * @param turns Turns of the event loop. Default 10: enough for a few exchanges over loopback on an idle machine. Use `eventually()`
 * if the test can name a condition.
 */
export async function flushIo(turns = 10): Promise<void> {
  resolveOptions('flushIo', { turns }, {}, { turns: integer(1) });
  for (let turn = 0; turn < turns; turn++) await new Promise<void>((resolve) => realImmediate(resolve));
}

/**
 * Moves a mocked clock forward in steps, and lets input and output arrive after each. A single leap would fire the timeout of a request
 * together with the timer that sends it.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export async function advanceTime(ms: number, tick: Tick, given?: AdvanceTimeOptions): Promise<void> {
  const { stepMs } = resolveOptions(
    'advanceTime',
    { ...given, ms, tick },
    { stepMs: 100 },
    { stepMs: durationMs, ms: integer(0), tick: func },
  );
  for (let left = ms; left > 0; left -= stepMs) {
    tick(Math.min(stepMs, left));
    await flushIo();
  }
}
