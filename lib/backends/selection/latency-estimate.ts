/** Time constant of the average and of its fading: the default of finagle's and linkerd's balancers. */
const DECAY_MS = 10_000;
/** Far above any latency to compare by; failures in a row double the estimate, and must not do so for ever. */
const MAX_MS = 60_000;

/**
 * The latency of one backend as a peak-sensitive moving average (finagle's "Peak EWMA"): a slower answer counts
 * at once and whole, faster ones count by and by. It fades while nothing is measured, so that a backend which
 * was slow is asked again some time.
 *
 * Its clock is `performance.now()`: whole milliseconds would make all backends of a fast network alike, and a wall
 * clock set forward would look like a peak.
 */
export class LatencyEstimate {
  #ms = 0;
  #at = 0;

  /** 0 when nothing was measured. */
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

  /** The client left first: what is known is that the answer takes longer than this. */
  observeAtLeast(ms: number): void {
    if (ms > this.ms) this.observe(ms);
  }

  /**
   * Failures are often quick. By time alone a backend that fails would draw all the traffic, so a failure
   * counts as an answer that took twice as long as usual.
   */
  observeFailure(ms: number): void {
    this.observe(Math.max(ms, 2 * this.ms));
  }

  /** What was measured says nothing of what comes: the backend was out and is back. */
  forget(): void {
    this.#ms = 0;
  }
}
