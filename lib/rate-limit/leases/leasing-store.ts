import type { Check } from '../../core/options.ts';
import type { Claim, Debt } from '../meter.ts';
import type { LuaScript } from '../redis/lua.ts';
import { decisionOf, RedisMeter, type RedisMeterParts } from '../redis/redis-meter.ts';
import type { Due, RoundTrip, RoundTripStore } from './grant.ts';

/**
 * Of a share of the whole limit, the part that a wish gets even when that is more than a share of what remains: a share of
 * little is nothing, and each of the last requests of a limit would make a trip.
 */
const LEAST_OF_SHARE = 0.4;

/**
 * Of a share of the whole limit, what a gateway gets at most for a client that is new to it, and has come to others before. The
 * less, the more trips until all gateways know a hot client; the more, the less is left where a client meets many of them.
 */
const NEW_OF_SHARE = 0.2;

/**
 * The most that is charged before it is there, as far as a share of the whole limit allows: while it comes to one gateway, others
 * refuse. So few are a tenth of a trip per request for a client whose limit is 100 or more.
 */
const MOST_EARLY = 50;

/** What a wish gets at least, as far as so much remains. */
export const leastAhead = (limit: number, share: number, wish: number): number =>
  Math.min(wish, Math.floor(limit * share * LEAST_OF_SHARE));

/** Counts in Redis, and charges ahead. */
export class LeasingStore implements RoundTripStore {
  readonly loaded: Promise<void>;
  readonly #meter: RedisMeter;
  readonly #script: LuaScript;
  readonly #share: number;
  readonly #windowsMs: readonly number[];
  /** The least that a client may spend at once. */
  readonly #limit: number;

  /** @param share The part of what remains that may be charged for future claims. */
  constructor(parts: RedisMeterParts, share: number) {
    this.#meter = new RedisMeter(parts, parts.scripts.lease);
    this.#script = parts.scripts.lease;
    this.#share = share;
    this.#windowsMs = parts.quotas.map(({ windowMs }) => windowMs);
    this.#limit = Math.min(...parts.quotas.map(({ limit, burst }) => Math.min(limit, burst)));
    this.loaded = this.#meter.loaded;
  }

  /**
   * @param waiting The cost of claims that wait for this one.
   * @param wish What is wished for claims that will come.
   * @param everMs Milliseconds in which a client that sends more than it may uses one more here; `Infinity` for others.
   * @param isNew Whether nothing is known here of the client yet, and a lease can be kept.
   * @throws {TypeError} for a reply that is not what our scripts reply.
   */
  async take(
    claim: Claim,
    waiting: number,
    wish: number,
    everMs = Number.POSITIVE_INFINITY,
    isNew = false,
  ): Promise<RoundTrip> {
    const limit = claim.limit ?? this.#limit;
    const least = Math.max(waiting, leastAhead(limit, this.#share, wish));
    const early = everMs === Number.POSITIVE_INFINITY ? 0 : Math.min(wish, MOST_EARLY, Math.floor(limit * this.#share));
    const first = isNew ? Math.floor(limit * this.#share * NEW_OF_SHARE) : 0;
    const more = [least, wish, this.#share, early, early === 0 ? 1 : Math.max(1, everMs), first];
    const reply = await this.#meter.run(this.#script, claim, more.map(String));
    if (!Array.isArray(reply) || !reply.every(Number.isSafeInteger)) throw new TypeError('Redis gave no count');
    const [allowed, ahead, leaseMs, ...rest] = reply as number[];
    const plain: unknown[] = [allowed];
    const restsMs: number[] = [];
    const dues: Due[] = [];
    for (let i = 0; i < rest.length; i += 6) {
      plain.push(...rest.slice(i, i + 3));
      const [restMs, units, perMs] = rest.slice(i + 3, i + 6) as [number, number, number];
      restsMs.push(restMs);
      if (units > 0) dues.push({ units, perMs, windowMs: this.#windowsMs[i / 6] as number });
    }
    const decision = decisionOf(plain, this.#meter.quotaCount);
    const { quotaStates } = decision;
    return { decision, grant: { ahead: ahead as number, leaseMs: leaseMs as number, quotaStates, restsMs, dues } };
  }

  charge(debt: Debt): Promise<void> {
    return this.#meter.charge(debt);
  }

  reset(key: string): Promise<void> {
    return this.#meter.reset(key);
  }
}

/** How much of a quota is taken from Redis ahead. */
export interface LeaseOptions {
  /**
   * Largest part of a client's remaining quota that a gateway takes with one command, for requests to come: over 0,
   * up to 0.5. Default 0.25. When little remains, it may take 0.4 times `share` of the whole limit instead. For a
   * client that keeps sending over its limit, it may take quota that is still to come: up to `share` of the whole
   * limit, and 50 at most.
   */
  share?: number | undefined;
}

export const LEASE_DEFAULTS = Object.freeze({ share: 0.25 });

const LARGEST_SHARE = 0.5;

export const leaseCheck: Check = (value) => {
  if (typeof value === 'boolean') return undefined;
  const problem = `must be true, false or { share } with a share over 0, up to ${LARGEST_SHARE}`;
  if (typeof value !== 'object' || value === null || Object.keys(value).some((name) => name !== 'share'))
    return problem;
  const { share = LEASE_DEFAULTS.share } = value as LeaseOptions;
  return typeof share === 'number' && share > 0 && share <= LARGEST_SHARE ? undefined : problem;
};

/** Of options that `leaseCheck` has passed; 0 without leases. */
export const leaseShare = (lease: boolean | LeaseOptions | undefined): number => {
  if (lease === undefined || lease === false) return 0;
  return (lease === true ? undefined : lease.share) ?? LEASE_DEFAULTS.share;
};
