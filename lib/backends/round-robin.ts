import type { Exchange } from '../core/exchange.ts';
import type { Backend } from './backend.ts';
import { isCandidate, type SelectionPolicy } from './selection-policy.ts';

/**
 * Strict rotation. The cursor is consumed for the backends that are skipped: else the neighbour of an
 * unavailable one would get that one's share on top of its own.
 */
export class RoundRobin implements SelectionPolicy {
  #cursor = 0;

  select(backends: readonly Backend[], _exchange: Exchange, tried: readonly Backend[]): Backend | undefined {
    for (let step = 0; step < backends.length; step += 1) {
      if (this.#cursor >= backends.length) this.#cursor = 0;
      const backend = backends[this.#cursor++] as Backend;
      if (isCandidate(backend, tried)) return backend;
    }
    return undefined;
  }
}
