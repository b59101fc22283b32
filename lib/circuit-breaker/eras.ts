import type { Verdict } from '../core/outcome.ts';
import { RollingWindow, type TripRule } from './rolling-window.ts';

/** Admits one call through a circuit. */
export interface Permit {
  /** Whether the call is a trial of a half-open circuit: settle it as soon as the verdict is known. */
  readonly isTrial: boolean;
  /** Reports how the call went. Only the first verdict counts, and none after the circuit has changed state. */
  settle(verdict: Verdict): void;
}

/** Tells cockatiel the verdict on a trial. Not called for a neutral verdict. */
export type EndTrial = (verdict: Verdict) => void;

/** The time between two changes of a circuit's state. It ignores verdicts on calls that another era admitted. */
export interface Era {
  take(verdict: Verdict, endTrial: EndTrial | undefined): void;
}

export class EraPermit implements Permit {
  readonly isTrial: boolean;
  readonly #endTrial: EndTrial | undefined;
  #era: Era | undefined;

  constructor(era: Era, endTrial: EndTrial | undefined) {
    this.isTrial = endTrial !== undefined;
    this.#era = era;
    this.#endTrial = endTrial;
  }

  settle(verdict: Verdict): void {
    const era = this.#era;
    this.#era = undefined;
    era?.take(verdict, this.#endTrial);
  }
}

/**
 * A closed circuit: it admits and counts every call. It is synchronous, so calls count in the order in which they end, and
 * each costs a fraction of a microsecond.
 */
export class ClosedEra implements Era {
  readonly #window: RollingWindow;
  readonly #trip: () => void;
  #over = false;

  constructor(rule: TripRule, trip: () => void) {
    this.#window = new RollingWindow(rule);
    this.#trip = trip;
  }

  /** Whether the circuit has left this era, or has tripped and is about to leave it. */
  get over(): boolean {
    return this.#over;
  }

  get window(): RollingWindow {
    return this.#window;
  }

  end(): void {
    this.#over = true;
  }

  acquire(): Permit | undefined {
    return this.#over ? undefined : new EraPermit(this, undefined);
  }

  take(verdict: Verdict): void {
    if (this.#over || verdict === 'neutral') return;
    if (verdict === 'success') {
      this.#window.success();
    } else if (this.#window.failure()) {
      this.#over = true;
      this.#trip();
    }
  }
}

/**
 * A half-open circuit: it admits a fixed number of trials and no other call. cockatiel would let further calls wait for the
 * verdict without limit, behind trials that may hang, so it never sees them.
 */
export class HalfOpenEra implements Era {
  readonly #startTrial: () => EndTrial;
  /** Trials that ended neutral, for reuse: cockatiel still awaits them. */
  readonly #unused: EndTrial[] = [];
  #unstarted: number;
  #failed = false;

  /** @param startTrial Makes cockatiel await one more trial, and returns the function that ends it. */
  constructor(trials: number, startTrial: () => EndTrial) {
    this.#unstarted = trials;
    this.#startTrial = startTrial;
  }

  get hasRoom(): boolean {
    return !this.#failed && (this.#unstarted > 0 || this.#unused.length > 0);
  }

  acquire(): Permit | undefined {
    return this.hasRoom ? new EraPermit(this, this.#unused.pop() ?? this.#nextTrial()) : undefined;
  }

  // Has no effect once the era is over: cockatiel ignores trials of an earlier half-open time.
  take(verdict: Verdict, endTrial: EndTrial): void {
    if (verdict === 'neutral') {
      this.#unused.push(endTrial);
      return;
    }
    // The circuit opens a few microtasks from now. Until then it must admit no call.
    if (verdict === 'failure') this.#failed = true;
    endTrial(verdict);
  }

  #nextTrial(): EndTrial {
    // Counted first: the first trial changes the circuit's state, and a listener may acquire a trial itself.
    this.#unstarted -= 1;
    return this.#startTrial();
  }
}
