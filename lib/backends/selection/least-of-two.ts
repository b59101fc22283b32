import type { BackendView } from './selection-policy.ts';
import { WeightedDraw } from './weighted-draw.ts';

/**
 * Draws two different backends and takes the one that costs less: nearly as even as to look at all of them, and
 * it neither takes time with their number nor sends everybody to the same one (Mitzenmacher, "The Power of Two Choices
 * in Randomized Load Balancing", 2001).
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
