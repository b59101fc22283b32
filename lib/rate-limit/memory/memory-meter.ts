import type { LimiterMode } from '../../core/events.ts';
import { type Algorithm, ClientRecord, copy, copyOf, redate } from '../algorithms/algorithm.ts';
import type { Claim, Decision, LimiterMeter, QuotaState } from '../meter.ts';
import { type Quota, shareOf } from '../quota.ts';
import { ClientTable } from './client-table.ts';

export interface MemoryMeterParts {
  readonly algorithm: Algorithm;
  /** At least one. */
  readonly quotas: readonly Quota[];
  /** The most clients that are counted separately. */
  readonly maxKeys: number;
  /** Called once, when there are more clients. */
  readonly onFull: () => void;
}

/** Counts in this process. */
export class MemoryMeter implements LimiterMeter {
  readonly mode: LimiterMode = 'memory';
  /** Milliseconds without a hit after which a client's records have expired. */
  readonly lifetimeMs: number;
  readonly #algorithm: Algorithm;
  /** The quotas of all gateways together. */
  readonly #whole: readonly Quota[];
  #quotas: readonly Quota[];
  #gateways = 1;
  readonly #tables: readonly ClientTable[];
  /** For each quota, a working copy of a client's record. It is written back to the table only when something is spent, as in Redis. */
  readonly #views: readonly ClientRecord[];

  constructor({ algorithm, quotas, maxKeys, onFull }: MemoryMeterParts) {
    this.#algorithm = algorithm;
    this.#whole = this.#quotas = quotas;
    let told = false;
    const tellOnce = (): void => {
      if (!told) onFull();
      told = true;
    };
    // At least one window: that is how long a bucket of 1, the smallest part of a limit, takes to refill.
    const lifetimesMs = quotas.map((quota) => Math.max(quota.windowMs, algorithm.lifetimeMs(quota)));
    this.lifetimeMs = Math.max(...lifetimesMs);
    this.#tables = lifetimesMs.map((lifetimeMs) => new ClientTable(lifetimeMs, maxKeys, tellOnce));
    this.#views = quotas.map(() => new ClientRecord(0));
  }

