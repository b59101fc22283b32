const FIRST_MS = 100;
const LONGEST_MS = 30_000;
/** Whoever lived so long was no victim of what had ended those before. */
const STABLE_MS = 60_000;

/** How long to wait before a worker that has crashed gets a successor: a tenth of a second, then twice as long each time. */
export class RestartBackoff {
  #crashes = 0;

  /** @param livedMs How long the one lived that has just crashed. */
  delayMs(livedMs: number): number {
    if (livedMs >= STABLE_MS) this.#crashes = 0;
    const delayMs = Math.min(FIRST_MS * 2 ** this.#crashes, LONGEST_MS);
    // Beyond this the delay does not grow, and a number of years must not become infinite.
    this.#crashes = Math.min(this.#crashes + 1, 16);
    return delayMs;
  }
}
