import type { Verdict } from '../core/outcome.ts';
import { type Era, EraPermit, type Permit } from './permit.ts';
import { RollingWindow, type TripRule } from './rolling-window.ts';

/**
 * A circuit while it is closed: all calls pass and are counted. Nothing of it is asynchronous, so that calls
 * count in the order in which they end, and each costs a fraction of a microsecond.
 */
export class ClosedEra implements Era {
  readonly #window: RollingWindow;
  readonly #trip: () => void;
  #over = false;

  constructor(rule: TripRule, trip: () => void) {
    this.#window = new RollingWindow(rule);
    this.#trip = trip;
  }

  /** Whether the circuit has left it, or tripped and is about to. */
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
