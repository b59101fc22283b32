import type { GatewayEvents } from '../../core/events.ts';
import type { TrafficSource } from '../metrics/traffic-totals.ts';
import type { LastError, ProcessStatus } from '../status/status-snapshot.ts';
import type { StatusBreaker, StatusLimiter, StatusProxy } from '../status/status-sources.ts';
import type { ForwardedPeers } from './forwarded-peers.ts';
import type { ProcessWarnings } from './process-warnings.ts';
import type { RecentCounts } from './recent.ts';

/** What the problems of a process that serves traffic are found in. Most of it is read every two seconds, and costs no request anything. */
export interface TrafficSources {
  readonly events: GatewayEvents;
  readonly metrics: TrafficSource;
  readonly limiters: readonly StatusLimiter[];
  readonly breakers: readonly StatusBreaker[];
  /** Of single routes. */
  readonly routeBreakers: readonly StatusBreaker[];
  readonly proxies: readonly StatusProxy[];
  readonly load: { loop(): Pick<ProcessStatus, 'pid' | 'loopMaxMs'> };
  readonly errors: { last(proxy: string, backend: string): LastError | undefined };
  /** Attempts that failed, and responses of 5xx, by `backendKey()` and by status or cause. */
  readonly failedAttempts: RecentCounts;
  readonly peers: ForwardedPeers;
  readonly warnings: ProcessWarnings;
}
