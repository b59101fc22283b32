import { type Algorithm, type ClientRecord, copyOf, redate } from '../algorithms/algorithm.ts';
import { ownCopy } from '../client-key.ts';
import type { Claim, Debt, Owed } from '../meter.ts';
import { type Quota, shareOf } from '../quota.ts';

/** About 25 MB when full. If a debt is dropped, its client gets that much more, once. */
const MOST_DEBTS = 100_000;
/** Clients that are reported to the store at the same time, so that traffic does not queue behind them. */
const AT_ONCE = 16;

interface Account {
  limit: number | undefined;
  /** This gateway's part of what was spent, for each quota. */
  readonly records: readonly ClientRecord[];
  /** The part of `records` that the store has counted already. It expires together with the store's own count. */
  known: readonly ClientRecord[];
}

type Charge = (debt: Debt) => Promise<void>;

/** The hits that this gateway admitted while the store was away. It reports them to the store afterwards, client by client. */
export class Debts {
  readonly #algorithm: Algorithm;
  readonly #quotas: readonly Quota[];
  #gateways = 1;
  readonly #accounts = new Map<string, Account>();
  /** Whether the store may have lost its counts. True until all clients have been reported. */
  #restores = false;
  /** Clients that are being reported to the store. */
  readonly #underWay = new Map<string, Promise<void>>();

  constructor(algorithm: Algorithm, quotas: readonly Quota[]) {
    this.#algorithm = algorithm;
    this.#quotas = quotas;
  }

  /** Whether no client has to be reported, and no report is in progress. */
  get empty(): boolean {
    return this.#accounts.size === 0 && this.#underWay.size === 0;
  }

  has(key: string): boolean {
    return this.#accounts.has(key);
  }

  /** The store may have lost its counts, so each gateway also reports its part of what the store had counted before. */
  restore(): void {
    this.#restores = true;
  }

  /** Sets how many gateways share the limits: each counts against its part of them. */
  shareWith(gateways: number): void {
    this.#gateways = gateways;
  }

  /**
   * Opens an account for a client.
   *
   * @param known This gateway's part of what the store has counted, for each quota.
   */
  open({ key, limit }: Claim, known: readonly ClientRecord[]): void {
    if (this.#accounts.size >= MOST_DEBTS) {
      const [oldest] = this.#accounts.keys();
      this.#accounts.delete(oldest as string);
    }
    this.#accounts.set(ownCopy(key), { limit, records: known.map(copyOf), known });
  }

  /** Adds a hit to the account of a client, which must exist. */
  add({ key, cost, limit }: Claim, now: number): void {
    const account = this.#accounts.get(key) as Account;
    account.limit = limit;
    for (const [i, record] of account.records.entries()) {
      const quota = this.#quotaOf(limit, i);
      this.#settle(record, now, quota);
      this.#algorithm.spend(record, Math.min(cost, this.#algorithm.most(quota)), quota);
    }
  }

  /** Forgets a client. If a report of this client is in progress and fails, it is not repeated. */
  forget(key: string): void {
    this.#accounts.delete(key);
    this.#underWay.delete(key);
  }

  /**
   * Reports one client to the store. If that fails, the debt stays. A report whose reply was late may be charged twice, but never
   * not at all.
   *
   * @returns nothing when there is nothing to report.
   */
  pay(key: string, charge: Charge): Promise<void> | undefined {
    const underWay = this.#underWay.get(key);
    if (underWay !== undefined) return underWay;
    const account = this.#accounts.get(key);
    if (account === undefined) return undefined;
    this.#accounts.delete(key);
    const owed = this.#owed(account, Date.now());
    if (owed.every(({ units, least }) => units + least === 0)) return undefined;
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

  /** Ends a report. @returns whether the client was not forgotten meanwhile. */
  #ended(key: string, paying: Promise<void>): boolean {
    return this.#underWay.get(key) === paying && this.#underWay.delete(key);
  }

  /** Reports all clients to the store, and stops at the first failure. Rejects then. */
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
    this.#restores = false;
  }

  #owed({ limit, records, known }: Account, now: number): Owed[] {
    return records.map((record, i) => {
      const quota = this.#quotaOf(limit, i);
      const had = known[i] as ClientRecord;
      const [units, older] = this.#spent(record, now, quota);
      // The record is settled now, so this is the window of the present.
      const restMs = this.#algorithm.restMs(record, now, quota);
      if (!this.#restores) {
        const [hadUnits, hadOlder] = this.#spent(had, now, quota);
        const more = Math.max(0, units - hadUnits);
        return { units: more, older: Math.min(more, Math.max(0, older - hadOlder)), least: 0, restMs };
      }
      // A token bucket refills. If each gateway reported its own part only, the store would refill the first parts while it waits for
      // the last. So each reports what all gateways have probably spent.
      if (this.#algorithm.isRefilled) return { units: 0, older: 0, least: units * this.#gateways, restMs };
      return { units, older, least: 0, restMs };
    });
  }

  #spent(record: ClientRecord, now: number, quota: Quota): [units: number, older: number] {
    this.#settle(record, now, quota);
    const most = this.#algorithm.most(quota);
    const units = Math.min(most, most - this.#algorithm.remaining(record, now, quota));
    return [units, Math.min(units, this.#algorithm.older?.(record, now, quota) ?? 0)];
  }

  /** Puts back what could not be reported. An account that was opened meanwhile began with these counts. */
  #owe(key: string, account: Account): void {
    const later = this.#accounts.get(key);
    if (later === undefined) this.#accounts.set(key, account);
    else later.known = account.known;
  }

  #settle(record: ClientRecord, now: number, quota: Quota): void {
    redate(record, now);
    this.#algorithm.settle(record, now, quota);
  }

  #quotaOf(limit: number | undefined, i: number): Quota {
    const quota = this.#quotas[i] as Quota;
    return shareOf(limit === undefined ? quota : { limit, windowMs: quota.windowMs, burst: limit }, this.#gateways);
  }
}
