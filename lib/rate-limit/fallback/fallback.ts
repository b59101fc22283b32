import type { LimiterMode } from '../../core/events.ts';
import type { MemoryMeter } from '../memory/memory-meter.ts';
import type { Claim, Decision } from '../meter.ts';
import type { Debts } from './debts.ts';
import type { Overspending } from './overspending.ts';

/** What a limiter does while the store that gateways share fails. */
export type OnStoreError = 'local' | 'open' | 'closed';

export const ON_STORE_ERROR: readonly OnStoreError[] = ['local', 'open', 'closed'];

/** Decides at once, in place of a shared store that fails. */
export interface Fallback {
  readonly mode: LimiterMode;
  /** Hits that it admitted and must report to the store; `undefined` where it does not count. */
  readonly debts: Debts | undefined;
  /** Hits that it admitted although the store refused them; `undefined` where the store counts refused hits as well. */
  readonly overspending: Overspending | undefined;
  /** @param waitMs Milliseconds until the store is probably asked again. */
  take(claim: Claim, waitMs: number): Decision;
  /** Notes a hit that was decided here and must be reported to the store. */
  owe(claim: Claim, allowed: boolean): void;
  /** Remembers what the store has just replied for a client. */
  learn(claim: Claim, decision: Decision): void;
  /** Sets how many gateways share the limits. */
  shareWith(gateways: number): void;
  reset(key: string): void;
}

/** Bounds of `Retry-After`, because Redis may be back long before our pause ends. */
const LEAST_WAIT_MS = 1_000;
const MOST_WAIT_MS = 5_000;

const PASSED: Decision = Object.freeze({ allowed: true, retryAfterMs: 0, quotaStates: Object.freeze([]) });

/** Lets all requests pass, uncounted. */
export class OpenFallback implements Fallback {
  readonly mode: LimiterMode = 'open';
  readonly debts = undefined;
  readonly overspending = undefined;

  take(): Decision {
    return PASSED;
  }

  owe(): void {}
  learn(): void {}
  shareWith(): void {}
  reset(): void {}
}

/** Refuses all requests until the store works again. */
export class ClosedFallback implements Fallback {
  readonly mode: LimiterMode = 'closed';
  readonly debts = undefined;
  readonly overspending = undefined;

  take(_claim: Claim, waitMs: number): Decision {
    const retryAfterMs = Math.min(Math.max(waitMs, LEAST_WAIT_MS), MOST_WAIT_MS);
    return { allowed: false, retryAfterMs, quotaStates: [] };
  }

  owe(): void {}
  learn(): void {}
  shareWith(): void {}
  reset(): void {}
}

/**
 * Counts in this process, from the last known counts of the store, against this gateway's part of the limits. The replies of the store
 * are written into the records of the same meter, so they take no further memory.
 */
export class LocalFallback implements Fallback {
  readonly mode: LimiterMode = 'local';
  readonly debts: Debts;
  readonly overspending: Overspending | undefined;
  readonly #meter: MemoryMeter;

  constructor(meter: MemoryMeter, debts: Debts, overspending?: Overspending) {
    this.#meter = meter;
    this.debts = debts;
    this.overspending = overspending;
  }

  take(claim: Claim): Decision {
    return this.#meter.take(claim);
  }

  owe(claim: Claim, allowed: boolean): void {
    if (claim.cost === 0) return;
    const now = Date.now();
    // Clients that are refused as well: if the store has lost its counts, it needs theirs too.
    if (!this.debts.has(claim.key)) {
      this.debts.open(claim, this.#meter.recordsBefore(claim, allowed ? claim.cost : 0, now));
    }
    if (allowed) this.debts.add(claim, now);
  }

  learn(claim: Claim, decision: Decision): void {
    this.#meter.learn(claim, decision);
  }

  shareWith(gateways: number): void {
    this.#meter.shareWith(gateways);
    this.debts.shareWith(gateways);
  }

  reset(key: string): void {
    this.#meter.reset(key);
    this.debts.forget(key);
  }
}
