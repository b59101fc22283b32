import { realImmediate, realTimeout } from '../../lib/testing/eventually.ts';

/**
 * Lets real time pass, also under mock timers: for what is made of time, such as the pace of a load, or a limit in real time. A test that
 * waits for something uses `eventually()`, and one for what must not happen uses {@link stays}.
 *
 * @param _why What the time is for. The reader of the test needs it.
 */
export function pause(_why: string, ms: number): Promise<void> {
  return new Promise((resolve) => realTimeout(resolve, ms));
}

const LOOK_EVERY_MS = 10;

/** Watches for a while that a condition holds: for what must not happen. */
export async function stays(what: string, condition: () => unknown, ms: number): Promise<void> {
  const end = performance.now() + ms;
  for (;;) {
    if (!condition()) throw new Error(`not for ${ms} ms: ${what}`);
    if (performance.now() >= end) return;
    await pause('until the next look', LOOK_EVERY_MS);
  }
}

/** Time for a connection over loopback to be read. */
const TIME_TO_READ_MS = 20;

/**
 * Does something once the other end, in this process, has read what was sent before: a reset takes away what was not read, and what is
 * sent at once may come in one piece. The turn of the event loop is for a machine that is too busy to read within the time.
 */
export function afterRead(action: () => void, ms = TIME_TO_READ_MS): void {
  realTimeout(() => realImmediate(action), ms);
}
