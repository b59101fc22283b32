import type { LimiterMode } from '../core/events.ts';
import type { DenialCache } from './fallback/denial-cache.ts';
import type { LeaseTable } from './leases/leasing-table.ts';
import type { Claim, Decision, LimiterMeter } from './meter.ts';

/**
 * Decides without Redis if an earlier reply of Redis is enough, in front of a meter that asks Redis. It uses a lease, even while Redis fails,
 * or a denial that is still in force, as long as Redis decides.
 */
export class FrontMeter implements LimiterMeter {
  readonly #meter: LimiterMeter;
  readonly #denials: DenialCache;
  readonly #leases: LeaseTable | undefined;
  readonly #sharedMode: LimiterMode;

  /** @param sharedMode The mode of the meter while the shared store decides. */
  constructor(
    meter: LimiterMeter,
    denials: DenialCache,
    leases: LeaseTable | undefined,
    sharedMode: LimiterMode = 'redis',
  ) {
    this.#sharedMode = sharedMode;
    this.#meter = meter;
    this.#denials = denials;
    this.#leases = leases;
  }

  get mode(): LimiterMode {
    return this.#meter.mode;
  }

  get storeError(): Error | undefined {
    return this.#meter.storeError;
  }

  take(claim: Claim): Decision | Promise<Decision> {
    const leases = this.#leases;
    if (leases !== undefined) {
      const now = Date.now();
      const leased = leases.spend(claim, now);
      if (leased !== undefined) return leases.told(claim, leased, now);
    }
    if (this.#denials.size > 0 && this.#meter.mode === this.#sharedMode) {
      const denied = this.#denials.find(claim, Date.now());
      if (denied !== undefined) return denied;
    }
    const asked = this.#meter.take(claim);
    if (leases === undefined || !(asked instanceof Promise)) return asked;
    return asked.then((decision) => leases.told(claim, decision, Date.now()));
  }

  async ready(): Promise<void> {
    await this.#meter.ready?.();
  }

  reset(key: string): void | Promise<void> {
    this.#denials.forget();
    this.#leases?.forget(key);
    return this.#meter.reset(key);
  }

  /** Does not return leases to Redis: they expire. */
  close(): void | Promise<void> {
    return this.#meter.close();
  }
}
