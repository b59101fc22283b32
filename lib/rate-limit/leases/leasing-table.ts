import type { Claim, Decision } from '../meter.ts';
import { RecentMap } from '../recent-map.ts';
import type { Grant } from './grant.ts';
import { type Due, msUntil, notYet } from './grant.ts';

/** About 40 MB, were it ever full. A lease that is forgotten early is lost quota. */
const MOST_LEASES = 100_000;

/** How much more a client gets that has used up what it got: with 4, a gateway learns in three trips what it needs. */
const GROWTH = 4;
const NO_DUES: readonly Due[] = Object.freeze([]);

interface Lease {
  readonly limit: number | undefined;
  /** Redis was asked. */
  readonly askedAt: number;
  /** Its reply came: what is due then comes no earlier than by Redis's clock. */
  readonly repliedAt: number;
  readonly wholeUntil: number;
  readonly units: number;
  /** Of these units; also those that have faded. */
  used: number;
  /** Something of it, last. */
  spentAt: number;
  readonly grant: Grant;
}

/**
 * What this gateway may still spend of the quotas of clients: it is charged in Redis already. After `wholeUntil` a lease fades by
 * so many units per millisecond, or is gone at once where that is `undefined`.
 */
export class LeaseTable {
  readonly #leases = new RecentMap<Lease>(MOST_LEASES);
  readonly #fadePerMs: (limit: number | undefined) => number | undefined;
  #era = 0;

  constructor(fadePerMs: (limit: number | undefined) => number | undefined) {
    this.#fadePerMs = fadePerMs;
  }

  /** Changes when a client is forgotten: what was asked before that must not be kept after it. */
  get era(): number {
    return this.#era;
  }

  /** Whether a lease for this claim can be kept: not while another limit's share is held, which would be lost. */
  fits({ key, limit }: Claim, now: number): boolean {
    const lease = this.#leases.get(key);
    return lease === undefined || lease.limit === limit || this.#held(lease, now) === 0;
  }

  /** Whether nothing is known here of a client with this limit. */
  isNew({ key, limit }: Claim): boolean {
    const lease = this.#leases.get(key);
    return lease === undefined || lease.limit !== limit;
  }

  /** Spends what a claim costs, if so much is held. The decision says how Redis stood, without what is held here. */
  spend(claim: Claim, now: number): Decision | undefined {
    const lease = this.#leases.get(claim.key);
    if (lease === undefined || lease.limit !== claim.limit) return undefined;
    const held = this.#held(lease, now);
    if (held === 0 || claim.cost > held - duesOf(lease, now)) return undefined;
    lease.used = lease.units - held + claim.cost;
    lease.spentAt = now;
    const { quotaStates, restsMs } = lease.grant;
    const elapsed = now - lease.askedAt;
    return {
      allowed: true,
      retryAfterMs: 0,
      quotaStates: quotaStates.map(({ remaining, resetMs }, i) => ({
        remaining,
        resetMs: Math.max(0, (held > claim.cost ? (restsMs[i] as number) : resetMs) - elapsed),
      })),
    };
  }

  /** The denial of a claim that what is due to this gateway will cover, and nothing that is there yet. */
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

  /** Milliseconds in which a client used one of what it had here, on average. */
  everMs({ key, limit }: Claim): number {
    const lease = this.#leases.get(key);
    if (lease === undefined || lease.limit !== limit || lease.used === 0) return 0;
    return (lease.spentAt - lease.askedAt) / lease.used;
  }

  /** Whether something is due to this gateway: then Redis alone cannot say how long a claim has to wait. */
  awaits({ key, limit }: Claim, now: number): boolean {
    const lease = this.#leases.get(key);
    return lease !== undefined && lease.limit === limit && this.#held(lease, now) > 0 && duesOf(lease, now) > 0;
  }

  /**
   * What to wish for: nothing for a client that is new here; then several times as much each time that it used up all it
   * got, or what it used; and never more than what it will use at its pace while a lease can be kept.
   */
  wish({ key, cost, limit }: Claim, now: number): number {
    const lease = this.#leases.get(key);
    if (lease === undefined || lease.limit !== limit) return 0;
    // Where some is still held, the claim that comes costs more than that.
    if (this.#held(lease, now) === 0 && lease.used < lease.units) return lease.used;
    const wish = GROWTH * (lease.units + 1) - 1;
    const elapsed = now - lease.askedAt;
    const restMs = Math.min(...lease.grant.restsMs) - elapsed;
    if (elapsed <= 0 || restMs <= 0 || this.#fadePerMs(limit) !== undefined) return wish;
    return Math.min(wish, Math.ceil(((lease.used + cost) * restMs) / elapsed));
  }

  /** Keeps what a trip has brought, with what is still held. */
  add({ key, limit }: Claim, grant: Grant, askedAt: number, era: number): void {
    if (era !== this.#era) return;
    const now = Date.now();
    const lease = this.#leases.get(key);
    let held = lease === undefined ? 0 : this.#held(lease, now);
    if (lease !== undefined && lease.limit !== limit && held > 0) return;
    // Redis charges nothing more before all is there; only by this clock something may be missing still.
    if (held > 0) held -= Math.min(held, duesOf(lease as Lease, now));
    let wholeUntil = askedAt + grant.leaseMs;
    // Both fade together from the earlier moment on; what the older one has faded by then is gone.
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

  /** A decision of Redis with what is held here added to what remains. */
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

  /** Milliseconds until a lease covers so much, if it ever does: what is due comes, and what is held may fade meanwhile. */
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
    // A clock that was set back says nothing about the age of a lease.
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

/** Milliseconds until no more than so much of it is not there yet. */
const comesMs = ({ grant: { dues = NO_DUES }, repliedAt }: Lease, left: number, now: number): number =>
  Math.max(0, msUntil(dues, left) - (now - repliedAt));
