/** First pause after a failure, and the pause while the store answers with errors. */
export const FIRST_PAUSE_MS = 1_000;
/** The longest pause of a store that stays silent. */
export const LONGEST_PAUSE_MS = 30_000;
/** Errors in a row that start a pause. */
export const ERRORS_IN_A_ROW = 5;

/** When replies that are late mean that the store is away. */
export interface MissRule {
  /** Calls in a row without a reply in time, at least. */
  readonly misses: number;
  /** Milliseconds from the first of them to the last one, at least. */
  readonly forMs: number;
}

/**
 * How a call of the store failed: `silent` is no reply within the deadline, for which a request has waited; an `error`
 * came at once, and may concern one key only; `decisive` is an error that a trial got, and `unanswered` is a trial without a reply.
 */
export type StoreFailure = 'silent' | 'error' | 'decisive' | 'unanswered';

/**
 * Decides whether the shared store is asked, or skipped because it failed a moment ago. One late reply is no failure that counts:
 * slow is not dead. A failure that counts starts a pause; when it is over, one trial is due while everybody goes on skipping. Results of calls that began before the
 * latest pause, or before the latest recovery, change nothing: a burst of calls that fail together is one failure.
 */
export class StoreBreaker {
  readonly #missRule: MissRule;
  #era = 0;
  #skipping = false;
  #errors = 0;
  #misses = 0;
  #missedSince = 0;
  /** The latest pause, until a call has worked since. */
  #pauseMs = 0;
  #failedAt = 0;
  #until = 0;

  constructor(missRule: MissRule) {
    this.#missRule = missRule;
  }

  /** To report the result of a call under that starts now. */
  get era(): number {
    return this.#era;
  }

  get skipping(): boolean {
    return this.#skipping;
  }

  /** Milliseconds until the store is tried again. */
  waitMs(now: number): number {
    return this.#skipping ? Math.min(Math.max(0, this.#until - now), LONGEST_PAUSE_MS) : 0;
  }

  /** Whether a trial is due. The next one will be after another pause, if this one gives no result. */
  startTrial(now: number): boolean {
    if (!this.#skipping) return false;
    // The second part frees us when the system's clock was set back.
    if (now < this.#until && this.#until - now <= LONGEST_PAUSE_MS) return false;
    this.#until = now + this.#pauseMs;
    return true;
  }

  /** A call has worked. Whether this result counts. */
  succeeded(era: number): boolean {
    if (era !== this.#era || this.#skipping) return false;
    this.#errors = this.#misses = 0;
    this.#pauseMs = 0;
    return true;
  }

  /** A call that no request waited for was answered in time. */
  answered(era: number): void {
    if (era === this.#era) this.#misses = 0;
  }

  /** A trial has worked. Whether this result counts. */
  trialSucceeded(era: number): boolean {
    if (era !== this.#era) return false;
    if (this.#skipping) this.#era++;
    this.#skipping = false;
    this.#errors = this.#misses = 0;
    return true;
  }

  /**
   * Whether this result starts a pause. Pauses double while the store is silent, and while trials pass but calls fail;
   * errors that a trial gets at once are no load, and are tried again each second.
   */
  failed(era: number, now: number, failure: StoreFailure): boolean {
    if (era !== this.#era) return false;
    if (failure === 'error' && !this.#skipping && ++this.#errors < ERRORS_IN_A_ROW) return false;
    if (failure === 'silent' && !this.#skipping && !this.#missed(now)) return false;
    this.#era++;
    this.#skipping = true;
    this.#errors = this.#misses = 0;
    this.#pauseMs =
      failure === 'decisive' ? FIRST_PAUSE_MS : Math.min(Math.max(this.#pauseMs * 2, FIRST_PAUSE_MS), LONGEST_PAUSE_MS);
    this.#failedAt = now;
    this.#until = now + this.#pauseMs;
    return true;
  }

  /**
   * A reply came after its deadline: the silence is over. The first pause is still kept, or a store that is
   * always a little slower than the deadline would cost every request that deadline.
   */
  repliedLate(): void {
    this.#until = Math.min(this.#until, this.#failedAt + FIRST_PAUSE_MS);
  }

  /** The store is known to be back: nothing is skipped. */
  end(): void {
    this.#era++;
    this.#skipping = false;
    this.#errors = this.#misses = 0;
    this.#pauseMs = 0;
  }

  /** Whether so many replies were late, for so long, that the store is away. */
  #missed(now: number): boolean {
    // The second part is for a clock that was set back.
    if (this.#misses === 0 || now < this.#missedSince) this.#missedSince = now;
    this.#misses++;
    return this.#misses >= this.#missRule.misses && now - this.#missedSince >= this.#missRule.forMs;
  }
}
