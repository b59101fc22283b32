import type { BackendConfig } from '../backend-url.ts';
import type { DiscoveryName } from './discovery-name.ts';
import type { ResolvedDnsOptions } from './discovery-options.ts';
import { type Answer, Lookup, NO_ANSWER } from './lookup.ts';

/** Gets the changes of discovered names. */
export interface DiscoveryObserver {
  /** The backends of a name have changed, or it was looked up for the first time. */
  changed(): void;
  /** Called once for each reason (its code), not per try; `again` if it failed before. The known backends stay in use. */
  failed(name: string, error: Error, backends: number, again: boolean): void;
  /** The first successful lookup after a failure, or, if `removed`, the end of the lookups while they fail. */
  recovered(name: string, removed: boolean): void;
}

/** Milliseconds between two lookups, however short the TTL is. */
const MIN_REFRESH_MS = 1_000;
const FIRST_RETRY_MS = 1_000;
const MAX_RETRY_MS = 30_000;

/** Keeps one discovered name up to date. */
export class Refresh {
  readonly #options: ResolvedDnsOptions;
  readonly #observer: DiscoveryObserver;
  #source: DiscoveryName;
  #answer: Answer = NO_ANSWER;
  #failures = 0;
  /** Code of the last error that was reported; empty for one without a code. */
  #reason: string | undefined;
  #tried = false;
  #closed = false;
  #lookup: Lookup | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(source: DiscoveryName, options: ResolvedDnsOptions, observer: DiscoveryObserver) {
    this.#source = source;
    this.#options = options;
    this.#observer = observer;
  }

  /** Whether it was looked up once, with or without success. */
  get tried(): boolean {
    return this.#tried;
  }

  get backends(): readonly BackendConfig[] {
    const { weight: factor, keepAlive } = this.#source;
    const own = keepAlive === false ? { keepAlive } : {};
    return this.#answer.backends.map((config) => ({ ...config, ...own, weight: config.weight * factor }));
  }

  /** Takes over the options that may change while the name stays in the list. */
  configure(source: DiscoveryName): void {
    this.#source = source;
  }

  async start(): Promise<void> {
    this.#lookup = new Lookup(this.#source, this.#options);
    const answer = await this.#lookup.run(this.#answer);
    this.#lookup = undefined;
    if (this.#closed) return;
    this.#timer = setTimeout(() => void this.start(), this.#report(answer)).unref();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#lookup?.cancel();
    if (this.#failures > 0) this.#observer.recovered(this.#source.url, true);
  }

  /** @returns Milliseconds until the next lookup. */
  #report(answer: Answer): number {
    const isNews = !this.#tried || !sameBackends(answer.backends, this.#answer.backends);
    const failedBefore = this.#failures > 0;
    const { error } = answer;
    const reason = error && ((error as NodeJS.ErrnoException).code ?? '');
    this.#tried = true;
    this.#answer = answer;
    this.#failures = error === undefined ? 0 : this.#failures + 1;
    const { url } = this.#source;
    if (error !== undefined && reason !== this.#reason) {
      this.#observer.failed(url, error, answer.backends.length, failedBefore);
    }
    this.#reason = reason;
    if (error === undefined && failedBefore) this.#observer.recovered(url, false);
    if (isNews) this.#observer.changed();
    const wanted = Math.max(MIN_REFRESH_MS, Math.min(this.#options.refreshMs, answer.ttlMs));
    return error === undefined ? wanted : Math.min(wanted, MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** (this.#failures - 1));
  }
}

function sameBackends(one: readonly BackendConfig[], other: readonly BackendConfig[]): boolean {
  const text = ({ url, weight, name }: BackendConfig): string => `${url.origin} ${weight} ${name}`;
  return one.length === other.length && one.every((config, index) => text(config) === text(other[index]!));
}
