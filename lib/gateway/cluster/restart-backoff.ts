const FIRST_MS = 100;
/** The longest wait after workers that never became ready, because the next one will probably fail, too. */
const LONGEST_START_MS = 30_000;
/** The longest wait after workers that served, because each missing worker costs capacity. */
const LONGEST_SERVING_MS = 500;
/** A worker that served for this long ended for another reason than the workers before it. */
const STABLE_MS = 2_000;

/**
 * How long to wait before a crashed worker is replaced: not at all the first time, then 100 ms, and twice as long each time.
 */
export class RestartBackoff {
  #crashes = 0;

  /** @param servedMs How long the worker that crashed had been ready; `undefined` if it never was. */
  delayMs(servedMs: number | undefined): number {
    if (servedMs !== undefined && servedMs >= STABLE_MS) this.#crashes = 0;
    const longestMs = servedMs === undefined ? LONGEST_START_MS : LONGEST_SERVING_MS;
    const delayMs = this.#crashes === 0 ? 0 : Math.min(FIRST_MS * 2 ** (this.#crashes - 1), longestMs);
    // The exponent is bounded, so that the delay never becomes infinite.
    this.#crashes = Math.min(this.#crashes + 1, 16);
    return delayMs;
  }
}
