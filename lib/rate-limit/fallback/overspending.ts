import type { Algorithm } from '../algorithms/algorithm.ts';
import type { Claim, Debt } from '../meter.ts';
import type { Quota } from '../quota.ts';
import { RecentMap } from '../recent-map.ts';

/** Clients whose decisions are compared at the same time. What was admitted for a client that is dropped is never charged. */
const MOST_CLIENTS = 10_000;
/** Milliseconds for which a hit that only the store admitted offsets one that only this gateway admitted. */
const COMPARED_MS = 1_000;

interface Balance {
  readonly key: string;
  readonly limit: number | undefined;
  /** Admitted here but not counted in the store; below 0 when the store counted more than was admitted here. */
  units: number;
  at: number;
}

/**
 * Compares what the fallback decided, while the store's reply was late, with that reply. What was admitted here although the store
 * refused it is charged, even above the limit. Otherwise a gateway whose replies are often late would give clients more than
 * their limit in every window, unknown to the store.
 */
export class Overspending {
  readonly #algorithm: Algorithm;
  readonly #quotas: readonly Quota[];
  readonly #balances = new RecentMap<Balance>(MOST_CLIENTS);
  #changed = new Set<Balance>();

  constructor(algorithm: Algorithm, quotas: readonly Quota[]) {
    this.#algorithm = algorithm;
    this.#quotas = quotas;
  }

  /**
   * Notes a hit that only one of the two admitted: this gateway, or the store.
   *
   * @returns whether it is the first since the last `take()`.
   */
  add({ key, cost, limit }: Claim, passedHere: boolean): boolean {
    const now = Date.now();
    const id = limit === undefined ? key : `${key} ${limit}`;
    let balance = this.#balances.get(id);
    if (balance === undefined || Math.abs(now - balance.at) > COMPARED_MS) {
      balance = { key, limit, units: 0, at: now };
      this.#balances.set(id, balance);
    }
    balance.at = now;
    balance.units += passedHere ? cost : -cost;
    const isFirst = this.#changed.size === 0;
    this.#changed.add(balance);
    return isFirst;
  }

  /** Gives what must be charged in the store. */
  take(): Debt[] {
    const debts: Debt[] = [];
    for (const balance of this.#changed) {
      const { key, limit, units } = balance;
      if (units <= 0) continue;
      balance.units = 0;
      const owed = this.#quotas.map((quota) => {
        const most = this.#algorithm.most(limit === undefined ? quota : { ...quota, limit, burst: limit });
        return { units: 0, older: 0, least: 0, restMs: quota.windowMs, over: Math.min(units, most) };
      });
      debts.push({ key, limit, owed });
    }
    this.#changed = new Set();
    return debts;
  }
}
