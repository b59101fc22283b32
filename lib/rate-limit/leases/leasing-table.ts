import type { Claim, Decision } from '../meter.ts';
import { RecentMap } from '../recent-map.ts';
import type { Grant } from './grant.ts';
import { type Due, msUntil, notYet } from './grant.ts';

/** About 40 MB when full. If a lease is dropped early, the client loses that much of its quota. */
const MOST_LEASES = 100_000;

/** Growth of the next lease of a client that used up its lease. With 4, a gateway learns in three commands how much a client needs. */
const GROWTH = 4;
const NO_DUES: readonly Due[] = Object.freeze([]);

interface Lease {
  readonly limit: number | undefined;
  /** When the command was sent. */
  readonly askedAt: number;
  /** When the reply came. Units that are not available yet are counted from here, so they are never early by Redis's clock. */
  readonly repliedAt: number;
  readonly wholeUntil: number;
  readonly units: number;
  /** How many of `units` are spent or have expired. */
  used: number;
  /** When the client last spent some of it. */
  spentAt: number;
  readonly grant: Grant;
}

/**
 * The leases of clients: units that Redis has charged and this gateway may still spend. After `wholeUntil`, a lease loses `fadePerMs`
 * units per millisecond, or all at once where that is `undefined`.
 */
export class LeaseTable {
  readonly #leases = new RecentMap<Lease>(MOST_LEASES);
  readonly #fadePerMs: (limit: number | undefined) => number | undefined;
  #era = 0;

  constructor(fadePerMs: (limit: number | undefined) => number | undefined) {
    this.#fadePerMs = fadePerMs;
  }

  /** Changes at each `forget()`. The reply to a command of an earlier era must not be kept. */
  get era(): number {
    return this.#era;
  }

  /** Whether a lease for this claim can be kept: not while the client has one under another limit, which would be lost. */
  fits({ key, limit }: Claim, now: number): boolean {
    const lease = this.#leases.get(key);
    return lease === undefined || lease.limit === limit || this.#held(lease, now) === 0;
  }

  /** Whether the client has had no lease here under this limit. */
  isNew({ key, limit }: Claim): boolean {
    const lease = this.#leases.get(key);
    return lease === undefined || lease.limit !== limit;
  }

  /** Spends the cost of a claim from the lease, if it covers that. The decision has the state of Redis; `told()` adds the lease. */
  spend(claim: Claim, now: number): Decision | undefined {
    const lease = this.#leases.get(claim.key);
    if (lease === undefined || lease.limit !== claim.limit) return undefined;
    const held = this.#held(lease, now);
    if (held === 0 || claim.cost > held - duesOf(lease, now)) return undefined;
    lease.used = lease.units - held + claim.cost;
    lease.spentAt = now;
    const elapsed = now - lease.askedAt;
    return {
      allowed: true,
      retryAfterMs: 0,
      quotaStates: lease.grant.quotaStates.map(({ remaining, resetMs }) => ({
        remaining,
        resetMs: Math.max(0, resetMs - elapsed),
      })),
    };
  }

  /** Denies a claim that the lease will cover later, but does not cover yet. */
  later({ key, cost, limit }: Claim, now: number): Decision | undefined {
    const lease = this.#leases.get(key);
    if (lease === undefined || lease.limit !== limit) return undefined;
    const held = this.#held(lease, now);
    const there = held - duesOf(lease, now);
    if (cost <= Math.max(0, there)) return undefined;
    const retryAfterMs = this.#coversMs(lease, cost, now);
    if (retryAfterMs === undefined) return undefined;
    const { quotaStates, restsMs } = lease.grant;
    const elapsed = now - lease.askedAt;
    return {
      allowed: false,
      retryAfterMs,
      quotaStates: quotaStates.map(({ remaining }, i) =>
        remaining > 0
          ? { remaining: remaining + Math.max(0, there), resetMs: Math.max(0, (restsMs[i] as number) - elapsed) }
          : { remaining: Math.max(0, there), resetMs: retryAfterMs },
      ),
    };
  }

  /** Average milliseconds per unit that the client spent from its lease. */
  everMs({ key, limit }: Claim): number {
    const lease = this.#leases.get(key);
    if (lease === undefined || lease.limit !== limit || lease.used === 0) return 0;
    return (lease.spentAt - lease.askedAt) / lease.used;
  }

