import type { Verdict } from '../core/outcome.ts';
import { type Era, EraPermit, type Permit, type Slot } from './permit.ts';

/**
 * A circuit while it is half-open: so many trials pass, and no call more. cockatiel would let further calls wait
 * for the verdict, without limit, behind trials that may hang: so it is never asked when all slots are taken.
 */
export class HalfOpenEra implements Era {
  readonly #startTrial: () => Slot;
  /** Slots given back by trials that ended neutral: for cockatiel they are still in flight. */
  readonly #returned: Slot[] = [];
  #unstarted: number;
  #failed = false;

  /** @param startTrial Makes cockatiel await one more trial, and returns the way to end it. */
  constructor(trials: number, startTrial: () => Slot) {
    this.#unstarted = trials;
    this.#startTrial = startTrial;
  }

  get hasRoom(): boolean {
    return !this.#failed && (this.#unstarted > 0 || this.#returned.length > 0);
  }

  acquire(): Permit | undefined {
    return this.hasRoom ? new EraPermit(this, this.#returned.pop() ?? this.#nextSlot()) : undefined;
  }

  // Once the era is over this has no effect: cockatiel ignores the trials of a half-open time that has passed.
  take(verdict: Verdict, slot: Slot): void {
    if (verdict === 'neutral') {
      this.#returned.push(slot);
      return;
    }
    // The circuit will open a few microtasks from now: nobody may slip in until then.
    if (verdict === 'failure') this.#failed = true;
    slot(verdict);
  }

  #nextSlot(): Slot {
    // Taken first: to start the first trial changes the circuit's state, and a listener may ask for a trial itself.
    this.#unstarted -= 1;
    return this.#startTrial();
  }
}
