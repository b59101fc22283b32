import type { LimiterMode } from '../core/events.ts';
import type { Debts } from './debts.ts';
import type { MemoryMeter } from './memory-meter.ts';
import type { Claim, Ruling } from './meter.ts';
import type { StandIn } from './stand-in.ts';

/**
 * Counts in this process, from where the store's counts were last seen, with this gateway's part of the limits. What
 * it knows of clients is written into the records that it counts in, so that it takes no memory of its own.
 */
export class LocalStandIn implements StandIn {
  readonly mode: LimiterMode = 'local';
  readonly debts: Debts;
  readonly #meter: MemoryMeter;

  constructor(meter: MemoryMeter, debts: Debts) {
    this.#meter = meter;
    this.debts = debts;
  }

  take(claim: Claim): Ruling {
    const ruling = this.#meter.take(claim);
    if (ruling.allowed && claim.cost > 0) {
      const now = Date.now();
      this.debts.add(claim, this.#meter.windowsOf(claim.key, now), now);
    }
    return ruling;
  }

  learn(claim: Claim, ruling: Ruling): void {
    this.#meter.learn(claim, ruling);
  }

  shareWith(gateways: number): void {
    this.#meter.shareWith(gateways);
  }

  reset(key: string): void {
    this.#meter.reset(key);
    this.debts.forget(key);
  }
}
