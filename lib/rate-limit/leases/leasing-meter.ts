import type { DenialCache } from '../fallback/denial-cache.ts';
import type { Claim, Debt, Decision, SharedMeter, Wait } from '../meter.ts';
import type { RoundTripStore } from './grant.ts';
import type { LeaseTable } from './leasing-table.ts';

export interface LeasingMeterParts {
  readonly store: RoundTripStore;
  readonly leases: LeaseTable;
  readonly denials: DenialCache;
}

interface Waiter {
  readonly claim: Claim;
  readonly wait: Wait | undefined;
  readonly resolve: (decision: Decision) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Takes shares of clients' quotas from where all count. One trip at a time for a client: claims that come while it is under way
 * wait for what it brings, and those that it does not cover make the next one together.
 */
export class LeasingMeter implements SharedMeter {
  readonly loaded: Promise<void>;
  readonly #parts: LeasingMeterParts;
  /** Clients with a trip under way, with those that wait for it. */
  readonly #waiting = new Map<string, Waiter[]>();

  constructor(parts: LeasingMeterParts) {
    this.#parts = parts;
    this.loaded = parts.store.loaded;
  }

  /** For a claim that is not covered by a lease, nor by a cached denial. */
  take(claim: Claim, wait?: Wait): Promise<Decision> {
    const { leases, denials } = this.#parts;
    const denial = leases.later(claim, Date.now());
    if (denial !== undefined) {
      denials.learn(claim, denial, denials.era);
      return Promise.resolve(denial);
    }
    return new Promise((resolve, reject) => {
      const waiter = { claim, wait, resolve, reject };
      const waiting = this.#waiting.get(claim.key);
      if (waiting === undefined) this.#go(waiter, []);
      else waiting.push(waiter);
    });
  }

  charge(debt: Debt): Promise<void> {
    return this.#parts.store.charge(debt);
  }

  reset(key: string): Promise<void> {
    return this.#parts.store.reset(key);
  }

  /** Makes a trip for the first claim, and for as much as others that wait will cost. */
  #go(first: Waiter, others: Waiter[]): void {
    const { store, leases, denials } = this.#parts;
    const { claim } = first;
    this.#waiting.set(claim.key, others);
    const now = Date.now();
    const eras = [leases.era, denials.era] as const;
    const fits = leases.fits(claim, now);
    const waiting = fits ? costOf(others, claim.limit) : 0;
    const everMs = Math.max(leases.everMs(claim), denials.sinceMs(claim, now));
    store.take(claim, waiting, leases.wish(claim, now), everMs, fits && leases.isNew(claim)).then(
      ({ decision, grant }) => {
        if (decision.allowed) leases.add(claim, grant, now, eras[0]);
        if (decision.allowed && leases.awaits(claim, Date.now())) denials.passed(claim);
        else denials.learn(claim, decision, eras[1]);
        first.resolve(decision);
        this.#serve(claim.key);
      },
      (error) => {
        this.#waiting.delete(claim.key);
        for (const waiter of [first, ...others]) waiter.reject(error);
      },
    );
  }

  #serve(key: string): void {
    const { leases, denials } = this.#parts;
    const waiting = this.#waiting.get(key) as Waiter[];
    this.#waiting.delete(key);
    const now = Date.now();
    const left = waiting.filter(({ claim, wait, resolve, reject }) => {
      const decided = wait?.decided;
      // A request that the fallback refused spends nothing: what was charged for it is kept for the next ones. One that the
      // fallback let pass spends what was charged for it, or must be reported to the store.
      const leased = decided?.allowed === false ? undefined : leases.spend(claim, now);
      if (leased === undefined && decided !== undefined) {
        reject(new Error('the request was decided before the store was asked'));
        return false;
      }
      const decision = leased ?? leases.later(claim, now) ?? denials.find(claim, now);
      if (decision === undefined) return true;
      resolve(decision);
      return false;
    });
    const next = left.shift();
    if (next !== undefined) this.#go(next, left);
  }
}

/** Of all that have the same limit. Together they cannot spend more than any limit may be. */
function costOf(waiters: readonly Waiter[], limit: number | undefined): number {
  const sum = waiters.reduce((cost, { claim }) => cost + (claim.limit === limit ? claim.cost : 0), 0);
  return Math.min(sum, Number.MAX_SAFE_INTEGER);
}
