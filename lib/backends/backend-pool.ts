import type { Exchange } from '../core/exchange.ts';
import { warn } from '../core/warnings.ts';
import type { Backend, BackendStatus } from './backend.ts';
import { type BackendConfig, identityOf } from './backend-url.ts';
import { isCandidate, type SelectionPolicy } from './selection/selection-policy.ts';

/** How membership changed. */
export interface MembershipChange {
  readonly added: readonly Backend[];
  readonly removed: readonly Backend[];
}

/** The backends that share the traffic. The pool replaces their list as a whole, and never changes it in place. */
export class BackendPool {
  readonly #policy: SelectionPolicy;
  readonly #makeBackend: (config: BackendConfig) => Backend;
  #hasWarned = false;
  #backends: readonly Backend[] = [];
  /** Backends that left the list and still have requests. */
  #leaving: readonly Backend[] = [];

  constructor(policy: SelectionPolicy, makeBackend: (config: BackendConfig) => Backend) {
    this.#policy = policy;
    this.#makeBackend = makeBackend;
  }

  get backends(): readonly Backend[] {
    return this.#backends;
  }

  /** @param policy Default: the policy of the pool. */
  select(exchange: Exchange, tried: readonly Backend[], policy = this.#policy): Backend | undefined {
    return policy.select(this.#backends, exchange, tried);
  }

  /** The backend with this identity, if it is available and was not tried. */
  candidate(identity: string | undefined, tried: readonly Backend[]): Backend | undefined {
    if (identity === undefined) return undefined;
    return this.#backends.find((backend) => backend.identity === identity && isCandidate(backend, tried));
  }

  /** Whether `select()` would find a backend. The rotation does not move. */
  hasCandidate(tried: readonly Backend[]): boolean {
    return this.#backends.some((backend) => isCandidate(backend, tried));
  }

  /**
   * A backend that refuses connections, for a request that finds no available one. Of several, the one that has refused them for longest is
   * most likely back.
   */
  away(tried: readonly Backend[]): Backend | undefined {
    let found: Backend | undefined;
    for (const backend of this.#backends) {
      if (!backend.isAway || backend.weight === 0 || tried.includes(backend)) continue;
      if (found === undefined || backend.circuit.retryAfterMs() < found.circuit.retryAfterMs()) found = backend;
    }
    return found;
  }

  /**
   * Ends long open periods when every backend is out. They spare a backend for which others stand in; without any, clients would wait for
   * minutes after the end of an outage.
   *
   * @returns whether a backend is available now.
   */
  endLongWaits(): boolean {
    if (this.#backends.some((backend) => backend.isAvailable() || backend.isOnlyFull())) return false;
    for (const { circuit } of this.#backends) circuit.shortenOpenPeriod();
    return this.#backends.some((backend) => backend.isAvailable());
  }

  /** Whether a backend is full because of its adaptive limit. */
  hasLimited(tried: readonly Backend[]): boolean {
    return this.#backends.some((backend) => !tried.includes(backend) && backend.isAtLimit());
  }

  /** Whether a backend is unavailable only because it is full. */
  hasFull(tried: readonly Backend[]): boolean {
    return this.#backends.some((backend) => !tried.includes(backend) && backend.isOnlyFull());
  }

  /**
   * A backend that stays keeps its circuit, its requests and its connections. A backend that comes back while it still has requests
   * keeps its circuit and its count of requests as well.
   */
  setBackends(configs: readonly BackendConfig[]): MembershipChange {
    const before = new Map(this.#backends.map((backend) => [backend.identity, backend]));
    const leaving = new Map(this.#leaving.map((backend) => [backend.identity, backend]));
    const added: Backend[] = [];
    const after = configs.map((config) => {
      const identity = identityOf(config);
      const known = before.get(identity) ?? leaving.get(identity);
      known?.configure(config);
      const backend = known ?? this.#makeBackend(config);
      if (!before.delete(identity)) added.push(backend);
      leaving.delete(identity);
      return backend;
    });
    const removed = [...before.values()];
    this.#leaving = [...leaving.values(), ...removed].filter((backend) => backend.inFlight > 0);
    // No slow start for a whole new pool: its backends would still share the same load.
    if (this.#backends.length > 0) for (const backend of added) backend.returned();
    // A backend that left the list loses its operator state.
    for (const backend of added) backend.restore();
    this.#backends = Object.freeze(after);
    if (this.#policy.ignoresWeights === true) this.#warnOfWeights(configs);
    return { added, removed };
  }

  /** Warns once, because each DNS response may have other weights. */
  #warnOfWeights(configs: readonly BackendConfig[]): void {
    const weights = new Set(configs.map(({ weight }) => weight).filter((weight) => weight > 0));
    if (this.#hasWarned || weights.size < 2) return;
    this.#hasWarned = true;
    warn(
      'WARN_EXPRESSWAY_WEIGHTS',
      'The backends have different weights, but loadBalancing ignores them. Set loadBalancing to a policy that respects weights, ' +
        "such as 'weighted' (for sticky cookies: fallback; hosted gateway: LOAD_BALANCING), or leave the weights out",
    );
  }

  /** Milliseconds until a backend may be available again. */
  retryAfterMs(): number {
    let earliest = Number.POSITIVE_INFINITY;
    for (const backend of this.#backends) earliest = Math.min(earliest, backend.retryAfterMs());
    return Number.isFinite(earliest) ? earliest : 0;
  }

  /** Milliseconds until the next backend that is out may be available again; `Infinity` when none is out. */
  nextChangeMs(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const backend of this.#backends) {
      const ms = backend.retryAfterMs();
      if (ms > 0) next = Math.min(next, ms);
    }
    return next;
  }

  /**
   * Calls `act` for the backend of an origin. It may change the weight, as draining does: the pool then has a new array, because policies
   * copy weights and read them again only from a new array.
   *
   * @returns whether there is such a backend.
   */
  change(origin: string, act: (backend: Backend) => void): boolean {
    const found = this.#backends.find((backend) => backend.origin === origin);
    if (found === undefined) return false;
    act(found);
    this.#backends = Object.freeze([...this.#backends]);
    return true;
  }

  status(): BackendStatus[] {
    return this.#backends.map((backend) => backend.status());
  }
}
