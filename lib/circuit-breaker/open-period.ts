import type { IBackoff, IHalfOpenAfterBackoffContext } from 'cockatiel';

/** Milliseconds for which a circuit stays open, or a function of the number of openings in a row, from 1. */
export type OpenMs = number | ((attempt: number) => number);

/**
 * The time for which a circuit stays open, in the shape of a cockatiel backoff. Each circuit has one. cockatiel calls `next()` at
 * each opening; the circuit reads `remainingMs()`.
 */
export class OpenPeriod implements IBackoff<IHalfOpenAfterBackoffContext> {
  readonly #openMs: OpenMs;
  #lastsMs: number;
  #until = Number.NEGATIVE_INFINITY;

  constructor(openMs: OpenMs) {
    this.#openMs = openMs;
    this.#lastsMs = this.#length(1);
  }

  /** Length in milliseconds of the latest period; of the first one before there was any. */
  get lastsMs(): number {
    return this.#lastsMs;
  }

  next({ attempt }: Pick<IHalfOpenAfterBackoffContext, 'attempt'>): this {
    this.#lastsMs = this.#length(attempt);
    this.#until = Date.now() + this.#lastsMs;
    return this;
  }

  /** 0 once the period is over, and from then on, also when the clock is set back: a caller that has seen 0 must get its trial. */
  remainingMs(): number {
    const now = Date.now();
    if (now >= this.#until) this.#until = Number.NEGATIVE_INFINITY;
    // If the wall clock is set back, the backend must not stay out for longer.
    this.#until = Math.min(this.#until, now + this.#lastsMs);
    return Math.max(0, this.#until - now);
  }

  /** Lets the period last as long as a first one, if it is longer. */
  shorten(): void {
    const lastsMs = Math.min(this.#lastsMs, this.#length(1));
    this.#until -= this.#lastsMs - lastsMs;
    this.#lastsMs = lastsMs;
  }

  /**
   * Makes cockatiel admit a trial at any time. The circuit itself decides when the period is over, and asks cockatiel only then.
   */
  readonly duration = Number.NEGATIVE_INFINITY;

  #length(attempt: number): number {
    return typeof this.#openMs === 'number' ? this.#openMs : this.#openMs(attempt);
  }
}
