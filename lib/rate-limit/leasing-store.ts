import type { Debt } from './debts.ts';
import type { Claim } from './meter.ts';
import { RedisMeter, type RedisMeterParts, rulingOf } from './redis-meter.ts';
import type { Trip, TripStore } from './trip.ts';

/**
 * Of a share of the whole limit, the part that a wish gets even when that is more than a share of what remains: a share of
 * little is nothing, and each of the last requests of a limit would make a trip.
 */
const LEAST_OF_SHARE = 0.2;

/** What a wish gets at least, as far as so much remains. */
export const leastAhead = (limit: number, share: number, wish: number): number =>
  Math.min(wish, Math.floor(limit * share * LEAST_OF_SHARE));

/** Counts in Redis, and charges ahead. Its script is one of `lease-scripts.ts`. */
export class LeasingStore implements TripStore {
  readonly loaded: Promise<void>;
  readonly #meter: RedisMeter;
  readonly #share: number;
  /** The least that a client may spend at once. */
  readonly #limit: number;

  /** @param share The part of what remains that may be charged for claims that nobody has made yet. */
  constructor(parts: RedisMeterParts, share: number) {
    this.#meter = new RedisMeter(parts);
    this.#share = share;
    this.#limit = Math.min(...parts.quotas.map(({ limit, burst }) => Math.min(limit, burst)));
    this.loaded = this.#meter.loaded;
  }

  /**
   * @param waiting The cost of claims that wait for this one.
   * @param wish What is wished for claims that will come.
   * @throws {TypeError} for a reply that is not what our scripts reply.
   */
  async take(claim: Claim, waiting: number, wish: number): Promise<Trip> {
    const least = leastAhead(claim.limit ?? this.#limit, this.#share, wish);
    const reply = await this.#meter.run(claim, [String(Math.max(waiting, least)), String(wish), String(this.#share)]);
    if (!Array.isArray(reply) || !reply.every(Number.isSafeInteger)) throw new TypeError('Redis gave no count');
    const [allowed, ahead, leaseMs, ...rest] = reply as number[];
    const plain: unknown[] = [allowed];
    const restsMs: number[] = [];
    for (let i = 0; i < rest.length; i += 4) {
      plain.push(...rest.slice(i, i + 3));
      restsMs.push(rest[i + 3] as number);
    }
    const ruling = rulingOf(plain, this.#meter.quotaCount);
    return {
      ruling,
      grant: { ahead: ahead as number, leaseMs: leaseMs as number, standings: ruling.standings, restsMs },
    };
  }

  charge(debt: Debt): Promise<void> {
    return this.#meter.charge(debt);
  }

  reset(key: string): Promise<void> {
    return this.#meter.reset(key);
  }
}
