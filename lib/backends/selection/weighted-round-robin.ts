import type { Exchange } from '../../core/exchange.ts';
import { PoolCensus } from './pool-census.ts';
import type { BackendView, PolicyEntry, SelectionPolicy } from './selection-policy.ts';

/**
 * Smooth weighted round robin as in nginx (commit 52327e0627f4). On each pick every available backend earns its weight in
 * points; the backend with most points gets the request and pays what all have earned together. Weights 5, 1, 1 give
 * a a b a c a a.
 *
 * Unlike in nginx, points never exceed one round of the backends that are there: otherwise, when 990 of 1 000 backends are gone,
 * one of the others could wait for hundreds of requests.
 */
export class WeightedRoundRobin implements SelectionPolicy {
  readonly #census = new PoolCensus();
  readonly #turns = new WeightedTurns();
  #members: readonly BackendView[] = [];
  /** Points that all backends earned together on the last pick. */
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
        // Checked only here: few backends are ahead of all before them.
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

/**
 * How far each backend is behind its share of the requests, or ahead of it: `current_weight` of nginx's smooth weighted round
 * robin. Shared with `least-requests`, which takes turns among equals.
 */
export class WeightedTurns {
  /** Points of weight that each backend is behind its share, by its place in the pool. */
  owed = new Float64Array(0);
  #members: readonly BackendView[] = [];
  #totalWeight = 0;

  /** Backends that stay keep their points. A new one starts at 0: neither with a burst nor with a wait. */
  adopt(members: readonly BackendView[]): void {
    const before = new Map(this.#members.map((member, index) => [member, this.owed[index] as number]));
    const totalWeight = members.reduce((sum, member) => sum + member.weight, 0);
    // A point is worth less where weights are a thousand times larger.
    const scale = this.#totalWeight === 0 ? 0 : totalWeight / this.#totalWeight;
    this.owed = Float64Array.from(members, (member) => (before.get(member) ?? 0) * scale);
    this.#members = members;
    this.#totalWeight = totalWeight;
  }

  /** Bounds the points of each backend in both directions. */
  limit(points: number): void {
    const { owed } = this;
    for (let index = 0; index < owed.length; index += 1) {
      owed[index] = Math.max(-points, Math.min(points, owed[index] as number));
    }
  }
}

export const weightedRoundRobin: PolicyEntry<'weighted'> = {
  name: 'weighted',
  brief: 'in turn, by weight',
  summary: 'round robin by weight, smooth as in nginx',
  weights: 'respected',
  defaults: {},
  checks: {},
  make: () => new WeightedRoundRobin(),
};
