import type { Claim, Debt, Decision, QuotaState, SharedMeter } from '../meter.ts';
import { RecentMap } from '../recent-map.ts';

/** About 30 MB, were it ever full. A denial that is forgotten early costs one question to Redis. */
const MOST_DENIALS = 100_000;

interface Denial {
  /** When it was said. */
  readonly at: number;
  readonly retryAfterMs: number;
  readonly quotaStates: readonly QuotaState[];
  /** When a request was last rejected; 0 if none was. */
  toldAt: number;
}

/**
 * What Redis has refused, and until when it is bound to refuse it again: time is all that makes a claim pass that did
 * not, so Redis need not be asked. Other costs and other limits are other questions.
 *
 * What it cannot know is that another gateway had the client forgotten, or that Redis lost its counts: then it holds for
 * as long as the client's wait, at most.
 */
export class DenialCache {
  readonly #denials = new RecentMap<Denial>(MOST_DENIALS);
  #era = 0;

  /** Changes when everything is forgotten: what was asked before that must not be learnt after it. */
  get era(): number {
    return this.#era;
  }

  get size(): number {
    return this.#denials.size;
  }

  /** The denial of this very claim that holds now, with what is left of its waits. */
  find(claim: Claim, now: number): Decision | undefined {
    if (this.#denials.size === 0) return undefined;
    const key = keyOf(claim, claim.cost);
    const denial = this.#denials.get(key);
    if (denial === undefined) return undefined;
    const elapsed = now - denial.at;
    // The first part is for a clock that was set back.
    if (elapsed < 0 || elapsed >= denial.retryAfterMs) {
      // A client that got the denial is more than over its limit.
      if (denial.toldAt === 0) this.#denials.delete(key);
      return undefined;
    }
    denial.toldAt = now;
    const quotaStates = denial.quotaStates.map(({ remaining, resetMs }) => ({
      remaining,
      resetMs: Math.max(0, resetMs - elapsed),
    }));
    return { allowed: false, retryAfterMs: denial.retryAfterMs - elapsed, quotaStates };
  }

  /** Takes what Redis has just said. Where nothing is left, that says also what the next claim of 1 would hear. */
  learn(claim: Claim, { allowed, retryAfterMs, quotaStates }: Decision, era: number): void {
    if (era !== this.#era) return;
    if (allowed) this.passed(claim);
    const cost = allowed ? 1 : claim.cost;
    const waitMs = allowed ? waitOfOneMs(quotaStates) : retryAfterMs;
    if (waitMs <= 0) return;
    const now = Date.now();
    // From when the reply came: never earlier than Redis would let it pass.
    this.#denials.set(keyOf(claim, cost), { at: now, retryAfterMs: waitMs, quotaStates, toldAt: allowed ? 0 : now });
  }

  /** Milliseconds since this very claim was refused, if none has passed since then; otherwise `Infinity`. */
  sinceMs(claim: Claim, now: number): number {
    const toldAt = this.#denials.get(keyOf(claim, claim.cost))?.toldAt ?? 0;
    return toldAt === 0 || now < toldAt ? Number.POSITIVE_INFINITY : now - toldAt;
  }

  /** Forgets when a claim was refused. */
  passed(claim: Claim): void {
    this.#denials.delete(keyOf(claim, claim.cost));
  }

  /** Forgets everything; it is but a cache. */
  forget(): void {
    this.#era++;
    this.#denials.clear();
  }
}

function waitOfOneMs(quotaStates: readonly QuotaState[]): number {
  let waitMs = 0;
  for (const { remaining, resetMs } of quotaStates) if (remaining < 1 && resetMs > waitMs) waitMs = resetMs;
  return waitMs;
}

/** No key of a client has a space in it. */
const keyOf = ({ key, limit }: Claim, cost: number): string =>
  cost === 1 && limit === undefined ? key : `${key} ${cost} ${limit ?? ''}`;

/** Puts what a shared meter says into a cache of denials. */
export class RememberingMeter implements SharedMeter {
  readonly loaded: Promise<void>;
  readonly #meter: SharedMeter;
  readonly #denials: DenialCache;

  constructor(meter: SharedMeter, denials: DenialCache) {
    this.#meter = meter;
    this.#denials = denials;
    this.loaded = meter.loaded;
  }

  take(claim: Claim): Promise<Decision> {
    const { era } = this.#denials;
    return this.#meter.take(claim).then((decision) => {
      this.#denials.learn(claim, decision, era);
      return decision;
    });
  }

  charge(debt: Debt): Promise<void> {
    return this.#meter.charge(debt);
  }

  reset(key: string): Promise<void> {
    return this.#meter.reset(key);
  }
}
