import type { BackendPool } from '../backends/backend-pool.ts';
import type { RequestQueue } from '../backends/queue.ts';
import type { GatewayEvents } from '../core/events.ts';
import type { Outcome } from '../core/outcome.ts';
import type { AmbiguousPaths } from '../ingress/request-checks.ts';
import type { AttemptTimeouts } from './attempt-owner.ts';
import type { InFlightCaps } from './in-flight-caps.ts';
import type { PoolHealth } from './pool-health.ts';
import type { ReadBody } from './request/read-body.ts';
import type { RequestHeadRules } from './request/request-head.ts';
import type { RetryBudget } from './retry/retry-budget.ts';
import type { RetrySettings } from './retry/retry-rules.ts';
import type { Connections } from './transport/connections.ts';
import type { ResourceShortages } from './transport/resource-shortage.ts';
import type { Tunnels } from './tunnel/tunnels.ts';
import type { Watchdog } from './watchdog.ts';

/** What all forwardings of one proxy share. */
export interface ForwardingParts {
  readonly name: string;
  readonly pool: BackendPool;
  readonly health: PoolHealth;
  readonly connections: Connections;
  readonly watchdog: Watchdog;
  readonly timeouts: AttemptTimeouts;
  readonly rules: RequestHeadRules;
  readonly ambiguousPaths: AmbiguousPaths;
  /** Where bodies are that were read before. */
  readonly body: ReadBody | undefined;
  /** 0 for any number. */
  readonly maxBodyBytes: number;
  readonly events: GatewayEvents;
  readonly retry: RetrySettings;
  readonly budget: RetryBudget;
  /** Nothing when there are none. */
  readonly caps: InFlightCaps | undefined;
  /** Nothing when requests do not wait for a place. */
  readonly line: RequestQueue | undefined;
  readonly isFailure: ((outcome: Outcome) => boolean) | undefined;
  readonly tunnels: Tunnels;
  readonly shortages: ResourceShortages;
}
