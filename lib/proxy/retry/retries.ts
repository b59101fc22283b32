import type { Failed } from '../../core/outcome.ts';
import type { RetryBudget } from './retry-budget.ts';
import { backoffMs, IDEMPOTENT, type RetrySettings } from './retry-rules.ts';

/** The further attempts of one exchange: whether there may be another one, and when. */
export class Retries {
  /** Whether sending the request twice has the same effect as sending it once. */
  readonly isIdempotent: boolean;
  readonly #settings: RetrySettings;
  readonly #budget: RetryBudget;
  readonly #startedAt: number;
  #count = 0;
  /** Retries that were taken out of the budget. */
  #taken = 0;
  #unusedSeen = false;

  constructor(settings: RetrySettings, budget: RetryBudget, method: string | undefined, startedAt: number) {
    this.#startedAt = startedAt;
    this.#settings = settings;
    this.#budget = budget;
    this.isIdempotent = IDEMPOTENT.has(method);
    budget.requestStarted(startedAt);
  }

  /** Bytes of the body that are kept for a retry. */
  get keepBytes(): number {
    return this.isIdempotent ? this.#settings.bufferBytes : 0;
  }

  /** Milliseconds until the deadline. If the wall clock is set back, not more than the whole time. */
  get remainingMs(): number {
    return Math.min(this.#settings.deadlineMs, this.#startedAt + this.#settings.deadlineMs - Date.now());
  }

  /** Milliseconds until the next attempt may begin. */
  get waitMs(): number {
    return backoffMs(this.#count, this.#settings);
  }

  /** Decides whether the request is retried after a failure, and takes the retry out of the budget. */
  afterFailure(outcome: Failed, replayable: boolean): boolean {
    if (this.remainingMs <= 0) return false;
    // No byte of the request was sent, so another attempt repeats nothing and adds no load.
    if (!outcome.sent) return outcome.unused !== true || this.#isFirstUnused();
    if (!this.isIdempotent || !replayable) return false;
    return (outcome.unused === true && this.#isFirstUnused()) || this.#take();
  }

  /** Whether another backend may have a better response than one with this status. */
  isWorthwhile(status: number): boolean {
    return this.#settings.statuses.includes(status);
  }

  /** Decides whether such a response is dropped for a retry at another backend, and takes the retry out of the budget. */
  afterResponse(replayable: boolean): boolean {
    return this.isIdempotent && replayable && this.#take();
  }

  /** The exchange is over. */
  end(): void {
    this.#budget.requestEnded();
    for (; this.#taken > 0; this.#taken -= 1) this.#budget.giveBack();
  }

  #isFirstUnused(): boolean {
    const isFirst = !this.#unusedSeen;
    this.#unusedSeen = true;
    return isFirst;
  }

  #take(): boolean {
    if (this.#count >= this.#settings.attempts || this.remainingMs <= 0) return false;
    if (!this.#budget.tryTake()) return false;
    this.#taken += 1;
    this.#count += 1;
    return true;
  }
}
