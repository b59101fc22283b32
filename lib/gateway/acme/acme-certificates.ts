import { X509Certificate } from 'node:crypto';
import type { Logger } from '../logging/logger.ts';
import type { GatewayState } from '../observing/gateway-state.ts';
import { importAcme, orderCertificate } from './acme-order.ts';
import { type AcmeStore, FolderStore, RedisStore } from './acme-store.ts';
import { type AcmeConfig, acmeFile } from './acme-variables.ts';

/** Milliseconds between two looks at all certificates. After that time, a gateway has the certificate that another one got. */
const LOOK_EVERY_MS = 10_000;
/** Milliseconds. An order is usually shorter. */
const LOCK_MS = 120_000;
/** Milliseconds to the second attempt; later waits double. Authorities allow few failures per hour and name. */
const FIRST_RETRY_MS = 60_000;
const LONGEST_RETRY_MS = 6 * 3_600_000;
/** A certificate is renewed after this share of its lifetime. Of 90 days, 30 are left for further attempts. */
const RENEW_AFTER = 2 / 3;

export interface AcmeParts {
  /** Gives the present configuration: a reload may change the names. */
  readonly config: () => AcmeConfig | undefined;
  readonly redisUrl: string | undefined;
  readonly log: Logger;
  readonly state: GatewayState;
}

export function acmeStore(config: AcmeConfig, redisUrl: string | undefined): AcmeStore {
  if (!config.isShared || redisUrl === undefined) return new FolderStore(config.folder);
  return new RedisStore(redisUrl, `expressway:acme:${new URL(config.directoryUrl).host}:`);
}

/**
 * Keeps a certificate for each name of `ACME_DOMAINS` in `ACME_FOLDER`. It gets and renews certificates, and copies those that another
 * gateway has put into Redis. The listeners watch the files.
 */
export class AcmeCertificates {
  readonly #parts: AcmeParts;
  readonly #files: AcmeStore;
  /** The same object as `#files`, unless gateways share through Redis. */
  readonly #shared: AcmeStore;
  readonly #failures = new Map<string, { count: number; retryAt: number; delayMs: number }>();
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(config: AcmeConfig, parts: AcmeParts) {
    this.#parts = parts;
    this.#files = new FolderStore(config.folder);
    this.#shared = config.isShared ? acmeStore(config, parts.redisUrl) : this.#files;
  }

  /** @throws {StartError} when the package is missing. */
  async prepare(): Promise<void> {
    // Before the gateway listens, because loading the package blocks the event loop.
    await importAcme();
  }

  /** Call it when the gateway listens: the authority connects to it. */
  open(): void {
    void this.#lookAtAll();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#shared.close();
  }

  async #lookAtAll(): Promise<void> {
    const config = this.#parts.config();
    for (const domain of config?.domains ?? []) {
      if (this.#isClosed) return;
      await this.#look(domain, config as AcmeConfig);
    }
    this.#parts.state.keepAcmeFailures(config?.domains ?? []);
    if (!this.#isClosed) this.#timer = setTimeout(() => void this.#lookAtAll(), LOOK_EVERY_MS).unref();
  }

  async #look(domain: string, config: AcmeConfig): Promise<void> {
    const name = acmeFile(domain);
    let present: string | undefined;
    try {
      present = await this.#files.read(name);
      present = await this.#latest(name, present);
      if (present !== undefined && !isDue(present)) this.#fine(domain);
      else if (this.#isTimeFor(domain)) await this.#renew(domain, config);
    } catch (error) {
      const isNeeded = present === undefined || isDue(present);
      // While the certificate is valid, nothing is needed from Redis, so its absence is no problem.
      if (isNeeded && !this.#isClosed && this.#isTimeFor(domain)) {
        this.#failed(domain, error as Error, present === undefined ? undefined : validTo(present));
      }
    }
  }

  /** Compares the file with the shared certificate, copies the one that expires later to the other place, and gives it. */
  async #latest(name: string, own: string | undefined): Promise<string | undefined> {
    if (this.#shared === this.#files) return own;
    const theirs = await this.#shared.read(name);
    if (own === theirs) return own;
    const isOwn = theirs === undefined || (own !== undefined && validTo(own) >= validTo(theirs));
    const latest = isOwn ? own : theirs;
    if (latest !== undefined) await (isOwn ? this.#shared : this.#files).write(name, latest);
    return latest;
  }

  async #renew(domain: string, config: AcmeConfig): Promise<void> {
    const lock = `locks/${domain}`;
    if (!(await this.#shared.lock(lock, LOCK_MS))) return;
    try {
      const text = await orderCertificate(domain, config, this.#shared);
      await this.#shared.write(acmeFile(domain), text);
      if (this.#shared !== this.#files) await this.#files.write(acmeFile(domain), text);
      this.#fine(domain);
      this.#parts.log.info({ domain, validTo: new X509Certificate(text).validTo }, 'certificate issued');
    } finally {
      await this.#shared.remove(lock);
    }
  }

  /** A clock that was wrong is itself a reason for a failure. If it was set back since, the next attempt must not wait until it has caught up. */
  #isTimeFor(domain: string): boolean {
    const { retryAt, delayMs } = this.#failures.get(domain) ?? { retryAt: 0, delayMs: 0 };
    const left = retryAt - Date.now();
    return left <= 0 || left > delayMs;
  }

  #fine(domain: string): void {
    this.#failures.delete(domain);
    this.#parts.state.acmeFailures.delete(domain);
  }

  #failed(domain: string, { message }: Error, until: number | undefined): void {
    const count = (this.#failures.get(domain)?.count ?? 0) + 1;
    const delayMs = Math.min(FIRST_RETRY_MS * 2 ** (count - 1), LONGEST_RETRY_MS);
    const retryAt = Date.now() + delayMs;
    this.#failures.set(domain, { count, retryAt, delayMs });
    this.#parts.state.acmeFailures.set(domain, { message, retryAt, until });
    this.#parts.log.error({ domain, error: message, retryAt: new Date(retryAt) }, 'certificate not issued');
  }
}

const validTo = (pem: string): number => Date.parse(new X509Certificate(pem).validTo);

function isDue(pem: string): boolean {
  const { validFrom, validTo: end } = new X509Certificate(pem);
  const from = Date.parse(validFrom);
  return Date.now() >= from + (Date.parse(end) - from) * RENEW_AFTER;
}
