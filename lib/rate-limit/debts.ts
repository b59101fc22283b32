import { type Algorithm, ClientRecord, redate } from './algorithm.ts';
import type { Claim } from './meter.ts';
import { ownCopy } from './own-copy.ts';
import type { Quota } from './quota.ts';

/** About 25 MB, were it ever full. A debt that is forgotten lets its client have so much more, once. */
const MOST_DEBTS = 100_000;
/** Clients that the store is told of at the same time, so that traffic does not queue behind them. */
const AT_ONCE = 16;

/** What one client spent while the store could not be told. */
export interface Debt {
  readonly key: string;
  /** As in a claim. */
  readonly limit: number | undefined;
  /** For each quota. */
  readonly owed: readonly Owed[];
}

export interface Owed {
  readonly units: number;
  /** Milliseconds until the window in which it was spent is over. */
  readonly restMs: number;
}

interface Account {
  limit: number | undefined;
  /** What is owed, for each quota; it loses its meaning as what was spent in the store would. */
  readonly records: readonly ClientRecord[];
}

type Charge = (debt: Debt) => Promise<void>;

/** What this gateway let pass while the store was away. The store is told when it is back, each client on its own. */
export class Debts {
  readonly #algorithm: Algorithm;
  readonly #quotas: readonly Quota[];
  readonly #accounts = new Map<string, Account>();
  /** Clients of whom the store is being told. */
  readonly #underWay = new Map<string, Promise<void>>();

  constructor(algorithm: Algorithm, quotas: readonly Quota[]) {
    this.#algorithm = algorithm;
    this.#quotas = quotas;
  }

  /** Whether there is nothing to tell, nor anybody being told. */
  get empty(): boolean {
    return this.#accounts.size === 0 && this.#underWay.size === 0;
  }

  /** @param windows When the client's windows began here, for each quota. */
  add({ key, cost, limit }: Claim, windows: readonly number[], now: number): void {
    const account = this.#accounts.get(key) ?? this.#open(key, now);
    account.limit = limit;
    for (const [i, record] of account.records.entries()) {
      const quota = this.#quotaOf(limit, i);
      this.#settle(record, now, quota);
      if (record.spent === 0 && record.before === 0) record.at = windows[i] as number;
      this.#algorithm.spend(record, Math.min(cost, this.#algorithm.most(quota)), quota);
    }
  }

  /** The store has counted this claim after all. */
  cancel({ key, cost, limit }: Claim): void {
    const account = this.#accounts.get(key);
    if (account === undefined) return;
    for (const [i, record] of account.records.entries()) {
      const quota = this.#quotaOf(limit, i);
      this.#algorithm.spend(record, -Math.min(cost, this.#algorithm.most(quota)), quota);
      record.spent = Math.max(0, record.spent);
    }
  }

  /** Also what the store is being told: when that fails, it is owed no more. */
  forget(key: string): void {
    this.#accounts.delete(key);
    this.#underWay.delete(key);
  }

  /**
   * Tells the store of one client. What could not be told is owed on: a call whose reply was late may then be charged
   * twice, never not at all.
   *
   * @returns nothing when there is nothing to wait for.
   */
  pay(key: string, charge: Charge): Promise<void> | undefined {
    const underWay = this.#underWay.get(key);
    if (underWay !== undefined) return underWay;
    const account = this.#accounts.get(key);
    if (account === undefined) return undefined;
    this.#accounts.delete(key);
    const owed = this.#owed(account, Date.now());
    if (owed.every(({ units }) => units === 0)) return undefined;
    const paying = charge({ key, limit: account.limit, owed }).then(
      () => {
        this.#ended(key, paying);
      },
      (error) => {
        if (this.#ended(key, paying)) this.#owe(key, account);
        throw error;
      },
    );
    this.#underWay.set(key, paying);
    return paying;
  }

  /** Whether nobody has forgotten the client since. */
  #ended(key: string, paying: Promise<void>): boolean {
    return this.#underWay.get(key) === paying && this.#underWay.delete(key);
  }

  /** Tells the store of all clients, as long as that works. Rejects when it did not. */
  async payAll(charge: Charge): Promise<void> {
    const keys = this.#accounts.keys();
    let failed = false;
    const some = async (): Promise<void> => {
      for (const key of keys) {
        if (failed) return;
        try {
          await this.pay(key, charge);
        } catch (error) {
          failed = true;
          throw error;
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, some));
  }

  #open(key: string, now: number): Account {
    if (this.#accounts.size >= MOST_DEBTS) {
      const [oldest] = this.#accounts.keys();
      this.#accounts.delete(oldest as string);
    }
    const account = { limit: undefined, records: this.#quotas.map(() => new ClientRecord(now)) };
    this.#accounts.set(ownCopy(key), account);
    return account;
  }

  #owed({ limit, records }: Account, now: number): Owed[] {
    return records.map((record, i) => {
      const quota = this.#quotaOf(limit, i);
      this.#settle(record, now, quota);
      const most = this.#algorithm.most(quota);
      const units = Math.min(most, most - this.#algorithm.remaining(record, now, quota));
      return { units, restMs: Math.max(1, this.#algorithm.restMs(record, now, quota)) };
    });
  }

  /** Puts back what could not be told, with what has come meanwhile. */
  #owe(key: string, account: Account): void {
    const later = this.#accounts.get(key);
    if (later === undefined) {
      this.#accounts.set(key, account);
      return;
    }
    const now = Date.now();
    const owed = this.#owed(account, now);
    for (const [i, record] of later.records.entries()) {
      const quota = this.#quotaOf(later.limit, i);
      this.#settle(record, now, quota);
      this.#algorithm.spend(record, (owed[i] as Owed).units, quota);
    }
  }

  #settle(record: ClientRecord, now: number, quota: Quota): void {
    redate(record, now);
    this.#algorithm.settle(record, now, quota);
  }

  #quotaOf(limit: number | undefined, i: number): Quota {
    const quota = this.#quotas[i] as Quota;
    return limit === undefined ? quota : { limit, windowMs: quota.windowMs, burst: limit };
  }
}
