import { type BackendView, isCandidate } from './selection-policy.ts';

/** In pools up to this size, one pass over all backends is cheaper than draws that miss. */
const SMALL = 8;
/** Draws before a pass over the whole pool, because most draws may hit unavailable backends. */
const DRAWS = 8;

/** Draws available backends at random, each with a chance in proportion to its effective weight. */
export class WeightedDraw {
  readonly #random: () => number;
  #members: readonly BackendView[] = [];
  /** Sum of the weights up to and with each backend. */
  #sums = new Float64Array(0);
  #total = 0;

  /** @param random From 0 up to, and without, 1. */
  constructor(random: () => number) {
    this.#random = random;
  }

  /** @param except The backend that was drawn before. */
  draw<B extends BackendView>(backends: readonly B[], tried: readonly B[], except?: B): B | undefined {
    if (backends.length > SMALL) {
      if (backends !== this.#members) this.#adopt(backends);
      for (let draw = 0; draw < DRAWS; draw += 1) {
        const backend = backends[this.#indexAt(this.#random() * this.#total)];
        if (backend === undefined || backend === except || !isCandidate(backend, tried)) continue;
        const { weight, effectiveWeight } = backend;
        if (effectiveWeight >= weight || this.#random() * weight < effectiveWeight) return backend;
      }
    }
    return this.#drawFromAll(backends, tried, except);
  }

  /** One pass: each candidate replaces the one before with the chance that makes all chances right (reservoir sampling). */
  #drawFromAll<B extends BackendView>(backends: readonly B[], tried: readonly B[], except?: B): B | undefined {
    let drawn: B | undefined;
    let total = 0;
    for (let index = 0; index < backends.length; index += 1) {
      const backend = backends[index] as B;
      if (backend === except || !isCandidate(backend, tried)) continue;
      const { effectiveWeight } = backend;
      total += effectiveWeight;
      if (drawn === undefined || this.#random() * total < effectiveWeight) drawn = backend;
    }
    return drawn;
  }

  #adopt(members: readonly BackendView[]): void {
    this.#members = members;
    this.#total = 0;
    this.#sums = Float64Array.from(members, ({ weight }) => {
      this.#total += weight;
      return this.#total;
    });
  }

  /** The first place whose sum is over `point`. */
  #indexAt(point: number): number {
    let low = 0;
    let high = this.#sums.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#sums[middle] as number) > point) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/**
 * Draws two different backends and picks the one that costs less. This is nearly as even as a comparison of all backends, takes
 * the same time for any number of them, and does not send every request to the same backend (Mitzenmacher, "The Power of Two
 * Choices in Randomized Load Balancing", 2001).
 */
export class LeastOfTwo {
  readonly #cost: (backend: BackendView) => number;
  readonly #draw: WeightedDraw;

  constructor(cost: (backend: BackendView) => number, random: () => number) {
    this.#cost = cost;
    this.#draw = new WeightedDraw(random);
  }

  pick<B extends BackendView>(backends: readonly B[], tried: readonly B[]): B | undefined {
    const first = this.#draw.draw(backends, tried);
    if (first === undefined) return undefined;
    const second = this.#draw.draw(backends, tried, first);
    if (second === undefined) return first;
    return this.#cost(second) < this.#cost(first) ? second : first;
  }
}
