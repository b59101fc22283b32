import type { CertificateFacts } from '../config/certificates.ts';
import type { MisspeltVariable } from '../config/misspelt-variables.ts';

/** Where the log goes, and how that works out. */
export interface LogHealth {
  /** Lines that were not written, so far. */
  readonly dropped: number;
  /** What writing fails with, until it works again. */
  readonly failure?: { readonly code: string; readonly message: string; readonly since: number } | undefined;
}

/** How a worker ended that was not stopped on purpose. */
export interface WorkerCrash {
  readonly at: number;
  readonly worker: number;
  /** `code 1`, or the name of a signal. */
  readonly how: string;
}

/** Why a name of `ACME_DOMAINS` has no new certificate. */
export interface AcmeFailure {
  readonly message: string;
  /** `Date.now()` of the next attempt. */
  readonly retryAt: number;
  /** Until when the present one is valid, if there is one. */
  readonly until: number | undefined;
}

const KEPT_CRASHES = 50;
const KEPT_ADDRESSES = 64;

/** What the parts of the gateway note about themselves, for its problems: `gateway-problems.ts` looks here. */
export class GatewayState {
  log: LogHealth | undefined;
  /** Those of the listener that are in use. */
  certificates: readonly CertificateFacts[] = [];
  /** By name, until it has one. */
  readonly acmeFailures = new Map<string, AcmeFailure>();
  misspelt: readonly MisspeltVariable[] = [];
  /** The last reload, if it was rejected. */
  rejectedReload:
    | { readonly why: string; readonly from: string | undefined; readonly problems: readonly string[] }
    | undefined;
  #crashes: readonly WorkerCrash[] = [];
  /** `Date.now()` when an idle admin connection of an address was last closed to make room, and how many it held. */
  readonly #crowding = new Map<string, { at: number; held: number; max: number }>();

  /** Forgets those of names that are no longer wanted. */
  keepAcmeFailures(domains: readonly string[]): void {
    for (const domain of this.acmeFailures.keys()) if (!domains.includes(domain)) this.acmeFailures.delete(domain);
  }

  get crashes(): readonly WorkerCrash[] {
    return this.#crashes;
  }

  crashed(crash: WorkerCrash): void {
    this.#crashes = [...this.#crashes, crash].slice(-KEPT_CRASHES);
  }

  get crowding(): ReadonlyMap<string, { readonly at: number; readonly held: number; readonly max: number }> {
    return this.#crowding;
  }

  /** Nearly all admin connections are taken. */
  crowded(address: string, held: number, max: number): void {
    if (!this.#crowding.has(address) && this.#crowding.size >= KEPT_ADDRESSES) this.#crowding.clear();
    this.#crowding.set(address, { at: Date.now(), held, max });
  }
}
