import type { Claim, Ruling, Standing } from './meter.ts';
import { RecentMap } from './recent-map.ts';

/** About 40 MB, were it ever full. A lease that is forgotten early is quota that nobody can spend. */
const MOST_LEASES = 100_000;

/** What one trip to Redis has brought. */
export interface Grant {
  /** Charged in Redis beyond the claim itself. */
  readonly ahead: number;
  /** Milliseconds for which all of it may be kept, counted from when Redis was asked. */
  readonly leaseMs: number;
  /** How Redis stands, with all of it charged: `resetMs` as for a claim of 1 where nothing is left. */
  readonly standings: readonly Standing[];
  /** Milliseconds until each window is over, or each bucket full. */
  readonly restsMs: readonly number[];
}

interface Lease {
  readonly limit: number | undefined;
  /** Redis was asked. */
  readonly askedAt: number;
  readonly wholeUntil: number;
  readonly units: number;
  /** Of these units; also those that have faded. */
  used: number;
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

  /** Spends what a claim costs, if so much is held. The ruling says how Redis stood, without what is held here. */
  spend(claim: Claim, now: number): Ruling | undefined {
    const lease = this.#leases.get(claim.key);
    if (lease === undefined || lease.limit !== claim.limit) return undefined;
    const held = this.#held(lease, now);
    if (held === 0 || claim.cost > held) return undefined;
    lease.used = lease.units - held + claim.cost;
    const { standings, restsMs } = lease.grant;
    const elapsed = now - lease.askedAt;
    return {
      allowed: true,
      retryAfterMs: 0,
      standings: standings.map(({ remaining, resetMs }, i) => ({
        remaining,
        resetMs: Math.max(0, (held > claim.cost ? (restsMs[i] as number) : resetMs) - elapsed),
      })),
    };
  }

  /**
   * What to wish for: nothing for a client that is new here, then twice as much each time that it used up all it got, or
   * what it used.
   */
  wish({ key, limit }: Claim, now: number): number {
    const lease = this.#leases.get(key);
    if (lease === undefined || lease.limit !== limit) return 0;
    // Where some is still held, the claim that comes costs more than that.
    return this.#held(lease, now) === 0 && lease.used < lease.units ? lease.used : 2 * lease.units + 1;
  }

  /** Keeps what a trip has brought, with what is still held. */
  add({ key, limit }: Claim, grant: Grant, askedAt: number, era: number): void {
    if (era !== this.#era) return;
    const now = Date.now();
    const lease = this.#leases.get(key);
    const held = lease === undefined ? 0 : this.#held(lease, now);
    if (lease !== undefined && lease.limit !== limit && held > 0) return;
    let wholeUntil = askedAt + grant.leaseMs;
    // Both fade together from the earlier moment on; what the older one has faded by then is gone.
    if (held > 0) wholeUntil = Math.min(wholeUntil, Math.max(now, (lease as Lease).wholeUntil));
    this.#leases.set(key, { limit, askedAt, wholeUntil, units: held + grant.ahead, used: 0, grant });
  }

  /** A ruling of Redis with what is held here added to what remains. */
  told(claim: Claim, ruling: Ruling, now: number): Ruling {
    const lease = this.#leases.get(claim.key);
    if (!ruling.allowed || lease === undefined || lease.limit !== claim.limit) return ruling;
    const held = this.#held(lease, now);
    if (held === 0) return ruling;
    const standings = ruling.standings.map(({ remaining, resetMs }, i) => ({
      remaining: remaining + held,
      resetMs: remaining > 0 ? resetMs : Math.max(0, (lease.grant.restsMs[i] ?? resetMs) - (now - lease.askedAt)),
    }));
    return { ...ruling, standings };
  }

  forget(key: string): void {
    this.#era++;
    this.#leases.delete(key);
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
