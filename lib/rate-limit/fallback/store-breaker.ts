/** First pause after a failure, and the pause while the store replies with errors. */
export const FIRST_PAUSE_MS = 1_000;
/** The longest pause while the store does not reply. */
export const LONGEST_PAUSE_MS = 30_000;
/** Errors in a row that start a pause. */
export const ERRORS_IN_A_ROW = 5;

/** When late replies mean that the store is away. */
export interface MissRule {
  /** Least number of calls in a row without a reply in time. */
  readonly misses: number;
  /** Least milliseconds from the first of them to the last. */
  readonly forMs: number;
}

/**
 * How a call of the store failed.
 *
 * - `silent`: a request waited, and no reply came within the deadline.
 * - `error`: an error came at once. It may concern one key only.
 * - `decisive`: a trial got an error.
 * - `unanswered`: a trial got no reply.
 */
export type StoreFailure = 'silent' | 'error' | 'decisive' | 'unanswered';

/**
 * Decides whether the shared store is asked, or skipped because it has just failed. A single late reply does not count: slow is not
 * dead. A failure that counts starts a pause. After the pause one trial is due, and all other calls still skip the store.
 *
 * Results of calls that began before the latest pause or recovery change nothing: calls that fail together are one failure.
 */
export class StoreBreaker {
  readonly #missRule: MissRule;
  #era = 0;
  #skipping = false;
  #errors = 0;
  #misses = 0;
  #missedSince = 0;
  /** Length of the latest pause; 0 once a call has succeeded. */
  #pauseMs = 0;
  #failedAt = 0;
  #until = 0;

  constructor(missRule: MissRule) {
    this.#missRule = missRule;
  }

  /** Belongs to a call that starts now: its result is reported with it. */
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

  /** @returns whether a trial is due. If it gives no result, the next one is due after another pause. */
  startTrial(now: number): boolean {
    if (!this.#skipping) return false;
    // The second condition ends a pause that seems endless because the clock was set back.
    if (now < this.#until && this.#until - now <= LONGEST_PAUSE_MS) return false;
    this.#until = now + this.#pauseMs;
    return true;
  }

  /** A call has succeeded. @returns whether this result counts. */
  succeeded(era: number): boolean {
    if (era !== this.#era || this.#skipping) return false;
    this.#errors = this.#misses = 0;
    this.#pauseMs = 0;
    return true;
  }

  /** A call that no request waited for got its reply in time. */
  answered(era: number): void {
    if (era === this.#era) this.#misses = 0;
  }

  /** A trial has succeeded. @returns whether this result counts. */
  trialSucceeded(era: number): boolean {
    if (era !== this.#era) return false;
    if (this.#skipping) this.#era++;
    this.#skipping = false;
    this.#errors = this.#misses = 0;
    return true;
  }

  /**
   * Notes a failure. Pauses double while the store does not reply, and while trials succeed but calls fail. An error that a trial gets
   * at once costs little, so the store is tried again each second.
   *
   * @returns whether it starts a pause.
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
   * A reply came after its deadline, so the store works again. The first pause is still kept. Otherwise a store that is always a
   * little slower than the deadline would cost every request that deadline.
   */
  repliedLate(): void {
    this.#until = Math.min(this.#until, this.#failedAt + FIRST_PAUSE_MS);
  }

  /** The connection to the store is back: it is asked again. */
  end(): void {
    this.#era++;
    this.#skipping = false;
    this.#errors = this.#misses = 0;
    this.#pauseMs = 0;
  }

  /** @returns whether enough replies in a row were late, for long enough. */
  #missed(now: number): boolean {
    // The second condition holds when the clock was set back.
    if (this.#misses === 0 || now < this.#missedSince) this.#missedSince = now;
    this.#misses++;
    return this.#misses >= this.#missRule.misses && now - this.#missedSince >= this.#missRule.forMs;
  }
}
