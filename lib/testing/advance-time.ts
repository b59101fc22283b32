import { durationMs, func, integer, resolveOptions } from '../core/options.ts';
import { realImmediate } from './eventually.ts';

/** Moves the clock of a test runner: `jest.advanceTimersByTime`, `vi.advanceTimersByTime`, `mock.timers.tick` of `node:test`. */
export type Tick = (ms: number) => unknown;

/** Options of {@link advanceTime}. */
export interface AdvanceTimeOptions {
  /** Milliseconds of one step: what a timer starts is done before the next. Default 100. */
  stepMs?: number;
}

/**
 * Lets input and output that is on its way come in, and what waits for it go on.
 *
 * @param turns Of the event loop. Default 10: enough for a few exchanges over loopback on an idle machine. Where a test
 * can say what it waits for, `eventually()` is better.
 */
export async function flushIo(turns = 10): Promise<void> {
  resolveOptions('flushIo', { turns }, {}, { turns: integer(1) });
  for (let turn = 0; turn < turns; turn++) await new Promise<void>((resolve) => realImmediate(resolve));
}

/**
 * Moves a mocked clock forward in steps, and lets input and output come in behind each. A single leap would fire the
 * time-out of a request beside the timer that sent it.
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
