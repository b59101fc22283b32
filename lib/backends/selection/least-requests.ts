import type { Exchange } from '../../core/exchange.ts';
import { type BackendView, isCandidate, type PolicyEntry, type SelectionPolicy } from './selection-policy.ts';
import { LeastOfTwo } from './weighted-draw.ts';
import { WeightedTurns } from './weighted-round-robin.ts';

/** Up to this many backends it compares all of them; of more, two. */
const EXACT = 32;

const requestsPerWeight = ({ inFlight, effectiveWeight }: BackendView): number => inFlight / effectiveWeight;

/**
 * The fewest requests in flight for its weight. Equal backends take weighted turns, as with nginx's `least_conn`: otherwise all
 * traffic of an idle pool would go to the first, or to the heaviest, backend.
 */
export class LeastRequests implements SelectionPolicy {
  readonly #turns = new WeightedTurns();
  readonly #ofTwo: LeastOfTwo;
  readonly #costs = new Float64Array(EXACT);
  #members: readonly BackendView[] = [];

  /** @param random Gives a number from 0 up to, but not including, 1. */
  constructor(random: () => number = Math.random) {
    this.#ofTwo = new LeastOfTwo(requestsPerWeight, random);
  }

  select<B extends BackendView>(backends: readonly B[], _exchange: Exchange, tried: readonly B[]): B | undefined {
    return backends.length > EXACT ? this.#ofTwo.pick(backends, tried) : this.#leastOfAll(backends, tried);
  }

  #leastOfAll<B extends BackendView>(backends: readonly B[], tried: readonly B[]): B | undefined {
    if (backends !== this.#members) {
      this.#members = backends;
      this.#turns.adopt(backends);
    }
    let least = Number.POSITIVE_INFINITY;
    for (let index = 0; index < backends.length; index += 1) {
      const backend = backends[index] as B;
      const cost = isCandidate(backend, tried) ? requestsPerWeight(backend) : Number.POSITIVE_INFINITY;
      this.#costs[index] = cost;
      if (cost < least) least = cost;
    }
    return least === Number.POSITIVE_INFINITY ? undefined : backends[this.#nextTurn(backends, least)];
  }

  #nextTurn(backends: readonly BackendView[], cost: number): number {
    const { owed } = this.#turns;
    let total = 0;
    let best = -1;
    for (let index = 0; index < backends.length; index += 1) {
      if (this.#costs[index] !== cost) continue;
      const { effectiveWeight } = backends[index] as BackendView;
      total += effectiveWeight;
      owed[index] = (owed[index] as number) + effectiveWeight;
      if (best === -1 || (owed[index] as number) > (owed[best] as number)) best = index;
    }
    owed[best] = (owed[best] as number) - total;
    return best;
  }
}

export const leastRequests: PolicyEntry<'least-requests'> = {
  name: 'least-requests',
  brief: 'the fewest in flight for its weight',
  summary: `the fewest requests in flight for its weight; the better of two drawn at random when there are more than ${EXACT} backends`,
  weights: 'respected',
  defaults: {},
  checks: {},
  make: () => new LeastRequests(),
};
