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
 * Takes leases from the shared store. It sends one command at a time for each client. Claims that come meanwhile wait for the reply; those
 * that the lease does not cover go into the next command together.
 */
export class LeasingMeter implements SharedMeter {
  readonly loaded: Promise<void>;
  readonly #parts: LeasingMeterParts;
  /** By client, the claims that wait for the command in progress. */
  readonly #waiting = new Map<string, Waiter[]>();

  constructor(parts: LeasingMeterParts) {
    this.#parts = parts;
    this.loaded = parts.store.loaded;
  }

  /** For a claim that neither a lease nor a cached denial covers. */
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

  /** Sends a command for the first claim, and for the cost of the others that wait. */
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
      // If the fallback has refused the request, it spends nothing, and its share of the lease is left for later requests. If the
      // fallback has admitted it, it spends its share, or has to be reported to the store.
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

/** Total cost of the claims with this limit, capped at the highest possible limit. */
function costOf(waiters: readonly Waiter[], limit: number | undefined): number {
  const sum = waiters.reduce((cost, { claim }) => cost + (claim.limit === limit ? claim.cost : 0), 0);
  return Math.min(sum, Number.MAX_SAFE_INTEGER);
}
