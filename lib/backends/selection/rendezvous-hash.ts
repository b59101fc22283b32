import type { Exchange } from '../../core/exchange.ts';
import { hashCode } from './hash-code.ts';
import type { HashKey } from './hash-key.ts';
import { PoolCensus } from './pool-census.ts';
import { RoundRobin } from './round-robin.ts';
import { type BackendView, isCandidate, type SelectionPolicy } from './selection-policy.ts';

const RANGE = 2 ** 32;
const HALF = 2 ** 31;
const OTHER_BASIS = 0x5bd1e995;

/**
 * The same key goes to the same backend, on every gateway: the one whose score for the key is highest (rendezvous
 * hashing, Thaler and Ravishankar 1998; weights by the logarithmic method of Schindelhauer and Schomaker 2005). When a
 * backend comes or goes, only its own keys move; while it is away each of them has a second choice of its own.
 *
 * Bounded load (Mirrokni, Thorup and Zadimoghaddam 2016): a backend has at most `loadFactor` times its share of the
 * requests in flight, rounded up. What is more goes to the key's next choice, so that a popular key cannot drown one.
 *
 * Requests without a key go round.
 */
export class RendezvousHash implements SelectionPolicy {
  readonly #keyOf: HashKey;
  readonly #loadFactor: number;
  readonly #keyless = new RoundRobin();
  readonly #census = new PoolCensus();
  #members: readonly BackendView[] = [];
  #weights = new Float64Array(0);
  #maxWeight = 0;
  // Two codes for each origin: with one of 32 bits, two backends of a large pool may be each other's shadow.
  #salts = new Int32Array(0);
  #factors = new Int32Array(0);

  /** @param loadFactor At least 1; `Infinity` for no bound. */
  constructor(keyOf: HashKey, loadFactor: number) {
    this.#keyOf = keyOf;
    this.#loadFactor = loadFactor;
  }

  select<B extends BackendView>(backends: readonly B[], exchange: Exchange, tried: readonly B[]): B | undefined {
    const key = this.#keyOf(exchange);
    if (key === undefined) return this.#keyless.select(backends, exchange, tried);
    if (backends !== this.#members) this.#adopt(backends);
    else this.#census.advance(backends);
    const { totalInFlight, totalWeight } = this.#census;
    const loadPerWeight = (this.#loadFactor * (totalInFlight + 1)) / totalWeight;
    const code = hashCode(key);
    const favourite = backends[this.#favourite(code)];
    // Nobody else can beat it with its whole weight: a large pool need not be asked one by one.
    if (
      favourite !== undefined &&
      favourite.effectiveWeight === favourite.weight &&
      isCandidate(favourite, tried) &&
      hasRoom(favourite, loadPerWeight)
    ) {
      return favourite;
    }
    return this.#bestAvailable(backends, tried, code, loadPerWeight);
  }

  /** The place of the highest score by configured weights; -1 when all are 0. */
  #favourite(code: number): number {
    const salts = this.#salts;
    const factors = this.#factors;
    let best = -1;
    let bestScore = 0;
    let hopeless = Number.NEGATIVE_INFINITY;
    for (let index = 0; index < salts.length; index += 1) {
      const bits = scoreBits(code, salts[index] as number, factors[index] as number);
      if (bits <= hopeless) continue;
      const score = scoreOf(bits, this.#weights[index] as number);
      if (score <= bestScore) continue;
      best = index;
      bestScore = score;
      // `-ln(1 - x)` is at least `x`: which bits cannot win is clear without a logarithm for each backend.
      hopeless = HALF - 0.5 - (this.#maxWeight * RANGE) / score;
    }
    return best;
  }

  #bestAvailable<B extends BackendView>(
    backends: readonly B[],
    tried: readonly B[],
    code: number,
    loadPerWeight: number,
  ): B | undefined {
    let best: B | undefined;
    let bestScore = 0;
    let overloaded: B | undefined;
    let overloadedScore = 0;
    for (let index = 0; index < backends.length; index += 1) {
      const bits = scoreBits(code, this.#salts[index] as number, this.#factors[index] as number);
      // No weight is ever more than the configured one; and here too the logarithm can mostly be spared.
      if ((this.#weights[index] as number) * RANGE <= bestScore * (HALF - 0.5 - bits)) continue;
      const backend = backends[index] as B;
      const score = scoreOf(bits, backend.effectiveWeight);
      if (score <= bestScore || !isCandidate(backend, tried)) continue;
      if (hasRoom(backend, loadPerWeight)) {
        best = backend;
        bestScore = score;
      } else if (score > overloadedScore) {
        overloaded = backend;
        overloadedScore = score;
      }
    }
    return best ?? overloaded;
  }

  #adopt(backends: readonly BackendView[]): void {
    this.#members = backends;
    this.#census.adopt(backends);
    this.#weights = Float64Array.from(backends, ({ weight }) => weight);
    this.#maxWeight = this.#weights.reduce((most, weight) => Math.max(most, weight), 0);
    this.#salts = Int32Array.from(backends, ({ origin }) => hashCode(origin));
    this.#factors = Int32Array.from(backends, ({ origin }) => hashCode(origin, OTHER_BASIS) | 1);
  }
}

/** What a key and a backend make together: 32 bits, each as likely as the other. */
function scoreBits(code: number, salt: number, factor: number): number {
  let bits = Math.imul(code ^ salt, factor);
  bits = Math.imul(bits ^ (bits >>> 15), 0x85ebca6b);
  bits ^= bits >>> 13;
  return bits;
}

/** The bits as a fraction between 0 and 1, without the two, and of that `weight / -ln(fraction)`. */
function scoreOf(bits: number, weight: number): number {
  return weight / -Math.log1p((bits + 0.5 - HALF) / RANGE);
}

function hasRoom(backend: BackendView, loadPerWeight: number): boolean {
  return backend.inFlight < Math.ceil(loadPerWeight * backend.effectiveWeight);
}
