import type { Verdict } from '../core/outcome.ts';

/** One call's admission through a circuit. */
export interface Permit {
  /** Whether the call decides if a half-open circuit closes: its verdict is wanted as early as it is known. */
  readonly isTrial: boolean;
  /** Says how the call went. The first verdict counts, unless the circuit changed state since the call was admitted. */
  settle(verdict: Verdict): void;
}

/** Tells cockatiel how a trial went; never called for one that ended without blame or credit. */
export type Slot = (verdict: Verdict) => void;

/** The time between two changes of a circuit's state. It takes no verdict on calls that another era admitted. */
export interface Era {
  take(verdict: Verdict, slot: Slot | undefined): void;
}

export class EraPermit implements Permit {
  readonly isTrial: boolean;
  readonly #slot: Slot | undefined;
  #era: Era | undefined;

  constructor(era: Era, slot: Slot | undefined) {
    this.isTrial = slot !== undefined;
    this.#era = era;
    this.#slot = slot;
  }

  settle(verdict: Verdict): void {
    const era = this.#era;
    this.#era = undefined;
    era?.take(verdict, this.#slot);
  }
}
