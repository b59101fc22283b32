import type { Backend } from '../backends/backend.ts';
import type { BackendPool, MembershipChange } from '../backends/backend-pool.ts';
import { type BackendSource, Discovery, type DiscoveryObserver } from '../backends/discovery/discovery.ts';
import type { ResolvedDnsOptions } from '../backends/discovery/discovery-options.ts';
import { GatewayError } from '../core/errors.ts';
import type { GatewayEvents } from '../core/gateway-events.ts';
import type { AllConnections } from './transport/all-connections.ts';

/** The parts of a proxy that a change of membership concerns. */
export interface MembershipParts {
  readonly pool: BackendPool;
  readonly health: { membershipChanged(change: MembershipChange): void };
  readonly connections: AllConnections;
  readonly tunnels: { cut(backend: Backend): void };
  /** Requests that wait for a backend. */
  readonly queue: { advance(): void } | undefined;
  readonly events: GatewayEvents;
}

export interface MembershipOptions {
  /** Name of the proxy. */
  readonly name: string;
  readonly dns: ResolvedDnsOptions;
  readonly drainTimeoutMs: number;
}

/** Decides which backends are in the pool, by the configured list and DNS, and drains those that leave. */
export class Membership implements DiscoveryObserver {
  readonly #parts: MembershipParts;
  readonly #discovery: Discovery;
  readonly #service: string;
  readonly #drainTimeoutMs: number;
  /** Timers that cut off backends which left the pool. */
  readonly #deadlines = new Map<Backend, NodeJS.Timeout>();
  #closed = false;

  constructor(parts: MembershipParts, options: MembershipOptions, sources: readonly BackendSource[]) {
    this.#parts = parts;
    this.#service = options.name;
    this.#drainTimeoutMs = options.drainTimeoutMs;
    this.#discovery = new Discovery(options.dns, this);
    this.#discovery.follow(sources);
    this.#discovery.advance();
    this.#apply();
  }

  /**
   * Replaces the list, at once or after the first look-up of its new names. Until then the present list stays, and its names are followed.
   *
   * @throws {GatewayError} ERR_EXPRESSWAY_CLOSED
   */
  replace(sources: readonly BackendSource[]): void {
    if (this.#closed) throw new GatewayError('ERR_EXPRESSWAY_CLOSED', 'setBackends: the proxy is closed');
    this.#discovery.follow(sources);
    this.#applyAndTell();
  }

  ready(): Promise<void> {
    return this.#discovery.ready();
  }

  /** Stops the look-ups. The backends in the pool stay. */
  stopDiscovery(): void {
    this.#discovery.close();
  }

  close(): void {
    this.#closed = true;
    this.#discovery.close();
    // Late requests must not open connections that are never closed.
    this.#parts.pool.setBackends([]);
    for (const timer of this.#deadlines.values()) clearTimeout(timer);
    this.#deadlines.clear();
  }

  changed(): void {
    this.#applyAndTell();
  }

  failed(name: string, error: Error, backends: number, again: boolean): void {
    this.#parts.events.emit('discoveryFailed', { service: this.#service, name, error, backends, again });
  }

  recovered(name: string, removed: boolean): void {
    this.#parts.events.emit('discoveryRecovered', { service: this.#service, name, removed });
  }

  #applyAndTell(): void {
    const change = this.#apply();
    if (change === undefined || change.added.length + change.removed.length === 0) return;
    const { events } = this.#parts;
    const added = origins(change.added);
    events.emit('backendsChanged', { service: this.#service, added, removed: origins(change.removed) });
  }

  #apply(): MembershipChange | undefined {
    const { pool, health, connections, queue } = this.#parts;
    if (this.#closed) return undefined;
    if (this.#discovery.isNextKnown) this.#discovery.advance();
    const backends = this.#discovery.backends();
    // The pool must not become empty because DNS does not know the new names.
    if (backends.length === 0) return undefined;
    const change = pool.setBackends(backends);
    health.membershipChanged(change);
    for (const backend of change.added) this.#clearDeadline(backend);
    for (const backend of change.removed) {
      connections.remove(backend.identity);
      if (backend.inFlight > 0 && this.#drainTimeoutMs > 0) this.#setDeadline(backend);
    }
    queue?.advance();
    return change;
  }

  #setDeadline(backend: Backend): void {
    const { connections, tunnels } = this.#parts;
    const timer = setTimeout(() => {
      this.#deadlines.delete(backend);
      connections.cut(backend.identity);
      tunnels.cut(backend);
    }, this.#drainTimeoutMs);
    this.#deadlines.set(backend, timer.unref());
  }

  #clearDeadline(backend: Backend): void {
    clearTimeout(this.#deadlines.get(backend));
    this.#deadlines.delete(backend);
  }
}

function origins(backends: readonly Backend[]): string[] {
  return backends.map(({ origin }) => origin);
}
