/** Timers as they are when this module is loaded: mock timers that are switched on later do not stop them. */
export const { setTimeout: realTimeout, setImmediate: realImmediate } = globalThis;
// As it is when this module is loaded, for the same reason as the timers.
const now = performance.now.bind(performance);

const POLL_MS = 10;

/**
 * Polls until a condition holds. Real time, also under mock timers that are switched on after this module was loaded.
 *
 * @param what Said when the condition does not come to hold.
 * @param condition May be async; one that throws does not hold yet.
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
