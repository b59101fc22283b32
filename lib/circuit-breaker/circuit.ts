import { type CircuitBreakerPolicy, CircuitState, circuitBreaker, handleWhenResult } from 'cockatiel';
import type { CircuitStateName } from '../core/events.ts';
import type { Verdict } from '../core/outcome.ts';
import type { ResolvedCircuitOptions } from './circuit-options.ts';
import { ClosedEra } from './closed-era.ts';
import { HalfOpenEra } from './half-open-era.ts';
import { OpenPeriod } from './open-period.ts';
import type { Permit, Slot } from './permit.ts';
import type { WindowCounts } from './rolling-window.ts';

export { type CircuitOptions, circuitChecks, circuitDefaults, type ResolvedCircuitOptions } from './circuit-options.ts';
export type { Permit } from './permit.ts';

/** Is told of each change of state, in the middle of it: must not throw. `retryAfterMs` is 0 unless `to` is `open`. */
export type CircuitListener = (from: CircuitStateName, to: CircuitStateName, retryAfterMs: number) => void;

/** Keeps a circuit isolated until it, and every other one of that circuit, is disposed of. */
export interface Isolation {
  dispose(): void;
}

/** The least that a rejected caller is told to wait when the moment of the next admission is unknown. */
const UNKNOWN_WAIT_MS = 1_000;

const NO_CALLS: WindowCounts = Object.freeze({ calls: 0, failures: 0 });

const STATE_NAMES: Readonly<Record<CircuitState, CircuitStateName>> = {
  [CircuitState.Closed]: 'closed',
  [CircuitState.Open]: 'open',
  [CircuitState.HalfOpen]: 'half-open',
  [CircuitState.Isolated]: 'isolated',
};

/**
 * A circuit breaker that is asked before a call and told its verdict after, and never runs the call itself.
 *
 * cockatiel is the state machine: every change of state is its own. What it is asked to do is kept to the calls
 * that matter to it, the failure that trips and the trials, since one `execute()` costs more than our whole
 * budget per request. The rules are those of sony/gobreaker v2: the first failed trial opens, late verdicts on calls
 * that an earlier era admitted are ignored, and neutral ones count for nothing.
 *
 * cockatiel changes state a few microtasks after the verdict that makes it. In between nobody is admitted.
 */
export class Circuit {
  readonly name: string;
  readonly #options: ResolvedCircuitOptions;
  readonly #policy: CircuitBreakerPolicy;
  readonly #openPeriod: OpenPeriod;
  readonly #listeners = new Set<CircuitListener>();
  #state: CircuitStateName = 'closed';
  #closed: ClosedEra;
  #halfOpen: HalfOpenEra | undefined;
  #isResetting = false;

  constructor(name: string, options: ResolvedCircuitOptions) {
    this.name = name;
    this.#options = options;
    this.#openPeriod = new OpenPeriod(options.openMs);
    this.#closed = this.#newClosedEra();
    this.#policy = circuitBreaker(
      handleWhenResult((verdict) => verdict === 'failure'),
      {
        // An era that is over although the circuit is closed has tripped; a trip that came too late to matter,
        // because the circuit was isolated and released since, finds a new era.
        breaker: { state: undefined, success: () => {}, failure: () => this.#closed.over },
        halfOpenAfter: this.#openPeriod,
        halfOpenSampling: { calls: options.halfOpenRequests, threshold: 0 },
      },
    );
    this.#policy.onStateChange((state) => this.#changed(STATE_NAMES[state]));
  }

  /** `open` lasts until a trial is admitted: whether one would be is for `isAvailable()` to say. */
  get state(): CircuitStateName {
    return this.#state;
  }

  /** What was counted since the circuit closed, within the window; all 0 in other states. */
  get counts(): WindowCounts {
    return this.#closed.over ? NO_CALLS : this.#closed.window.counts;
  }

  /** Whether `tryAcquire()`, called in the same tick, would admit the call. */
  isAvailable(): boolean {
    switch (this.#state) {
      case 'closed':
        return !this.#closed.over;
      case 'open':
        return this.#openPeriod.remainingMs() === 0;
      case 'half-open':
        return this.#halfOpen?.hasRoom === true;
      default:
        return false;
    }
  }

  /**
   * Milliseconds to wait before the next call; 0 when it would be admitted now. While the circuit is half-open
   * and full the verdict may come any moment: 1 000. While it is isolated nobody knows: as long as it
   * would be open, at least 1 000.
   */
  retryAfterMs(): number {
    if (this.isAvailable()) return 0;
    if (this.#state === 'open') return this.#openPeriod.remainingMs();
    return this.#state === 'isolated' ? Math.max(UNKNOWN_WAIT_MS, this.#openPeriod.lastsMs) : UNKNOWN_WAIT_MS;
  }

  /** Admits one call, or not. The permit must be settled, whatever becomes of the call. */
  tryAcquire(): Permit | undefined {
    if (this.#state === 'closed') return this.#closed.acquire();
    if (!this.isAvailable()) return undefined;
    if (this.#state === 'open') this.#halfOpen = new HalfOpenEra(this.#options.halfOpenRequests, this.#startTrial);
    return this.#halfOpen?.acquire();
  }

  /** @returns Ends the subscription. */
  onStateChange(listener: CircuitListener): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** Rejects every call until disposed of; then the circuit is closed, with nothing counted. */
  isolate(): Isolation {
    return this.#policy.isolate();
  }

  /** Closes it with nothing counted: there is proof from elsewhere that calls succeed again. An isolated one stays so. */
  reset(): void {
    if (this.#state !== 'open' && this.#state !== 'half-open') return;
    this.#isResetting = true;
    const isolation = this.#policy.isolate();
    this.#isResetting = false;
    isolation.dispose();
  }

  #newClosedEra(): ClosedEra {
    return new ClosedEra(this.#options, () => void this.#policy.execute(() => 'failure'));
  }

  readonly #startTrial = (): Slot => {
    const { promise, resolve } = Promise.withResolvers<Verdict>();
    void this.#policy.execute(() => promise);
    return resolve;
  };

  #changed(to: CircuitStateName): void {
    // cockatiel has no other way from open to closed.
    if (this.#isResetting) return;
    const from = this.#state;
    this.#state = to;
    this.#closed.end();
    if (to === 'closed') this.#closed = this.#newClosedEra();
    // Not what is left of it: read a moment later, that would be a millisecond less now and then.
    const retryAfterMs = to === 'open' ? this.#openPeriod.lastsMs : 0;
    for (const listener of this.#listeners) listener(from, to, retryAfterMs);
  }
}
