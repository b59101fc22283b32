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
  #sources: readonly BackendSource[] = [];
  #names = new Map<string, Refresh>();
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

  /** Replaces the list. A name that stays keeps its known backends; a new name is looked up now. */
  follow(sources: readonly BackendSource[]): void {
    const before = this.#names;
    this.#sources = sources;
    this.#names = new Map();
    for (const source of sources) {
      if (!isName(source)) continue;
      const staying = before.get(source.url);
      staying?.configure(source);
      const refresh = staying ?? new Refresh(source, this.#options, this.#observer);
      this.#names.set(source.url, refresh);
      if (staying === undefined) void refresh.start();
    }
    for (const [name, refresh] of before) if (!this.#names.has(name)) refresh.close();
    this.#wakeWhenSettled();
  }

  /** The known backends, in the order of the list. Of several with the same origin the first one counts. */
  backends(): BackendConfig[] {
    const found = new Map<string, BackendConfig>();
    for (const source of this.#sources) {
      const configs = isName(source) ? (this.#names.get(source.url)?.backends ?? []) : [source];
      for (const config of configs) if (!found.has(config.url.origin)) found.set(config.url.origin, config);
    }
    return [...found.values()];
  }

  /** Whether each name was looked up once, with or without success. */
  get settled(): boolean {
    for (const refresh of this.#names.values()) if (!refresh.tried) return false;
    return true;
  }

  /** Waits until it is settled, or closed. */
  async ready(): Promise<void> {
    if (this.settled) return;
    this.#waiting ??= Promise.withResolvers();
    await this.#waiting.promise;
  }

  close(): void {
    this.follow([]);
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
