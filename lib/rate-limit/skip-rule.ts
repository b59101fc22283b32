/** First pause after a failure, and the pause while the store answers with errors. */
export const FIRST_PAUSE_MS = 1_000;
/** The longest pause of a store that stays silent. */
export const LONGEST_PAUSE_MS = 30_000;

/**
 * Decides whether the shared store is asked, or skipped because it failed a moment ago. A failure starts a
 * pause; when it is over, one call tries again while the others go on skipping. Results of calls that began
 * before the latest failure, or before the latest recovery, change nothing: a burst of calls that fail
 * together is one failure.
 */
export class SkipRule {
  #era = 0;
  /** 0 while the store is asked without restriction. */
  #pauseMs = 0;
  #failedAt = 0;
  #until = 0;

  /** The era to report the call's result under, or `undefined` when the store must be skipped. */
  enter(now: number): number | undefined {
    if (this.#pauseMs === 0) return this.#era;
    // The second part frees us when the system's clock was set back.
    if (now < this.#until && this.#until - now <= LONGEST_PAUSE_MS) return undefined;
    this.#until = now + this.#pauseMs;
    return this.#era;
  }

  /** Whether this result counts. */
  succeeded(era: number): boolean {
    if (era !== this.#era) return false;
    this.#pauseMs = 0;
    return true;
  }

  /**
   * Whether this result counts. The pause doubles only for a silent store, whose trials each cost a request the
   * whole deadline; an error that comes at once costs a round trip, and is tried again each second.
   */
  failed(era: number, now: number, silent: boolean): boolean {
    if (era !== this.#era) return false;
    this.#era++;
    this.#pauseMs = silent ? Math.min(Math.max(this.#pauseMs * 2, FIRST_PAUSE_MS), LONGEST_PAUSE_MS) : FIRST_PAUSE_MS;
    this.#failedAt = now;
    this.#until = now + this.#pauseMs;
    return true;
  }

  /**
   * A reply came after its deadline: the silence is over. The first pause is still kept, or a store that is
   * always a little slower than the deadline would cost every request that deadline.
   */
  repliedLate(): void {
    if (this.#pauseMs === 0) return;
    this.#pauseMs = FIRST_PAUSE_MS;
    this.#until = Math.min(this.#until, this.#failedAt + FIRST_PAUSE_MS);
  }

  /** The store is known to be back: nothing is skipped. */
  end(): void {
    this.#era++;
    this.#pauseMs = 0;
  }
}
