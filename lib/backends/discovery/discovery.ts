import type { BackendConfig } from '../backend-url.ts';
import type { DiscoveryName } from './discovery-name.ts';
import type { ResolvedDnsOptions } from './discovery-options.ts';
import { type DiscoveryObserver, Refresh } from './refresh.ts';

export type { DiscoveryObserver } from './refresh.ts';

/** A backend, or a name that stands for some. */
export type BackendSource = BackendConfig | DiscoveryName;

/** Turns a list of backends and DNS names into backends, and follows the DNS records of the names. */
export class Discovery {
  readonly #options: ResolvedDnsOptions;
  readonly #observer: DiscoveryObserver;
  /** The list in use, and the one that follows it, which is the same unless it waits for its names. */
  #inUse: readonly BackendSource[] = [];
  #next: readonly BackendSource[] = [];
  /** The names of both lists. */
  readonly #names = new Map<string, Refresh>();
  #waiting: PromiseWithResolvers<void> | undefined;

  constructor(options: ResolvedDnsOptions, observer: DiscoveryObserver) {
    this.#options = options;
    this.#observer = {
      changed: () => {
        observer.changed();
        this.#wakeWhenSettled();
      },
      failed: (...args) => observer.failed(...args),
      recovered: (...args) => observer.recovered(...args),
    };
  }

  /**
   * Sets the list that is used after `advance()`. A name that stays keeps its known backends; a new name is looked up now. The names of the list in
   * use are followed until then.
   */
  follow(sources: readonly BackendSource[]): void {
    this.#next = sources;
    for (const source of sources) {
      if (!isName(source)) continue;
      const staying = this.#names.get(source.url);
      if (staying !== undefined) {
        staying.configure(source);
        continue;
      }
      const refresh = new Refresh(source, this.#options, this.#observer);
      this.#names.set(source.url, refresh);
      void refresh.start();
    }
    this.#dropUnused();
    this.#wakeWhenSettled();
  }

  /** Uses the list that was set last. */
  advance(): void {
    this.#inUse = this.#next;
    this.#dropUnused();
  }

  /** Whether each name of the list that was set last was looked up, and there are backends. */
  get isNextKnown(): boolean {
    return this.settled && this.#backendsOf(this.#next).length > 0;
  }

  /** The known backends of the list in use, in its order. Of several with the same origin the first one counts. */
  backends(): BackendConfig[] {
    return this.#backendsOf(this.#inUse);
  }

  #backendsOf(sources: readonly BackendSource[]): BackendConfig[] {
    const found = new Map<string, BackendConfig>();
    for (const source of sources) {
      const configs = isName(source) ? (this.#names.get(source.url)?.backends ?? []) : [source];
      for (const config of configs) if (!found.has(config.url.origin)) found.set(config.url.origin, config);
    }
    return [...found.values()];
  }

  /** Whether each name of the list that was set last was looked up once, with or without success. */
  get settled(): boolean {
    return this.#next.every((source) => !isName(source) || this.#names.get(source.url)?.tried !== false);
  }

  /** Waits until it is settled, or closed. */
  async ready(): Promise<void> {
    if (this.settled) return;
    this.#waiting ??= Promise.withResolvers();
    await this.#waiting.promise;
  }

  close(): void {
    this.#inUse = [];
    this.follow([]);
  }

  #dropUnused(): void {
    const used = new Set([...this.#inUse, ...this.#next].filter(isName).map(({ url }) => url));
    for (const [name, refresh] of this.#names) {
      if (used.has(name)) continue;
      this.#names.delete(name);
      refresh.close();
    }
  }

  #wakeWhenSettled(): void {
    if (!this.settled) return;
    this.#waiting?.resolve();
    this.#waiting = undefined;
  }
}

function isName(source: BackendSource): source is DiscoveryName {
  return 'kind' in source;
}
