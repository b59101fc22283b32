import type { CircuitStateName, HealthVerdict, LimiterMode } from '../../core/events.ts';
import type { HoldName, LoadStatus } from './status-snapshot.ts';

/** What `roundRobinProxy()` gave. */
export interface StatusProxy {
  readonly name: string;
  status(): readonly {
    readonly backend: string;
    readonly circuit: CircuitStateName;
    readonly health: HealthVerdict;
    readonly held: HoldName | undefined;
    readonly weight: number;
    readonly available: boolean;
    readonly inFlight: number;
    readonly retryAfterMs: number;
    readonly lastCheckAt: number | undefined;
  }[];
  load(): LoadStatus;
}

/** What `ipRateLimit()` gave. */
export interface StatusLimiter {
  readonly name: string;
  readonly mode: LimiterMode;
}

/** What `circuitBreaker()` gave. */
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
