import type { Exchange } from '../core/exchange.ts';
import type { Backend, BackendStatus } from './backend.ts';
import type { BackendConfig } from './backend-url.ts';
import type { SelectionPolicy } from './selection-policy.ts';

/** How membership changed. */
export interface MembershipChange {
  readonly added: readonly Backend[];
  readonly removed: readonly Backend[];
}

/** The group of backends that share the traffic. Membership is replaced whole, never spliced. */
export class BackendPool {
  readonly #policy: SelectionPolicy;
  readonly #makeBackend: (config: BackendConfig) => Backend;
  #backends: readonly Backend[] = [];

  constructor(policy: SelectionPolicy, makeBackend: (config: BackendConfig) => Backend) {
    this.#policy = policy;
    this.#makeBackend = makeBackend;
  }

  get backends(): readonly Backend[] {
    return this.#backends;
  }

  select(exchange: Exchange, tried: readonly Backend[]): Backend | undefined {
    return this.#policy.select(this.#backends, exchange, tried);
  }

  /** A backend that stays keeps its circuit, its requests and its connections. */
  setBackends(configs: readonly BackendConfig[]): MembershipChange {
    const before = new Map(this.#backends.map((backend) => [backend.origin, backend]));
    const added: Backend[] = [];
    const after = configs.map((config) => {
      const staying = before.get(config.url.origin);
      staying?.configure(config);
      if (staying !== undefined) return staying;
      const backend = this.#makeBackend(config);
      added.push(backend);
      return backend;
    });
    const removed = this.#backends.filter((backend) => !after.includes(backend));
    this.#backends = Object.freeze(after);
    return { added, removed };
  }

  /** Milliseconds to the earliest moment at which a backend may be available again. */
  retryAfterMs(): number {
    let earliest = Number.POSITIVE_INFINITY;
    for (const backend of this.#backends) earliest = Math.min(earliest, backend.circuit.retryAfterMs());
    return Number.isFinite(earliest) ? earliest : 0;
  }

  status(): BackendStatus[] {
    return this.#backends.map((backend) => backend.status());
  }
}
