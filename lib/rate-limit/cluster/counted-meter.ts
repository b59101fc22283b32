import type { LimiterMode } from '../../core/events.ts';
import type { Fallback } from '../fallback/fallback.ts';
import { GuardedStore } from '../fallback/guarded-store.ts';
import type { MissRule } from '../fallback/store-breaker.ts';
import type { Claim, Decision, LimiterMeter, ModeListener, SharedMeter } from '../meter.ts';
import type { CounterStore } from './counter-store.ts';

export interface CountedMeterParts {
  readonly store: CounterStore;
  /** Sends claims to the store. */
  readonly shared: SharedMeter;
  /** Deadline of one message, in milliseconds. */
  readonly timeoutMs: number;
  readonly missRule: MissRule;
  /** Decides while the other process does not reply. */
  readonly fallback: Fallback;
  readonly onModeChange: ModeListener;
}

/**
 * Counts in another process of this machine, and has a fallback decide while that process is too slow. It never rejects, and takes no
 * longer than its deadline. As with Redis, a claim whose reply was late may be counted in both places, but never in none. Unlike with
 * Redis, no connection can be lost, and the number of processes is known.
 */
export class CountedMeter implements LimiterMeter {
  readonly #store: CounterStore;
  readonly #guarded: GuardedStore;
  #timer: NodeJS.Timeout | undefined;

  constructor({ store, shared, timeoutMs, missRule, fallback, onModeChange }: CountedMeterParts) {
    this.#store = store;
    this.#guarded = new GuardedStore({
      mode: 'memory',
      shared: () => shared,
      timeoutMs,
      missRule,
      fallback,
      onModeChange,
      tryIn: (waitMs) => this.#tryIn(waitMs),
    });
  }

  get mode(): LimiterMode {
    return this.#guarded.mode;
  }

  get storeError(): Error | undefined {
    return this.mode === 'memory' ? undefined : new Error('the primary process did not reply in time');
  }

  take(claim: Claim): Decision | Promise<Decision> {
    const guarded = this.#guarded;
    return guarded.skipping || guarded.closed ? guarded.replace(claim) : guarded.ask(claim);
  }

  reset(key: string): Promise<void> {
    return this.#guarded.reset(key);
  }

  close(): void {
    this.#guarded.close();
    clearTimeout(this.#timer);
  }

  #tryIn(waitMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#try(), waitMs).unref();
  }

  #try(): void {
    if (this.#guarded.startTrial()) this.#guarded.decide(this.#guarded.timed(this.#store.probe()));
    else if (this.#guarded.skipping) this.#guarded.awaitTrial();
  }
}
