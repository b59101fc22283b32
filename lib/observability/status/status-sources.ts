import type { CircuitStateName, HealthVerdict, LimiterMode } from '../../core/events.ts';
import { type Check, optional } from '../../core/options.ts';
import type { ConcurrencyStatus, HoldName, LoadStatus } from './status-snapshot.ts';

/** One backend of a service. */
export interface StatusBackend {
  readonly backend: string;
  readonly circuit: CircuitStateName;
  readonly health: HealthVerdict;
  readonly held: HoldName | undefined;
  readonly weight: number;
  readonly available: boolean;
  readonly inFlight: number;
  readonly retryAfterMs: number;
  readonly lastCheckAt: number | undefined;
  /** Its adaptive limit, if it has one. */
  readonly concurrency?: ConcurrencyStatus | undefined;
}

/** The result of `roundRobinProxy()`. */
export interface StatusProxy {
  readonly name: string;
  /** The response timeout, in milliseconds. */
  readonly responseTimeoutMs?: number | undefined;
  status(): readonly StatusBackend[];
  load(): LoadStatus;
}

/** One route, described for people. */
export interface StatusRoute {
  readonly name: string;
  /** Which requests it matches. */
  readonly match: string;
  /** Its services, or its fixed response. */
  readonly target: string;
  readonly limits: readonly string[];
  /** The circuit breaker of the whole route. */
  readonly circuit?: StatusBreaker | undefined;
  /** Its limiters. */
  readonly limiters?: readonly StatusLimiter[] | undefined;
}

/** The result of `serviceRouter()`. */
export interface StatusRouter {
  /** The proxies of the services. */
  readonly services?: ReadonlyMap<string, StatusProxy> | undefined;
  routes(): readonly StatusRoute[];
}

/** The result of `ipRateLimit()`. */
export interface StatusLimiter {
  readonly name: string;
  readonly mode: LimiterMode;
  /** The last error of its shared store, while a fallback counts. */
  readonly storeError?: Error | undefined;
}

/** The result of `circuitBreaker()`. */
export interface StatusBreaker {
  readonly name: string;
  readonly state: CircuitStateName;
  retryAfterMs(): number;
}

/** A `node:http` server. */
export interface StatusServer {
  getConnections(callback: (error: Error | null, count: number) => void): unknown;
  maxConnections?: number;
}

/** Check for a list of middlewares. It looks at their properties, so that any object with those is accepted. */
export const sourcesCheck = (maker: string, ...members: readonly string[]): Check =>
  optional((value) =>
    Array.isArray(value) && value.every((one) => isObject(one) && members.every((member) => member in one))
      ? undefined
      : `must be an array of results of ${maker}()`,
  );

const isObject = (value: unknown): value is object =>
  (typeof value === 'object' || typeof value === 'function') && value !== null;
