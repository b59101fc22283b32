import { CAUSES, type Cause } from '../../core/causes.ts';
import { sum, type TrafficTotals } from '../metrics/traffic-totals.ts';

/** Requests between two readings of the totals, in the words of the status page. */
export interface TrafficCounts {
  readonly requests: number;
  readonly backendErrors: number;
  readonly gatewayErrors: number;
  readonly limited: number;
}

const SERVER_ERROR = 5;

/** All there were since the start. */
export function countsOf({ responses, causes, decisions }: TrafficTotals): TrafficCounts {
  const { gateway, backend } = responses;
  const others = notOurFault(causes);
  return {
    requests: sum(gateway) + sum(backend),
    backendErrors: (backend[SERVER_ERROR] as number) + others.backend,
    // Among the rest are those of the app itself, for which the status map has no cause.
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

/** Of the responses of 5xx that the gateway made, those that are not its own fault. */
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

/** A cause of a foreign version, by the metrics of another process. */
const OTHER = { status: 0, blame: 'gateway' } as const;
