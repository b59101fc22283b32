import type { Exchange } from '../../core/exchange.ts';
import { PoolCensus } from './pool-census.ts';
import type { BackendView, SelectionPolicy } from './selection-policy.ts';
import { WeightedTurns } from './weighted-turns.ts';

/**
 * Smooth weighted round robin as nginx does it (commit 52327e0627f4): on each pick everybody available is owed its
 * weight more; who is owed most gets the request and pays what all got together. Weights 5, 1, 1 give a a b a c a a.
 *
 * Unlike nginx's, debts and claims never exceed one round of those who are there: when 990 of 1 000 backends are gone, one
 * of the others would else wait for hundreds of requests.
 */
export class WeightedRoundRobin implements SelectionPolicy {
  readonly #census = new PoolCensus();
  readonly #turns = new WeightedTurns();
  #members: readonly BackendView[] = [];
  /** Points that all got together on the last pick. */
  #round = 0;

  select<B extends BackendView>(backends: readonly B[], _exchange: Exchange, tried: readonly B[]): B | undefined {
    if (backends !== this.#members) {
      this.#members = backends;
      this.#turns.adopt(backends);
      this.#census.adopt(backends);
    } else {
      this.#census.advance(backends);
    }
    const index = this.#pick(backends, tried);
    if (index !== -1) return backends[index];
    this.#census.recount(backends);
    return backends[this.#pick(backends, tried)];
  }

  #pick(backends: readonly BackendView[], tried: readonly BackendView[]): number {
    const census = this.#census;
    if (tried.length === 0) {
      if (census.totalWeight < this.#round) this.#turns.limit(census.totalWeight);
      this.#round = census.totalWeight;
      return this.#nextTurn(backends);
    }
    const hidden = tried.map((backend) => backends.indexOf(backend)).filter((index) => index !== -1);
    for (const index of hidden) census.leaveOut(index);
    const picked = this.#nextTurn(backends);
    for (const index of hidden) census.look(backends, index);
    return picked;
  }

  #nextTurn(backends: readonly BackendView[]): number {
    const { weights, totalWeight } = this.#census;
    const { owed } = this.#turns;
    let total = totalWeight;
    let best = -1;
    let most = Number.NEGATIVE_INFINITY;
    for (let index = 0; index < weights.length; index += 1) {
      const weight = weights[index] as number;
      const points = (owed[index] as number) + weight;
      if (points > most && weight > 0) {
        // Asked only here: few are ever ahead of all before them.
        if (!(backends[index] as BackendView).isAvailable()) {
          total -= weight;
          continue;
        }
        best = index;
        most = points;
      }
      owed[index] = points;
    }
    if (best !== -1) owed[best] = most - total;
    return best;
  }
}
