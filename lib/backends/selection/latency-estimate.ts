/** Time constant of the average and of its fading: the default of finagle and linkerd. */
const DECAY_MS = 10_000;
/** Upper bound of the estimate: failures in a row double it. */
const MAX_MS = 60_000;

/**
 * The latency of one backend as a peak-sensitive moving average (finagle's "Peak EWMA"): a slower response counts whole and at
 * once, faster ones count gradually. It fades while nothing is measured, so that a backend that was slow gets requests again.
 *
 * The clock is `performance.now()`: with whole milliseconds all backends of a fast network would look alike, and a wall clock
 * that is set forward would look like a peak.
 */
export class LatencyEstimate {
  #ms = 0;
  #at = 0;

  /** Milliseconds; 0 before the first measurement. */
  get ms(): number {
    return this.#ms === 0 ? 0 : this.#ms * Math.exp((this.#at - performance.now()) / DECAY_MS);
  }

  observe(ms: number): void {
    const now = performance.now();
    const kept = Math.exp((this.#at - now) / DECAY_MS);
    const faded = this.#ms * kept;
    this.#ms = Math.min(MAX_MS, ms > faded ? ms : faded + ms * (1 - kept));
    this.#at = now;
  }

  /** The client left first: the response takes at least this long. */
  observeAtLeast(ms: number): void {
    if (ms > this.ms) this.observe(ms);
  }

  /**
   * Failures are often quick, and by time alone a backend that fails would draw all the traffic. So a failure counts as a response
   * that took twice as long as usual.
   */
  observeFailure(ms: number): void {
    this.observe(Math.max(ms, 2 * this.ms));
  }

  /** Forgets all measurements: the backend was out and is back. */
  forget(): void {
    this.#ms = 0;
  }
}
