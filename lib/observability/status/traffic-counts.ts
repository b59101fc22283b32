import { CAUSES, type Cause } from '../../core/causes.ts';
import { sum, type TrafficTotals } from '../metrics/traffic-totals.ts';

/** Requests between two readings of the totals, in the categories of the status page. */
export interface TrafficCounts {
  readonly requests: number;
  readonly backendErrors: number;
  readonly gatewayErrors: number;
  readonly limited: number;
}

const SERVER_ERROR = 5;

/** The counts since the start. */
export function countsOf({ responses, causes, decisions }: TrafficTotals): TrafficCounts {
  const { gateway, backend, route } = responses;
  const others = notOurFault(causes);
  return {
    requests: sum(gateway) + sum(backend) + sum(route),
    backendErrors: (backend[SERVER_ERROR] as number) + others.backend,
    // The rest includes responses of the app itself, which have no cause.
    gatewayErrors: (gateway[SERVER_ERROR] as number) - others.backend - others.client,
    limited: decisions.reduce((all, { decision, count }) => (decision === 'limited' ? all + count : all), 0),
  };
}

export function difference(now: TrafficCounts, before: TrafficCounts): TrafficCounts {
  return {
    requests: now.requests - before.requests,
    backendErrors: now.backendErrors - before.backendErrors,
    gatewayErrors: now.gatewayErrors - before.gatewayErrors,
    limited: now.limited - before.limited,
  };
}

/** Responses with 5xx that the gateway made and did not cause. */
function notOurFault(causes: ReadonlyMap<string, number>): {
  readonly backend: number;
  readonly client: number;
} {
  let [backend, client] = [0, 0];
  for (const [cause, count] of causes) {
    const { status, blame } = CAUSES[cause as Cause] ?? OTHER;
    if (status < 500) continue;
    if (blame === 'backend') backend += count;
    else if (blame === 'client') client += count;
  }
  return { backend, client };
}

/** Whether a cause is known: another process may run another version. */
const OTHER = { status: 0, blame: 'gateway' } as const;
