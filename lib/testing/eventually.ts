/** Real timers, taken when this module is loaded. Mock timers that are enabled later do not affect them. */
export const { setTimeout: realTimeout, setImmediate: realImmediate } = globalThis;
// The real clock, for the same reason.
const now = performance.now.bind(performance);

/** Milliseconds between two looks: a tenth of the time waited so far, so that a long wait costs little CPU, within these bounds. */
const SHORTEST_POLL_MS = 10;
const LONGEST_POLL_MS = 50;

/**
 * Polls until a condition holds: every 10 ms at first, and every 50 ms after half a second. It uses real time, also with mock timers that
 * are enabled after this module was loaded.
 *
 * @param what Describes the condition in the error.
 * @param condition May be async. While it throws, it does not hold.
 * @param deadlineMs Default 5 000.
 * @throws the condition's last error, or an `Error` that says `what`, when the deadline has passed
 */
export async function eventually(what: string, condition: () => unknown, deadlineMs = 5_000): Promise<void> {
  const began = now();
  let last: unknown;
  for (;;) {
    try {
      if (await condition()) return;
      last = undefined;
    } catch (error) {
      last = error;
    }
    const waitedMs = now() - began;
    if (waitedMs > deadlineMs) throw last ?? new Error(`not within ${deadlineMs} ms: ${what}`);
    const pollMs = Math.min(Math.max(waitedMs / 10, SHORTEST_POLL_MS), LONGEST_POLL_MS);
    await new Promise((resolve) => realTimeout(resolve, pollMs));
  }
}
