import type { GatewayEvents } from '../../core/gateway-events.ts';
import type { TrafficSource } from '../metrics/traffic-totals.ts';
import type { LastError, ProcessStatus } from '../status/status-snapshot.ts';
import type { StatusBreaker, StatusLimiter, StatusProxy } from '../status/status-sources.ts';
import type { ForwardedPeers } from './forwarded-peers.ts';
import type { ProcessWarnings } from './process-warnings.ts';
import type { RecentCounts } from './recent.ts';

/** The sources in which detectors find problems of a process that serves traffic. Most are read every two seconds and cost requests nothing. */
export interface TrafficSources {
  readonly events: GatewayEvents;
  readonly metrics: TrafficSource;
  readonly limiters: readonly StatusLimiter[];
  readonly breakers: readonly StatusBreaker[];
  /** Counts of single routes. */
  readonly routeBreakers: readonly StatusBreaker[];
  readonly proxies: readonly StatusProxy[];
  readonly load: { loop(): Pick<ProcessStatus, 'pid' | 'loopMaxMs'> };
  readonly errors: { last(service: string, backend: string): LastError | undefined };
  /** Failed attempts, and responses with 5xx, by `backendKey()`, then by status or cause. */
  readonly failedAttempts: RecentCounts;
  readonly peers: ForwardedPeers;
  readonly warnings: ProcessWarnings;
}
