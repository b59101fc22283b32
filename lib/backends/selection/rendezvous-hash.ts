import type { Exchange } from '../../core/exchange.ts';
import { PoolCensus } from './pool-census.ts';
import { RoundRobin } from './round-robin.ts';
import { type BackendView, isCandidate, type SelectionPolicy } from './selection-policy.ts';

const RANGE = 2 ** 32;
const HALF = 2 ** 31;
const OTHER_BASIS = 0x5bd1e995;

/**
 * Sends the same key to the same backend, on every gateway: the backend with the highest score for the key (rendezvous hashing,
 * Thaler and Ravishankar 1998; weights by the logarithmic method of Schindelhauer and Schomaker 2005). When a backend comes or
 * goes, only its own keys move; while it is away, each of them has its own second choice.
 *
 * Bounded load (Mirrokni, Thorup and Zadimoghaddam 2016): a backend has at most `loadFactor` times its share of the requests in
 * flight, rounded up. Further requests go to the key's next choice, so that a popular key cannot overload one backend.
 *
 * Requests without a key go round robin.
 */
export class RendezvousHash implements SelectionPolicy {
  readonly #keyOf: (exchange: Exchange) => string | undefined;
  readonly #loadFactor: number;
  readonly #keyless = new RoundRobin();
  readonly #census = new PoolCensus();
  #members: readonly BackendView[] = [];
  #weights = new Float64Array(0);
  #maxWeight = 0;
  // Two codes for each origin: with one code of 32 bits, two backends of a large pool may get the same scores for all keys.
  #salts = new Int32Array(0);
  #factors = new Int32Array(0);

  /** @param loadFactor At least 1; `Infinity` for no bound. */
  constructor(keyOf: (exchange: Exchange) => string | undefined, loadFactor: number) {
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
    // No other backend can beat it while it has its whole weight, so a large pool need not be searched.
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

  /** Index of the highest score by configured weights; -1 when all weights are 0. */
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
      // `-ln(1 - x)` is at least `x`: this bound tells which bits cannot win, without a logarithm for each backend.
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
      // No effective weight is above the configured one, so here too the bound mostly spares the logarithm.
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

/** Mixes a key and a backend to 32 even bits. */
function scoreBits(code: number, salt: number, factor: number): number {
  let bits = Math.imul(code ^ salt, factor);
  bits = Math.imul(bits ^ (bits >>> 15), 0x85ebca6b);
  bits ^= bits >>> 13;
  return bits;
}

/** `weight / -ln(fraction)`, with the bits as a fraction between, but not including, 0 and 1. */
function scoreOf(bits: number, weight: number): number {
  return weight / -Math.log1p((bits + 0.5 - HALF) / RANGE);
}

function hasRoom(backend: BackendView, loadPerWeight: number): boolean {
  return backend.inFlight < Math.ceil(loadPerWeight * backend.effectiveWeight);
}

/**
 * FNV-1a over UTF-16 code units, 32 bits, finished with MurmurHash3's `fmix32`. Fast and even; not for secrets.
 *
 * @param basis Each basis gives an unrelated code.
 */
function hashCode(text: string, basis = 0x811c9dc5): number {
  let code = basis;
  for (let index = 0; index < text.length; index += 1) {
    code = Math.imul(code ^ text.charCodeAt(index), 0x01000193);
  }
  code = Math.imul(code ^ (code >>> 16), 0x85ebca6b);
  code = Math.imul(code ^ (code >>> 13), 0xc2b2ae35);
  return code ^ (code >>> 16);
}
