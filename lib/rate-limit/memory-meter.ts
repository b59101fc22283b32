import type { LimiterMode } from '../core/events.ts';
import type { Algorithm, ClientRecord } from './algorithm.ts';
import { ClientTable } from './client-table.ts';
import type { LimiterMeter } from './limiter-meter.ts';
import type { Claim, Ruling, Standing } from './meter.ts';
import type { Quota } from './quota.ts';

export interface MemoryMeterParts {
  readonly algorithm: Algorithm;
  /** At least one. */
  readonly quotas: readonly Quota[];
  /** The most clients that are told apart. */
  readonly maxKeys: number;
  /** Is told once, when there are more. */
  readonly onFull: () => void;
}

/** Counts in this process. */
export class MemoryMeter implements LimiterMeter {
  readonly mode: LimiterMode = 'memory';
  readonly #algorithm: Algorithm;
  readonly #quotas: readonly Quota[];
  readonly #tables: readonly ClientTable[];

  constructor({ algorithm, quotas, maxKeys, onFull }: MemoryMeterParts) {
    this.#algorithm = algorithm;
    this.#quotas = quotas;
    let told = false;
    const tellOnce = (): void => {
      if (!told) onFull();
      told = true;
    };
    this.#tables = quotas.map((quota) => new ClientTable(algorithm.lifetimeMs(quota), maxKeys, tellOnce));
  }

  /** Clients that are remembered, with those that will be forgotten next. */
  get size(): number {
    return Math.max(...this.#tables.map((table) => table.size));
  }

  take(claim: Claim): Ruling {
    const now = Date.now();
    if (this.#quotas.length > 1) return this.#takeAll(claim, now);
    const quota = quotaOf(claim, this.#quotas[0] as Quota);
    const record = this.#find(0, quota, claim.key, now);
    const cost = Math.min(claim.cost, this.#algorithm.most(quota));
    const allowed = this.#fits(record, quota, cost, now);
    if (allowed) this.#algorithm.spend(record, cost, quota);
    const standing = this.#standing(record, quota, allowed ? 1 : cost, now);
    return { allowed, retryAfterMs: allowed ? 0 : standing.resetMs, standings: [standing] };
  }

  reset(key: string): void {
    for (const table of this.#tables) table.delete(key);
  }

  /** Has nothing to release. */
  close(): void {}

  /** All or nothing. */
  #takeAll(claim: Claim, now: number): Ruling {
    const entries = this.#quotas.map((quota, i) => {
      const record = this.#find(i, quota, claim.key, now);
      const cost = Math.min(claim.cost, this.#algorithm.most(quota));
      return { quota, record, cost, fits: this.#fits(record, quota, cost, now) };
    });
    const allowed = entries.every(({ fits }) => fits);
    let retryAfterMs = 0;
    const standings = entries.map(({ quota, record, cost, fits }) => {
      if (allowed) this.#algorithm.spend(record, cost, quota);
      const standing = this.#standing(record, quota, fits ? 1 : cost, now);
      if (!fits) retryAfterMs = Math.max(retryAfterMs, standing.resetMs);
      return standing;
    });
    return { allowed, retryAfterMs, standings };
  }

  #find(i: number, quota: Quota, key: string, now: number): ClientRecord {
    const record = (this.#tables[i] as ClientTable).find(key, now);
    this.#algorithm.settle(record, now, quota);
    return record;
  }

  #fits(record: ClientRecord, quota: Quota, cost: number, now: number): boolean {
    return cost === 0 || cost <= this.#algorithm.remaining(record, now, quota);
  }

  #standing(record: ClientRecord, quota: Quota, wanted: number, now: number): Standing {
    const remaining = Math.max(0, this.#algorithm.remaining(record, now, quota));
    const resetMs =
      wanted > remaining
        ? this.#algorithm.waitMs(record, now, quota, wanted)
        : this.#algorithm.restMs(record, now, quota);
    return { remaining, resetMs };
  }
}

/** A quota with the limit that a claim brings along. */
function quotaOf({ limit }: Claim, quota: Quota): Quota {
  return limit === undefined ? quota : { limit, windowMs: quota.windowMs, burst: limit };
}
