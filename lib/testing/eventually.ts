/** Real timers, taken when this module is loaded. Mock timers that are enabled later do not affect them. */
export const { setTimeout: realTimeout, setImmediate: realImmediate } = globalThis;
// The real clock, for the same reason.
const now = performance.now.bind(performance);

const POLL_MS = 10;

/**
 * Polls until a condition holds. It uses real time, also with mock timers that are enabled after this module was loaded.
 *
 * @param what Describes the condition in the error.
 * @param condition May be async. While it throws, it does not hold.
 * @param deadlineMs Default 5 000.
 * @throws the condition's last error, or an `Error` that says `what`, when the deadline has passed
 */
export async function eventually(what: string, condition: () => unknown, deadlineMs = 5_000): Promise<void> {
  const end = now() + deadlineMs;
  let last: unknown;
  for (;;) {
    try {
      if (await condition()) return;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (now() > end) throw last ?? new Error(`not within ${deadlineMs} ms: ${what}`);
    await new Promise((resolve) => realTimeout(resolve, POLL_MS));
  }
}
