import type { Claim, Debt, Decision, QuotaState, SharedMeter } from '../meter.ts';
import { RecentMap } from '../recent-map.ts';

/** About 30 MB when full. If a denial is dropped early, that costs one command to Redis. */
const MOST_DENIALS = 100_000;

interface Denial {
  readonly cost: number;
  readonly limit: number | undefined;
  /** When Redis replied. */
  readonly at: number;
  readonly retryAfterMs: number;
  readonly quotaStates: readonly QuotaState[];
  /** When a request was last rejected; 0 if none was. */
  toldAt: number;
}

/**
 * The hits that Redis has refused, and until when it will refuse them again. Only time lets such a hit pass, so Redis need not be
 * asked before. A hit with another cost is looked up by itself.
 *
 * Where the limit depends on the request, only the last hit of a client is known: a hit with another limit lets a token bucket refill at
 * another rate, so that earlier denials need not hold any more.
 *
 * The cache does not notice when another gateway resets the client, or when Redis loses its counts. A denial then stays in force for
 * the rest of its `Retry-After`, at most.
 */
export class DenialCache {
  readonly #denials = new RecentMap<Denial>(MOST_DENIALS);
  #era = 0;

  /** Changes at each `forget()`. A reply to a command of an earlier era must not be learnt. */
  get era(): number {
    return this.#era;
  }

  get size(): number {
    return this.#denials.size;
  }

  /** The denial of the same key, cost and limit, if it is in force now, with the rest of its waiting time. */
  find(claim: Claim, now: number): Decision | undefined {
    if (this.#denials.size === 0) return undefined;
    const key = keyOf(claim, claim.cost);
    const denial = this.#of(claim);
    if (denial === undefined) return undefined;
    const elapsed = now - denial.at;
    // Below 0 when the clock was set back.
    if (elapsed < 0 || elapsed >= denial.retryAfterMs) {
      // `sinceMs()` needs those that a client has got.
      if (denial.toldAt === 0) this.#denials.delete(key);
      return undefined;
    }
    denial.toldAt = now;
    const quotaStates = denial.quotaStates.map(({ remaining, resetMs }) => ({
      remaining,
      resetMs: Math.max(0, resetMs - elapsed),
    }));
    return { allowed: false, retryAfterMs: denial.retryAfterMs - elapsed, quotaStates };
  }

  /** Learns from a reply of Redis. A hit that used up the rest of the limit also says how long the next hit of cost 1 has to wait. */
  learn(claim: Claim, { allowed, retryAfterMs, quotaStates }: Decision, era: number): void {
    if (era !== this.#era) return;
    this.#denials.delete(keyOf(claim, claim.cost));
    const cost = allowed ? 1 : claim.cost;
    const waitMs = allowed ? waitOfOneMs(quotaStates) : retryAfterMs;
    if (waitMs <= 0) return;
    const now = Date.now();
    // The wait begins when the reply comes, so it never ends before Redis would admit the hit.
    const denial = { cost, limit: claim.limit, at: now, retryAfterMs: waitMs, quotaStates, toldAt: allowed ? 0 : now };
    this.#denials.set(keyOf(claim, cost), denial);
  }

  /** Milliseconds since the same key, cost and limit was refused; `Infinity` if one was admitted since. */
  sinceMs(claim: Claim, now: number): number {
    const toldAt = this.#of(claim)?.toldAt ?? 0;
    return toldAt === 0 || now < toldAt ? Number.POSITIVE_INFINITY : now - toldAt;
  }

  /** Forgets the denial of a hit that was admitted. */
  passed(claim: Claim): void {
    this.#denials.delete(keyOf(claim, claim.cost));
  }

  #of(claim: Claim): Denial | undefined {
    const denial = this.#denials.get(keyOf(claim, claim.cost));
    return denial?.cost === claim.cost && denial.limit === claim.limit ? denial : undefined;
  }

  /** Forgets everything. */
  forget(): void {
    this.#era++;
    this.#denials.clear();
  }
}

function waitOfOneMs(quotaStates: readonly QuotaState[]): number {
  let waitMs = 0;
  for (const { remaining, resetMs } of quotaStates) if (remaining < 1 && resetMs > waitMs) waitMs = resetMs;
  return waitMs;
}

/** Keys of clients have no spaces, so the parts cannot run into each other. */
const keyOf = ({ key, limit }: Claim, cost: number): string =>
  cost === 1 || limit !== undefined ? key : `${key} ${cost}`;

/** A shared meter whose decisions go into a cache of denials. */
export class RememberingMeter implements SharedMeter {
  readonly loaded: Promise<void>;
  readonly #meter: SharedMeter;
  readonly #denials: DenialCache;

  constructor(meter: SharedMeter, denials: DenialCache) {
    this.#meter = meter;
    this.#denials = denials;
    this.loaded = meter.loaded;
  }

  take(claim: Claim): Promise<Decision> {
    const { era } = this.#denials;
    return this.#meter.take(claim).then((decision) => {
      this.#denials.learn(claim, decision, era);
      return decision;
    });
  }

  charge(debt: Debt): Promise<void> {
    return this.#meter.charge(debt);
  }

  reset(key: string): Promise<void> {
    return this.#meter.reset(key);
  }
}
