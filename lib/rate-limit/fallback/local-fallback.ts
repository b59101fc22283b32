import type { LimiterMode } from '../../core/events.ts';
import type { MemoryMeter } from '../memory/memory-meter.ts';
import type { Claim, Decision } from '../meter.ts';
import type { Debts } from './debts.ts';
import type { Fallback } from './fallback.ts';

/**
 * Counts in this process, from where the store's counts were last seen, with this gateway's part of the limits. What
 * it knows of clients is written into the records that it counts in, so that it takes no memory of its own.
 */
export class LocalFallback implements Fallback {
  readonly mode: LimiterMode = 'local';
  readonly debts: Debts;
  readonly #meter: MemoryMeter;

  constructor(meter: MemoryMeter, debts: Debts) {
    this.#meter = meter;
    this.debts = debts;
  }

  take(claim: Claim): Decision {
    return this.#meter.take(claim);
  }

  owe(claim: Claim, allowed: boolean): void {
    if (claim.cost === 0) return;
    const now = Date.now();
    // Also of a client that is refused: a store that has lost its counts has to be told what they were.
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
