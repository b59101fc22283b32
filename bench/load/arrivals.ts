/**
 * When requests are due: independent of each other, at a mean rate (a Poisson process), and the same each time for one
 * seed, so that all targets face the same rushes and lulls.
 */
export class Arrivals {
  readonly #meanGapMs: number;
  #state: number;
  #nextMs: number;

  constructor(perSecond: number, seed: number) {
    this.#meanGapMs = 1000 / perSecond;
    this.#state = seed >>> 0;
    this.#nextMs = this.#gapMs();
  }

  /** Milliseconds from the start to the next request. */
  get nextMs(): number {
    return this.#nextMs;
  }

  pass(): void {
    this.#nextMs += this.#gapMs();
  }

  #gapMs(): number {
    return -Math.log(1 - this.#random()) * this.#meanGapMs;
  }

  /** mulberry32: from 0 to below 1. */
  #random(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }
}
