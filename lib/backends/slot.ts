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
  /** Nothing once the request no longer counts against the limit. */
  #limit: ConcurrencyLimit | undefined;
  /** When the backend had the whole request, by `performance.now()`; NaN while no request waits for it. */
  #waitingSince = Number.NaN;

  constructor(permit: Permit, release: () => void, latency?: LatencyEstimate, limit?: ConcurrencyLimit) {
    this.#permit = permit;
    this.#release = release;
    this.#latency = latency;
    this.#limit = limit;
    limit?.enter();
  }

  /** A trial's verdict is due at the response head: a long download must not hold up recovery. */
  get isTrial(): boolean {
    return this.#permit.isTrial;
  }

  /** Tells the circuit how it went, once; the request stays in flight until `release()`. */
  settle(verdict: Verdict): void {
    this.responded(false);
    this.#permit.settle(verdict);
  }

  /** The request is out, with all its content: until then it took the client's time, not the backend's. */
  sent(): void {
    if (this.#latency !== undefined || this.#limit !== undefined) this.#waitingSince = performance.now();
  }

  /**
   * The response head is here.
   *
   * @param tellsOfLoad Whether the limit learns from its time. Errors are often faster than responses, so they tell nothing.
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

  /** Ends the request; a verdict given before stands. */
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
    // No response head came for longer than a response takes without load: that is news, whatever ended it.
    if (this.#limit !== undefined && waitedMs > this.#limit.unloadedMs) this.#limit.observe(this.#waitingSince, now);
  }

  #leaveLimit(): void {
    const limit = this.#limit;
    this.#limit = undefined;
    limit?.leave();
  }
}
