import type { Algorithm } from '../algorithms/algorithm.ts';
import type { Claim, Debt } from '../meter.ts';
import type { Quota } from '../quota.ts';
import { RecentMap } from '../recent-map.ts';

/** Clients whose decisions are compared at the same time. What passed for one that is forgotten is not made up for. */
const MOST_CLIENTS = 10_000;
/** For so long, a hit that the store counted in vain makes up for one that it did not count. */
const COMPARED_MS = 1_000;

interface Balance {
  readonly key: string;
  readonly limit: number | undefined;
  /** What passed here without being counted in the store; below 0 where the store counted more than passed here. */
  units: number;
  at: number;
}

/**
 * Compares what the fallback decided while the store's reply was late with what the store says in the end. What passed here although
 * the store refused it is charged even where it does not fit: otherwise a gateway whose replies are often late would give clients
 * more than their limit in every window, and the store would never know.
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
   * A claim of which only one of the two let pass, this gateway or the store.
   *
   * @returns whether there was none since the last `take()`.
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

  /** What the store must be told. */
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