  /** Clients in memory, including those whose records have expired. */
  get size(): number {
    return Math.max(...this.#tables.map((table) => table.size));
  }

  /** @param now Time of the claim, for a log that is replayed. */
  take(claim: Claim, now = Date.now()): Decision {
    if (this.#quotas.length > 1) return this.#takeAll(claim, now);
    const quota = this.#quotaOf(claim, 0);
    const record = this.#find(0, claim.key, now);
    const view = this.#view(0, record, quota, now);
    const cost = Math.min(claim.cost, this.#algorithm.most(quota));
    const allowed = this.#fits(view, quota, cost, now);
    if (allowed ? cost > 0 : this.#algorithm.countsRefused) this.#spend(record, view, cost, quota);
    const quotaState = this.#quotaState(view, quota, allowed ? 1 : cost, now);
    return { allowed, retryAfterMs: allowed ? 0 : quotaState.resetMs, quotaStates: [quotaState] };
  }

  /** Sets a client's records from a reply of the shared store. */
  learn(claim: Claim, { quotaStates }: Decision): void {
    const now = Date.now();
    for (let i = 0; i < quotaStates.length; i++) {
      const record = (this.#tables[i] as ClientTable).findOwn(claim.key, now);
      if (record === undefined) continue;
      const { remaining, resetMs } = quotaStates[i] as QuotaState;
      const limit = claim.limit ?? (this.#whole[i] as Quota).limit;
      const told = { remaining, resetMs, limit, gateways: this.#gateways };
      this.#algorithm.restore(record, now, this.#quotaOf(claim, i), told);
    }
  }

  /** For each quota, the client's record before it spent so much; an empty one for a client without a record of its own. */
  recordsBefore(claim: Claim, spent: number, now: number): ClientRecord[] {
    return this.#quotas.map((_, i) => {
      const own = (this.#tables[i] as ClientTable).findOwn(claim.key, now);
      if (own === undefined) return new ClientRecord(now);
      const record = copyOf(own);
      const quota = this.#quotaOf(claim, i);
      this.#algorithm.spend(record, -Math.min(spent, this.#algorithm.most(quota)), quota);
      return record;
    });
  }

  /** For each quota, milliseconds until the client's window ends, or its bucket is full. */
  restsOf(claim: Claim, now: number): number[] {
    return this.#quotas.map((_, i) => {
      const quota = this.#quotaOf(claim, i);
      return this.#algorithm.restMs(this.#view(i, this.#find(i, claim.key, now), quota, now), now, quota);
    });
  }

  /**
   * Charges units that were spent elsewhere, for each quota, up to the limit.
   *
   * @param over Units that are charged even above the limit, up to twice the limit in all.
   */
  charge(claim: Claim, units: readonly number[], now: number, over: readonly number[] = []): void {
    for (let i = 0; i < this.#quotas.length; i++) {
      const quota = this.#quotaOf(claim, i);
      const record = this.#find(i, claim.key, now);
      const view = this.#view(i, record, quota, now);
      const left = this.#algorithm.remaining(view, now, quota);
      const fitting = Math.min(units[i] ?? 0, Math.max(0, left));
      const cost = fitting + Math.max(0, Math.min(over[i] ?? 0, left - fitting + this.#algorithm.most(quota)));
      if (cost > 0) this.#spend(record, view, cost, quota);
    }
  }

  /** Sets how many gateways count by themselves: each keeps to its part of each limit, at least 1. */
  shareWith(gateways: number): void {
    this.#gateways = gateways;
    this.#quotas = this.#whole.map((quota) => shareOf(quota, gateways));
  }

  reset(key: string): void {
    for (const table of this.#tables) table.delete(key);
  }

  close(): void {}

  /** Charges all quotas, or none. */
  #takeAll(claim: Claim, now: number): Decision {
    const entries = this.#quotas.map((quota, i) => {
      const record = this.#find(i, claim.key, now);
      const view = this.#view(i, record, quota, now);
      const cost = Math.min(claim.cost, this.#algorithm.most(quota));
      return { quota, record, view, cost, fits: this.#fits(view, quota, cost, now) };
    });
    const allowed = entries.every(({ fits }) => fits);
    let retryAfterMs = 0;
    const quotaStates = entries.map(({ quota, record, view, cost, fits }) => {
      if (allowed && cost > 0) this.#spend(record, view, cost, quota);
      const quotaState = this.#quotaState(view, quota, fits ? 1 : cost, now);
      if (!fits) retryAfterMs = Math.max(retryAfterMs, quotaState.resetMs);
      return quotaState;
    });
    return { allowed, retryAfterMs, quotaStates };
  }

  /** The quota, with the limit of the claim if it has one. */
  #quotaOf({ limit }: Claim, i: number): Quota {
    const quota = this.#quotas[i] as Quota;
    if (limit === undefined) return quota;
    return shareOf({ limit, windowMs: quota.windowMs, burst: limit }, this.#gateways);
  }

  #find(i: number, key: string, now: number): ClientRecord {
    const record = (this.#tables[i] as ClientTable).find(key, now);
    redate(record, now);
    return record;
  }

  #view(i: number, record: ClientRecord, quota: Quota, now: number): ClientRecord {
    const view = this.#views[i] as ClientRecord;
    copy(record, view);
    this.#algorithm.settle(view, now, quota);
    return view;
  }

  #spend(record: ClientRecord, view: ClientRecord, cost: number, quota: Quota): void {
    this.#algorithm.spend(view, cost, quota);
    copy(view, record);
  }

  #fits(record: ClientRecord, quota: Quota, cost: number, now: number): boolean {
    return cost === 0 || cost <= this.#algorithm.remaining(record, now, quota);
  }

  #quotaState(record: ClientRecord, quota: Quota, wanted: number, now: number): QuotaState {
    const remaining = Math.max(0, this.#algorithm.remaining(record, now, quota));
    const resetMs =
      wanted > remaining
        ? this.#algorithm.waitMs(record, now, quota, wanted)
        : this.#algorithm.restMs(record, now, quota);
    return { remaining, resetMs };
  }
}
