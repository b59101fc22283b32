import type { Backend } from '../backends/backend.ts';
import type { BackendPool, MembershipChange } from '../backends/backend-pool.ts';
import { type EjectionRule, Ejections } from '../backends/health/ejections.ts';
import type { Probe } from '../backends/health/health-check.ts';
import type { ResolvedHealthCheckOptions } from '../backends/health/health-check-options.ts';
import { HealthChecker } from '../backends/health/health-checker.ts';
import { ReturnWatch, type TryConnection } from '../backends/health/return-watch.ts';
import type { GatewayEvents } from '../core/gateway-events.ts';
import type { ResponseFields } from './response/response-head.ts';
import { type RetryAfterOptions, restMs } from './response/retry-after.ts';
import type { BackendProtocol } from './transport/all-connections.ts';
import type { BackendTlsOptions } from './transport/backend-tls.ts';
import { connectionProbe, healthProbe } from './transport/health-probe.ts';

export interface PoolHealthOptions extends EjectionRule {
  /** Name of the proxy. */
  readonly name: string;
  /** Without a path there are no active checks. */
  readonly healthCheck: Omit<ResolvedHealthCheckOptions, 'path'> & { readonly path?: string | undefined };
  readonly respectRetryAfter: false | Required<RetryAfterOptions>;
  readonly tls?: BackendTlsOptions;
  readonly protocol?: BackendProtocol;
  readonly connectTimeoutMs: number;
}

/**
 * Decides about the backends of a pool by all but the failures of requests: active checks, `Retry-After` of backends, and backends that
 * accept connections again.
 */
export class PoolHealth {
  readonly #ejections: Ejections;
  readonly #retryAfter: false | Required<RetryAfterOptions>;
  readonly #checker: HealthChecker | undefined;
  readonly #returnWatch: ReturnWatch;
  readonly #connectTimeoutMs: number;
  readonly #protocol: BackendProtocol;
  #probe: Probe;
  #tryConnection: TryConnection;

  /**
   * @param maxHoldMs Milliseconds for which failed checks may hold back the trials of an open circuit.
   * @param freed Called when a backend may have become available; `undefined` without a queue.
   */
  constructor(
    options: PoolHealthOptions,
    maxHoldMs: number,
    pool: BackendPool,
    events: GatewayEvents,
    freed: (() => void) | undefined,
  ) {
    this.#ejections = new Ejections(options, () => pool.backends, freed);
    this.#connectTimeoutMs = options.connectTimeoutMs;
    const { tls = {}, protocol = 'http1' } = options;
    this.#protocol = protocol;
    this.#probe = healthProbe(tls, protocol);
    this.#tryConnection = connectionProbe(tls, options.connectTimeoutMs, protocol);
    this.#returnWatch = new ReturnWatch(
      (backend) => this.#tryConnection(backend),
      ({ circuit }) => circuit.reset(),
    );
    this.#retryAfter = options.respectRetryAfter;
    const { name: service, healthCheck } = options;
    const { path } = healthCheck;
    if (path === undefined) return;
    this.#checker = new HealthChecker(
      { ...healthCheck, path, maxHoldMs },
      (backend, probing) => this.#probe(backend, probing),
      (backend, from, to, error) => {
        this.#ejections.reconsider(backend);
        events.emit('healthChange', { service, backend: backend.origin, from, to, error });
      },
      (backend, error) => {
        // Later, because after this call the check may readmit a backend, or no longer hold back the trials of an open circuit.
        if (freed !== undefined) queueMicrotask(freed);
        events.emit('healthChecked', { service, backend: backend.origin, error });
      },
    );
  }

  /** Applies to later checks. */
  setTls(tls: BackendTlsOptions): void {
    this.#probe = healthProbe(tls, this.#protocol);
    this.#tryConnection = connectionProbe(tls, this.#connectTimeoutMs, this.#protocol);
  }

  membershipChanged(change: MembershipChange): void {
    this.#ejections.membershipChanged(change.removed);
    this.#checker?.membershipChanged(change);
    this.#returnWatch.membershipChanged(change);
  }

  /** A backend sent the head of a response. The client need not get it. */
  responded(backend: Backend, status: number, fields: ResponseFields): void {
    if (this.#retryAfter === false) return;
    const ms = restMs(status, fields, this.#retryAfter);
    if (ms !== undefined) this.#ejections.rest(backend, ms);
  }

  close(): void {
    this.#checker?.close();
    this.#returnWatch.close();
    this.#ejections.close();
  }
}
