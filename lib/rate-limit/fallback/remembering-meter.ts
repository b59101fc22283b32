import type { Claim, Debt, Decision, SharedMeter } from '../meter.ts';
import type { DenialCache } from './denial-cache.ts';

/** Puts what a shared meter says into a cache of denials. */
export class RememberingMeter implements SharedMeter {
  readonly loaded: Promise<void>;
  readonly #meter: SharedMeter;
  readonly #denials: DenialCache;

  constructor(meter: SharedMeter, denials: DenialCache) {
    this.#meter = meter;
    this.#denials = denials;
    this.loaded = meter.loaded;
  }

  take(claim: Claim): Promise<Decision> {
    const { era } = this.#denials;
    return this.#meter.take(claim).then((decision) => {
      this.#denials.learn(claim, decision, era);
      return decision;
    });
  }

  charge(debt: Debt): Promise<void> {
    return this.#meter.charge(debt);
  }

  reset(key: string): Promise<void> {
    return this.#meter.reset(key);
  }
}
