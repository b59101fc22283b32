import type { CertificateFacts } from '../config/certificates.ts';
import type { MisspeltVariable } from '../config/misspelt-variables.ts';
import type { ReloadScope } from '../reload/prepared-reload.ts';

/** Whether lines of the log can be written. */
export interface LogHealth {
  /** Number of dropped lines. */
  readonly dropped: number;
  /** The present error of writing; `undefined` if writing works. */
  readonly failure?: { readonly code: string; readonly message: string; readonly since: number } | undefined;
}

/** The end of a worker that was not stopped on purpose. */
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
  /** When the present certificate expires, if there is one. */
  readonly until: number | undefined;
}

/** What reads the configuration again: a reload of some or all of it, or the replacement of the workers (SIGUSR2). */
export type ReloadKind = ReloadScope | 'workers';

export interface RejectedReload {
  readonly why: string;
  readonly from: string | undefined;
  readonly problems: readonly string[];
}

/** The kinds whose rejections a newer reload makes obsolete, whatever comes of it: those that read no more than it does. */
const OBSOLETE: Readonly<Record<ReloadKind, readonly ReloadKind[]>> = {
  backends: ['backends'],
  certificates: ['certificates'],
  all: ['all', 'backends', 'certificates'],
  workers: ['workers', 'all', 'backends', 'certificates'],
};

const KEPT_CRASHES = 50;
const KEPT_ADDRESSES = 64;

/** Facts that the parts of the gateway report for `gateway-problems.ts`. */
export class GatewayState {
  log: LogHealth | undefined;
  /** The certificates that the listener uses. */
  certificates: readonly CertificateFacts[] = [];
  /** By DNS name, until it has a certificate. */
  readonly acmeFailures = new Map<string, AcmeFailure>();
  misspelt: readonly MisspeltVariable[] = [];
  readonly #rejectedReloads = new Map<ReloadKind, RejectedReload>();
  #crashes: readonly WorkerCrash[] = [];
  /** `Date.now()` when an idle admin connection of an address was last closed to make room, and how many it held. */
  readonly #crowding = new Map<string, { at: number; held: number; max: number }>();

  get rejectedReloads(): ReadonlyMap<ReloadKind, RejectedReload> {
    return this.#rejectedReloads;
  }

  reloaded(kind: ReloadKind): void {
    for (const obsolete of OBSOLETE[kind]) this.#rejectedReloads.delete(obsolete);
  }

  /** One that reads less does not make up for it. A changed file of backends says nothing about a certificate that could not be used. */
  rejected(kind: ReloadKind, rejected: RejectedReload): void {
    this.reloaded(kind);
    this.#rejectedReloads.set(kind, rejected);
  }

  /** Keeps only the failures of these names. */
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

  /** Reports that nearly all admin connections are in use. */
  crowded(address: string, held: number, max: number): void {
    if (!this.#crowding.has(address) && this.#crowding.size >= KEPT_ADDRESSES) this.#crowding.clear();
    this.#crowding.set(address, { at: Date.now(), held, max });
  }
}
