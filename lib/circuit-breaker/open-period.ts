import type { IBackoff, IHalfOpenAfterBackoffContext } from 'cockatiel';

/** Milliseconds that a circuit stays open; or a function of how many times in a row it has opened, from 1. */
export type OpenMs = number | ((attempt: number) => number);

/**
 * The time for which a circuit is open: what cockatiel takes for its backoff. It is one object per circuit,
 * wound up by cockatiel at each opening, and asked by the circuit whether it is over.
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

  /** 0 once the period is over, and from then on: whoever was told that a trial is due must get it. */
  remainingMs(): number {
    const now = Date.now();
    if (now >= this.#until) this.#until = Number.NEGATIVE_INFINITY;
    // A wall clock set back by an hour must not keep a backend out for an hour.
    this.#until = Math.min(this.#until, now + this.#lastsMs);
    return Math.max(0, this.#until - now);
  }

  /**
   * cockatiel compares it with the time since the opening by its own reading of the wall clock, and agrees at any time: it is asked for
   * a trial only once the circuit has found that the period is over.
   */
  readonly duration = Number.NEGATIVE_INFINITY;

  #length(attempt: number): number {
    return typeof this.#openMs === 'number' ? this.#openMs : this.#openMs(attempt);
  }
}
