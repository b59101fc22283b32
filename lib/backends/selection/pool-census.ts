import type { BackendView } from './selection-policy.ts';

/** In pools up to this size each pick counts all backends: the census is always exact. */
const EXACT = 32;
/** Backends that each pick counts in larger pools. */
const SLICE = 8;

/**
 * Sums over all backends of a pool, kept in flat arrays. In a large pool, counting every backend on every pick would cost more
 * than the rest of the request, so each pick counts the next few. A backend that has just become unavailable may still be counted, so the
 * policy must check it before it picks it. The census notices a backend that is back, or on a slow start, within as many picks as there are
 * slices.
 */
export class PoolCensus {
  /** Effective weight of each backend; 0 for one that is not available. */
  weights = new Float64Array(0);
  /** Sum of the weights. */
  totalWeight = 0;
  /** Requests at the backends that are available. */
  totalInFlight = 0;
  #inFlight = new Float64Array(0);
  #next = 0;

  adopt(backends: readonly BackendView[]): void {
    this.weights = new Float64Array(backends.length);
    this.#inFlight = new Float64Array(backends.length);
    this.#next = 0;
    this.recount(backends);
  }

  /** Counts the next slice. */
  advance(backends: readonly BackendView[]): void {
    const count = backends.length;
    if (count <= EXACT) {
      this.recount(backends);
      return;
    }
    for (let step = 0; step < SLICE; step += 1) {
      if (this.#next >= count) this.#next = 0;
      this.look(backends, this.#next++);
    }
  }

  /** Counts all. */
  recount(backends: readonly BackendView[]): void {
    // From zero, because sums of fractions would keep their rounding errors for ever.
    this.totalWeight = 0;
    this.totalInFlight = 0;
    this.weights.fill(0);
    this.#inFlight.fill(0);
    for (let index = 0; index < backends.length; index += 1) this.look(backends, index);
  }

  /** Counts one backend as it is now. */
  look(backends: readonly BackendView[], index: number): void {
    const backend = backends[index] as BackendView;
    if (backend.isAvailable()) this.#count(index, backend.effectiveWeight, backend.inFlight);
    else this.leaveOut(index);
  }

  /** Counts one backend as not available, until its next count. */
  leaveOut(index: number): void {
    this.#count(index, 0, 0);
  }

  #count(index: number, weight: number, inFlight: number): void {
    this.totalWeight += weight - (this.weights[index] as number);
    this.totalInFlight += inFlight - (this.#inFlight[index] as number);
    this.weights[index] = weight;
    this.#inFlight[index] = inFlight;
  }
}
