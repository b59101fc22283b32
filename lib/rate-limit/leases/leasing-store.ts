import type { Check } from '../../core/options.ts';
import type { Claim, Debt } from '../meter.ts';
import type { LuaScript } from '../redis/lua.ts';
import { decisionOf, RedisMeter, type RedisMeterParts } from '../redis/redis-meter.ts';
import type { Due, RoundTrip, RoundTripStore } from './grant.ts';

/**
 * A lease may always have this part of a share of the whole limit, even if that is more than a share of what remains. Otherwise, close to
 * the limit, each request would need a command of its own.
 */
const LEAST_OF_SHARE = 0.4;

/**
 * The most that a gateway gets for a client that is new to it but known to others, as a part of a share of the whole limit. A lower value
 * means more commands until all gateways know a busy client. A higher one leaves less for a client that reaches many gateways.
 */
const NEW_OF_SHARE = 0.2;

/**
 * The most units that are charged before they are available, if a share of the whole limit allows as many. Until they are available,
 * other gateways refuse the client. With this value, a client with a limit of 100 or more costs a tenth of a command per request.
 */
const MOST_EARLY = 50;

/** Lower bound of a lease, if that much remains. */
export const leastAhead = (limit: number, share: number, wish: number): number =>
  Math.min(wish, Math.floor(limit * share * LEAST_OF_SHARE));

/** Counts in Redis and charges in advance. */
export class LeasingStore implements RoundTripStore {
  readonly loaded: Promise<void>;
  readonly #meter: RedisMeter;
  readonly #script: LuaScript;
  readonly #share: number;
  readonly #windowsMs: readonly number[];
  /** The lowest limit or burst of all quotas. */
  readonly #limit: number;

  /** @param share The part of what remains that may be charged in advance. */
  constructor(parts: RedisMeterParts, share: number) {
    this.#meter = new RedisMeter(parts, parts.scripts.lease);
    this.#script = parts.scripts.lease;
    this.#share = share;
    this.#windowsMs = parts.quotas.map(({ windowMs }) => windowMs);
    this.#limit = Math.min(...parts.quotas.map(({ limit, burst }) => Math.min(limit, burst)));
    this.loaded = this.#meter.loaded;
  }

  /** @throws {TypeError} for a reply that does not come from our scripts. */
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
    if (!Array.isArray(reply) || !reply.every(Number.isSafeInteger)) throw new TypeError('Redis returned no count');
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

/** How much of a quota is taken from Redis in advance. */
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

/** @param lease Has passed `leaseCheck`. @returns 0 without leases. */
export const leaseShare = (lease: boolean | LeaseOptions | undefined): number => {
  if (lease === undefined || lease === false) return 0;
  return (lease === true ? undefined : lease.share) ?? LEASE_DEFAULTS.share;
};
