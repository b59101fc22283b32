import type { Exchange } from '../../core/exchange.ts';
import { type BackendView, isCandidate, type PolicyEntry, type SelectionPolicy } from './selection-policy.ts';

/** Ten times a tenth is a little less than one. */
const WHOLE_TURN = 1 - 1e-9;

/**
 * Strict rotation. The cursor moves past the backends that are skipped; otherwise the neighbour of an unavailable backend would
 * get that backend's share on top of its own.
 *
 * A backend on its slow start saves its share at each of its turns, and takes a turn once it has saved a whole one. When no other
 * backend is available it takes every turn.
 */
export class RoundRobin implements SelectionPolicy {
  readonly ignoresWeights = true;
  #cursor = 0;
  readonly #saved = new WeakMap<BackendView, number>();

  select<B extends BackendView>(backends: readonly B[], _exchange: Exchange, tried: readonly B[]): B | undefined {
    let spare: B | undefined;
    let afterSpare = 0;
    for (let step = 0; step < backends.length; step += 1) {
      if (this.#cursor >= backends.length) this.#cursor = 0;
      const backend = backends[this.#cursor++] as B;
      if (!isCandidate(backend, tried)) continue;
      if (backend.effectiveWeight >= backend.weight || this.#hasWholeTurn(backend)) return backend;
      if (spare === undefined) {
        spare = backend;
        afterSpare = this.#cursor;
      }
    }
    // Otherwise the next round would begin at the same backend again.
    if (spare !== undefined) this.#cursor = afterSpare;
    return spare;
  }

  #hasWholeTurn(backend: BackendView): boolean {
    const saved = (this.#saved.get(backend) ?? 0) + backend.effectiveWeight / backend.weight;
    const isWhole = saved >= WHOLE_TURN;
    this.#saved.set(backend, isWhole ? saved - 1 : saved);
    return isWhole;
  }
}

export const roundRobin: PolicyEntry<'round-robin'> = {
  name: 'round-robin',
  brief: 'in turn, whatever the weights',
  summary: 'in strict rotation',
  weights: 'ignored',
  defaults: {},
  checks: {},
  make: () => new RoundRobin(),
};
