import type { Decision, QuotaState } from '../../../lib/rate-limit/meter.ts';
import type { Quota } from '../../../lib/rate-limit/quota.ts';

/** One client under one quota, in the plainest terms: a log of what passed, and exact fractions. */
export interface ReferenceQuota {
  /** What may be spent at this moment. */
  left(now: number): number;
  /** Milliseconds until the window is over, or the bucket full. */
  rest(now: number): number;
  spend(now: number, cost: number): void;
  readonly most: number;
}

class ReferenceSlidingWindow implements ReferenceQuota {
  readonly most: number;
  readonly #quota: Quota;
  readonly #log: { at: number; cost: number }[] = [];
  #start = 0;

  constructor(quota: Quota) {
    this.#quota = quota;
    this.most = quota.limit;
  }

  left(now: number): number {
    const { limit, windowMs } = this.#quota;
    const start = this.#startOf(now);
    const current = this.#sum(start, start + windowMs);
    const before = this.#sum(start - windowMs, start);
    // The sliding window is the last windowMs milliseconds, this one included.
    const covered = start - (now - windowMs + 1);
    return limit - current - Number((BigInt(before) * BigInt(covered)) / BigInt(windowMs));
  }

  rest(now: number): number {
    return this.#startOf(now) + this.#quota.windowMs - now;
  }

  spend(now: number, cost: number): void {
    this.#start = this.#startOf(now);
    this.#log.push({ at: now, cost });
  }

  /** Windows follow each other from the first request on, until two in a row are empty. */
  #startOf(now: number): number {
    const { windowMs } = this.#quota;
    const start = this.#start + Math.floor((now - this.#start) / windowMs) * windowMs;
    return this.#sum(start - windowMs, start + windowMs) === 0 ? now : start;
  }

  #sum(from: number, to: number): number {
    return this.#log.reduce((sum, { at, cost }) => sum + (at >= from && at < to ? cost : 0), 0);
  }
}

class ReferenceBucket implements ReferenceQuota {
  readonly most: number;
  readonly #quota: Quota;
  /** In units of 1/windowMs token. */
  #level: bigint;
  #at = 0;

  constructor(quota: Quota) {
    this.#quota = quota;
    this.most = quota.burst;
    this.#level = this.#full;
  }

  left(now: number): number {
    return Number(this.#levelAt(now) / BigInt(this.#quota.windowMs));
  }

  rest(now: number): number {
    return firstMs((ms) => this.#levelAt(now + ms) === this.#full);
  }

  spend(now: number, cost: number): void {
    this.#level = this.#levelAt(now) - BigInt(cost) * BigInt(this.#quota.windowMs);
    this.#at = now;
  }

  get #full(): bigint {
    return BigInt(this.#quota.burst) * BigInt(this.#quota.windowMs);
  }

  #levelAt(now: number): bigint {
    const level = this.#level + BigInt(now - this.#at) * BigInt(this.#quota.limit);
    return level < this.#full ? level : this.#full;
  }
}

const REFERENCES = { 'sliding-window': ReferenceSlidingWindow, 'token-bucket': ReferenceBucket };

/** What a meter must say of one client. Waits are searched for, not calculated. */
export class ReferenceMeter {
  readonly #quotas: ReferenceQuota[];

  constructor(algorithm: keyof typeof REFERENCES, quotas: readonly Quota[]) {
    this.#quotas = quotas.map((quota) => new REFERENCES[algorithm](quota));
  }

  take(now: number, asked: number): Decision {
    const verdicts = this.#quotas.map((quota) => {
      const cost = Math.min(asked, quota.most);
      return { quota, cost, fits: cost <= Math.max(0, quota.left(now)) };
    });
    const allowed = verdicts.every(({ fits }) => fits);
    if (allowed && asked > 0) for (const { quota, cost } of verdicts) quota.spend(now, cost);
    const quotaStates = verdicts.map(({ quota, cost, fits }): QuotaState => {
      const remaining = Math.max(0, quota.left(now));
      const wanted = fits ? 1 : cost;
      return { remaining, resetMs: wanted > remaining ? waitFor(quota, now, wanted) : quota.rest(now) };
    });
    const waits = verdicts.map(({ fits }, i) => (fits ? 0 : (quotaStates[i] as QuotaState).resetMs));
    return { allowed, retryAfterMs: allowed ? 0 : Math.max(...waits), quotaStates };
  }
}

const waitFor = (quota: ReferenceQuota, now: number, wanted: number): number =>
  firstMs((ms) => quota.left(now + ms) >= wanted);

/** The first millisecond for which something is true that stays true from then on. */
function firstMs(isTrue: (ms: number) => boolean): number {
  let [below, above] = [-1, 1];
  while (!isTrue(above)) above *= 2;
  while (above - below > 1) {
    const middle = Math.floor((below + above) / 2);
    if (isTrue(middle)) above = middle;
    else below = middle;
  }
  return above;
}
