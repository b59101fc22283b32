import { type CircuitBreakerPolicy, CircuitState, circuitBreaker, handleWhenResult } from 'cockatiel';
import type { CircuitStateName } from '../core/events.ts';
import type { Verdict } from '../core/outcome.ts';
import type { ResolvedCircuitOptions } from './circuit-options.ts';
import { ClosedEra, type EndTrial, HalfOpenEra, type Permit } from './eras.ts';
import { OpenPeriod } from './open-period.ts';
import type { WindowCounts } from './rolling-window.ts';

export { type CircuitOptions, circuitChecks, circuitDefaults, type ResolvedCircuitOptions } from './circuit-options.ts';
export type { Permit } from './eras.ts';

/** Called during each change of state. It must not throw. `retryAfterMs` is 0 unless `to` is `open`. */
export type CircuitListener = (from: CircuitStateName, to: CircuitStateName, retryAfterMs: number) => void;

/** Keeps a circuit isolated. The circuit closes when all of its isolations are disposed of. */
export interface Isolation {
  dispose(): void;
}

/** Lower bound of `retryAfterMs()`, in milliseconds, while it is unknown when the next call is admitted. */
const UNKNOWN_WAIT_MS = 1_000;

const NO_CALLS: WindowCounts = Object.freeze({ calls: 0, failures: 0 });

const STATE_NAMES: Readonly<Record<CircuitState, CircuitStateName>> = {
  [CircuitState.Closed]: 'closed',
  [CircuitState.Open]: 'open',
  [CircuitState.HalfOpen]: 'half-open',
  [CircuitState.Isolated]: 'isolated',
};

/**
 * A circuit breaker with a permit for each call: the caller acquires it before the call and settles it with a verdict after.
 *
 * cockatiel is the state machine and makes every change of state. It executes only the failure that trips the circuit and the
 * trials, because one `execute()` costs more than our whole budget per request. The rules are those of sony/gobreaker v2: the
 * first failed trial opens the circuit, and neither verdicts on calls of an earlier era nor neutral verdicts count.
 *
 * cockatiel changes state a few microtasks after the verdict. In between, the circuit admits no call.
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
        // The era of a closed circuit is over when it has tripped. When the circuit was isolated and released since, a new
        // era has begun, and the late trip has no effect.
        breaker: { state: undefined, success: () => {}, failure: () => this.#closed.over },
        halfOpenAfter: this.#openPeriod,
        halfOpenSampling: { calls: options.halfOpenRequests, threshold: 0 },
      },
    );
    this.#policy.onStateChange((state) => this.#changed(STATE_NAMES[state]));
  }

  /** Milliseconds for which a call counts while the circuit is closed; 0 for as long as it stays closed. */
  get windowMs(): number {
    return this.#options.windowMs;
  }

  /** It stays `open` until a trial is admitted; `isAvailable()` says whether the next call would be one. */
  get state(): CircuitStateName {
    return this.#state;
  }

  /** Calls and failures in the window since the circuit closed; 0 in other states. */
  get counts(): WindowCounts {
    return this.#closed.over ? NO_CALLS : this.#closed.window.counts;
  }

  /** Whether `tryAcquire()` would admit a call in the same tick. */
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
   * Milliseconds until the next call may be admitted; 0 when it would be admitted now. A half-open circuit without a free
   * trial gives 1 000, because a verdict may come at any moment. An isolated circuit gives the length of an open period, at
   * least 1 000.
   */
  retryAfterMs(): number {
    if (this.isAvailable()) return 0;
    if (this.#state === 'open') return this.#openPeriod.remainingMs();
    return this.#state === 'isolated' ? Math.max(UNKNOWN_WAIT_MS, this.#openPeriod.lastsMs) : UNKNOWN_WAIT_MS;
  }

  /** Admits one call, or returns `undefined`. The caller must settle the permit, however the call ends. */
  tryAcquire(): Permit | undefined {
    if (this.#state === 'closed') return this.#closed.acquire();
    if (!this.isAvailable()) return undefined;
    if (this.#state === 'open') this.#halfOpen = new HalfOpenEra(this.#options.halfOpenRequests, this.#startTrial);
    return this.#halfOpen?.acquire();
  }

  /** @returns a function that ends the subscription. */
  onStateChange(listener: CircuitListener): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** Rejects every call until the isolation is disposed of; then the circuit closes with no counts. */
  isolate(): Isolation {
    return this.#policy.isolate();
  }

  /** Closes an open or half-open circuit with no counts, when something else proves that calls succeed again. An isolated circuit stays isolated. */
  reset(): void {
    if (this.#state !== 'open' && this.#state !== 'half-open') return;
    this.#isResetting = true;
    const isolation = this.#policy.isolate();
    this.#isResetting = false;
    isolation.dispose();
  }

  /** Lets an open period last as long as a first one, for a circuit that has opened several times in a row. */
  shortenOpenPeriod(): void {
    if (this.#state === 'open') this.#openPeriod.shorten();
  }

  #newClosedEra(): ClosedEra {
    return new ClosedEra(this.#options, () => void this.#policy.execute(() => 'failure'));
  }

  readonly #startTrial = (): EndTrial => {
    const { promise, resolve } = Promise.withResolvers<Verdict>();
    void this.#policy.execute(() => promise);
    return resolve;
  };

  #changed(to: CircuitStateName): void {
    // reset() passes through isolated, cockatiel's only way from open to closed. Listeners are not called for that step.
    if (this.#isResetting) return;
    const from = this.#state;
    this.#state = to;
    this.#closed.end();
    if (to === 'closed') this.#closed = this.#newClosedEra();
    // The whole length, because the remaining time could be a millisecond less.
    const retryAfterMs = to === 'open' ? this.#openPeriod.lastsMs : 0;
    for (const listener of this.#listeners) listener(from, to, retryAfterMs);
  }
}