  /** Whether a part of the lease is not available yet. Then Redis alone cannot tell how long a claim has to wait. */
  awaits({ key, limit }: Claim, now: number): boolean {
    const lease = this.#leases.get(key);
    return lease !== undefined && lease.limit === limit && this.#held(lease, now) > 0 && duesOf(lease, now) > 0;
  }

  /**
   * Units to ask for in advance. Nothing for a client that is new here. Then several times as much each time the client used up its lease,
   * otherwise as much as it used. Never more than it will use at its pace until the window ends.
   */
  wish({ key, cost, limit }: Claim, now: number): number {
    const lease = this.#leases.get(key);
    if (lease === undefined || lease.limit !== limit) return 0;
    // If some of the lease is left, the claim costs more than that.
    if (this.#held(lease, now) === 0 && lease.used < lease.units) return lease.used;
    const wish = GROWTH * (lease.units + 1) - 1;
    const elapsed = now - lease.askedAt;
    const restMs = Math.min(...lease.grant.restsMs) - elapsed;
    if (elapsed <= 0 || restMs <= 0 || this.#fadePerMs(limit) !== undefined) return wish;
    return Math.min(wish, Math.ceil(((lease.used + cost) * restMs) / elapsed));
  }

  /** Adds a new lease to what is left of the old one. */
  add({ key, limit }: Claim, grant: Grant, askedAt: number, era: number): void {
    if (era !== this.#era) return;
    const now = Date.now();
    const lease = this.#leases.get(key);
    let held = lease === undefined ? 0 : this.#held(lease, now);
    if (lease !== undefined && lease.limit !== limit && held > 0) return;
    // Redis grants nothing more until all of the old lease is available. By this process's clock, some of it may still not be.
    if (held > 0) held -= Math.min(held, duesOf(lease as Lease, now));
    let wholeUntil = askedAt + grant.leaseMs;
    // Both lose units from the earlier of the two times on.
    if (held > 0) wholeUntil = Math.min(wholeUntil, Math.max(now, (lease as Lease).wholeUntil));
    this.#leases.set(key, {
      limit,
      askedAt,
      repliedAt: now,
      wholeUntil,
      units: held + grant.ahead,
      used: 0,
      spentAt: now,
      grant,
    });
  }

  /** Adds the lease to what remains in a decision of Redis. */
  told(claim: Claim, decision: Decision, now: number): Decision {
    const lease = this.#leases.get(claim.key);
    if (!decision.allowed || lease === undefined || lease.limit !== claim.limit) return decision;
    const held = this.#held(lease, now);
    if (held === 0) return decision;
    const there = Math.max(0, held - duesOf(lease, now));
    const elapsed = now - lease.askedAt;
    const quotaStates = decision.quotaStates.map(({ remaining, resetMs }, i) => {
      if (remaining > 0) return { remaining: remaining + there, resetMs };
      if (there === 0) return { remaining, resetMs: this.#coversMs(lease, 1, now) ?? resetMs };
      return { remaining: there, resetMs: Math.max(0, (lease.grant.restsMs[i] ?? resetMs) - elapsed) };
    });
    return { ...decision, quotaStates };
  }

  forget(key: string): void {
    this.#era++;
    this.#leases.delete(key);
  }

  /** Milliseconds until the lease covers this cost, if it ever does: units become available, and others may expire meanwhile. */
  #coversMs(lease: Lease, cost: number, now: number): number | undefined {
    let held = this.#held(lease, now);
    while (held >= cost) {
      const waitMs = comesMs(lease, held - cost, now);
      const left = this.#held(lease, now + waitMs);
      if (left === held) return waitMs;
      held = left;
    }
    return undefined;
  }

  #held(lease: Lease, now: number): number {
    // The clock was set back, so the age of the lease is unknown.
    if (now < lease.askedAt) return 0;
    if (now < lease.wholeUntil) return lease.units - lease.used;
    const fadePerMs = this.#fadePerMs(lease.limit);
    if (fadePerMs === undefined) return 0;
    const faded = Math.ceil((now - lease.wholeUntil) * fadePerMs);
    return Math.max(0, lease.units - Math.max(lease.used, faded));
  }
}

const duesOf = ({ grant: { dues = NO_DUES }, repliedAt }: Lease, now: number): number =>
  dues.length === 0 ? 0 : notYet(dues, now - repliedAt);

/** Milliseconds until at most `left` of it is not available. */
const comesMs = ({ grant: { dues = NO_DUES }, repliedAt }: Lease, left: number, now: number): number =>
  Math.max(0, msUntil(dues, left) - (now - repliedAt));
