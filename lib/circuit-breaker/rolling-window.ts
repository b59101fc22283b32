import { notPromise } from '../core/http.ts';
import { warnOfThrow } from '../core/warnings.ts';

const BUCKETS = 10;

/** Without an end, all calls fall into one bucket. */
const ENDLESS = Number.MAX_SAFE_INTEGER;

export interface WindowCounts {
  /** Completed calls in the window, failed or not. */
  readonly calls: number;
  readonly failures: number;
}

export interface TripRule {
  readonly failureRatio: number;
  readonly minimumRequests: number | (() => number);
  readonly windowMs: number;
  /** Failures in a row, all in the window, that trip the circuit whatever the ratio is; 0 for never. */
  readonly consecutiveFailures?: number | undefined;
}

/**
 * Counts the completed calls of the last `windowMs`. The window moves with time, a tenth at a time: it forgets a call between
 * 0.9 and 1 window after the call's end. cockatiel's own `SamplingBreaker` moves with calls, so that on a quiet route failures
 * of an hour ago would still count.
 *
 * Only completed calls are in the denominator. sony/gobreaker counts the calls in progress as well, and so trips later the more
 * of them there are.
 */
export class RollingWindow {
  readonly #rule: TripRule;
  readonly #bucketMs: number;
  readonly #calls: number[] = new Array(BUCKETS).fill(0);
  readonly #failures: number[] = new Array(BUCKETS).fill(0);
  #totalCalls = 0;
  #totalFailures = 0;
  #failuresInARow = 0;
  /** Index of the current bucket since the epoch, and its bounds, kept so that a call needs no division. */
  #bucket = 0;
  #index = 0;
  #startsAt = 0;
  #endsAt = 0;

  constructor(rule: TripRule) {
    this.#rule = rule;
    // Whole milliseconds: the bounds of fractional buckets would depend on rounding.
    this.#bucketMs = rule.windowMs === 0 ? ENDLESS : Math.ceil(rule.windowMs / BUCKETS);
  }

  get counts(): WindowCounts {
    this.#roll();
    return { calls: this.#totalCalls, failures: this.#totalFailures };
  }

  success(): void {
    this.#count();
    this.#failuresInARow = 0;
  }

  /** @returns Whether this failure trips the circuit. A success never does. */
  failure(): boolean {
    this.#count();
    this.#failures[this.#index]! += 1;
    this.#totalFailures += 1;
    this.#failuresInARow += 1;
    const { failureRatio, minimumRequests, consecutiveFailures = 0 } = this.#rule;
    if (consecutiveFailures > 0 && Math.min(this.#failuresInARow, this.#totalFailures) >= consecutiveFailures)
      return true;
    // A quotient is rounded as the literal in the options was (3 / 5 is 0.6), a product may be off: 0.07 * 100 > 7.
    if (this.#totalFailures / this.#totalCalls < failureRatio) return false;
    return this.#totalCalls >= (typeof minimumRequests === 'number' ? minimumRequests : asked(minimumRequests));
  }

  #count(): void {
    this.#roll();
    this.#calls[this.#index]! += 1;
    this.#totalCalls += 1;
  }

  #roll(): void {
    const now = Date.now();
    if (now >= this.#startsAt && now < this.#endsAt) return;
    const bucket = Math.floor(now / this.#bucketMs);
    const steps = bucket - this.#bucket;
    // After the clock was set back a little, the newest bucket takes the calls until the clock has caught up.
    if (steps < 0 && steps > -BUCKETS) return;
    this.#enter(bucket);
    // When the clock was set far back, as after a long pause, no counted call is in the window.
    const ended = steps < 0 ? BUCKETS : Math.min(steps, BUCKETS);
    for (let one = 0; one < ended; one += 1) this.#forget((this.#index + BUCKETS - one) % BUCKETS);
  }

  #enter(bucket: number): void {
    this.#bucket = bucket;
    this.#index = bucket % BUCKETS;
    this.#startsAt = bucket * this.#bucketMs;
    this.#endsAt = this.#startsAt + this.#bucketMs;
  }

  #forget(index: number): void {
    this.#totalCalls -= this.#calls[index]!;
    this.#totalFailures -= this.#failures[index]!;
    this.#calls[index] = 0;
    this.#failures[index] = 0;
  }
}

/** If the function throws, the minimum counts as not reached. */
function asked(minimumRequests: () => number): number {
  try {
    return notPromise(minimumRequests(), 'minimumRequests');
  } catch (error) {
    // A thrown error would break the request that happened to fail.
    const what = 'minimumRequests of a circuit threw, the circuit stays closed';
    warnOfThrow(minimumRequests, 'WARN_EXPRESSWAY_MINIMUM_REQUESTS', what, error);
    return Number.POSITIVE_INFINITY;
  }
}
