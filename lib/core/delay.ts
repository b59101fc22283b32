/** Node's longest timer, in milliseconds (31 bits). With a longer delay, a timer would fire at once. */
export const MAX_DELAY_MS = 2 ** 31 - 1;

/**
 * Sets a timer for what another process has to do in time. When it is due, a process that was held up first reads what has arrived, and the end that
 * may follow it, so that it does not blame the other one.
 *
 * @returns a function that stops the timer.
 */
export function deadline(ms: number, due: () => void): () => void {
  let turn: NodeJS.Immediate | undefined;
  const timer = setTimeout(() => {
    turn = setImmediate(() => {
      turn = setImmediate(due);
    });
  }, ms).unref();
  return () => {
    clearTimeout(timer);
    clearImmediate(turn);
  };
}

/** Like {@link deadline}, for functions that take an `AbortSignal`. */
export function deadlineSignal(ms: number): { readonly signal: AbortSignal; readonly stop: () => void } {
  const controller = new AbortController();
  const late = () => controller.abort(new DOMException(`no response within ${ms} ms`, 'TimeoutError'));
  return { signal: controller.signal, stop: deadline(ms, late) };
}

/** Returns a duration, shortened or lengthened at random by up to `share` of it, in whole milliseconds that a timer can hold. */
export function jittered(ms: number, share: number): number {
  return Math.min(MAX_DELAY_MS, Math.round(ms * (1 + share * (2 * Math.random() - 1))));
}
