import type { Permit } from '../circuit-breaker/circuit.ts';
import type { Verdict } from '../core/outcome.ts';
import type { ConcurrencyLimit } from './concurrency-limit.ts';
import type { LatencyEstimate } from './selection/latency-estimate.ts';

/** The permit of a request that goes to a backend although its circuit is open. */
export const UNCOUNTED: Permit = Object.freeze({ isTrial: false, settle: () => {} });

/** One request's slot at a backend. */
export class Slot {
  readonly #permit: Permit;
  #release: (() => void) | undefined;
  readonly #latency: LatencyEstimate | undefined;
  /** `undefined` after the request no longer counts against the limit. */
  #limit: ConcurrencyLimit | undefined;
  /** `performance.now()` when the whole request had been sent; NaN before that and after the response head. */
  #waitingSince = Number.NaN;

  constructor(permit: Permit, release: () => void, latency?: LatencyEstimate, limit?: ConcurrencyLimit) {
    this.#permit = permit;
    this.#release = release;
    this.#latency = latency;
    this.#limit = limit;
    limit?.enter();
  }

  /** Whether the request is a trial. Its verdict is due at the response head, so that a long download does not delay recovery. */
  get isTrial(): boolean {
    return this.#permit.isTrial;
  }

  /** Reports the verdict to the circuit, once. The request stays in flight until `release()`. */
  settle(verdict: Verdict): void {
    this.responded(false);
    this.#permit.settle(verdict);
  }

  /** The whole request has been sent. The time before that was the client's, not the backend's. */
  sent(): void {
    if (this.#latency !== undefined || this.#limit !== undefined) this.#waitingSince = performance.now();
  }

  /**
   * The response head has arrived.
   *
   * @param tellsOfLoad Whether the limit learns from its time. It does not learn from errors, which are often faster than responses.
   */
  responded(tellsOfLoad: boolean): void {
    if (this.#limit === undefined && this.#latency === undefined) return;
    if (!Number.isNaN(this.#waitingSince)) {
      const now = performance.now();
      this.#latency?.observe(now - this.#waitingSince);
      if (tellsOfLoad) this.#limit?.observe(this.#waitingSince, now);
      this.#waitingSince = Number.NaN;
    }
    this.#leaveLimit();
  }

  /** Ends the request. An earlier verdict stays. */
  release(verdict: Verdict): void {
    this.#permit.settle(verdict);
    if (this.#release === undefined) return;
    if (this.#latency !== undefined || this.#limit !== undefined) this.#observeEnd(verdict);
    this.#leaveLimit();
    this.#release();
    this.#release = undefined;
  }

  #observeEnd(verdict: Verdict): void {
    const isWaiting = !Number.isNaN(this.#waitingSince);
    const now = isWaiting ? performance.now() : 0;
    const waitedMs = isWaiting ? now - this.#waitingSince : 0;
    if (verdict === 'failure') this.#latency?.observeFailure(waitedMs);
    else this.#latency?.observeAtLeast(waitedMs);
    // The wait was longer than a response takes without load. The limit learns from it, whatever ended the wait.
    if (this.#limit !== undefined && waitedMs > this.#limit.unloadedMs) this.#limit.observe(this.#waitingSince, now);
  }

  #leaveLimit(): void {
    const limit = this.#limit;
    this.#limit = undefined;
    limit?.leave();
  }
}
