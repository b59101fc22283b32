import { decimal, durationMs, durationMsOrZero, got, integer, ofOneService, optional, section } from '../variable.ts';

export interface HealthConfig {
  readonly circuit: {
    readonly failureRatio: number;
    readonly minimumRequests: number;
    readonly windowMs: number;
    readonly openMs: number;
    readonly halfOpenRequests: number;
    readonly failureStatuses?: readonly number[];
  };
  /** There are no health checks without a path. */
  readonly healthCheck: { readonly path: string | undefined; readonly intervalMs: number; readonly timeoutMs: number };
}

export const health = section(
  'Circuit breakers and health checks',
  ofOneService({
    CIRCUIT_FAILURE_RATIO: {
      text: 'A circuit opens when this share of the requests failed: over 0, up to 1.',
      default: '0.6',
      read: decimal({ over: 0, to: 1 }),
    },
    CIRCUIT_MINIMUM_REQUESTS: {
      text: "Requests that must be in the window before a circuit may open. The route's own circuit needs as many for each backend.",
      default: '5',
      read: integer(1),
    },
    CIRCUIT_WINDOW_MS: {
      text: 'Window in which requests count for a circuit, in milliseconds; 0 is for as long as the circuit is closed.',
      default: '10000',
      read: durationMsOrZero,
    },
    CIRCUIT_OPEN_MS: {
      text: 'How long an open circuit lets nothing through, in milliseconds.',
      default: '10000',
      read: durationMs,
    },
    CIRCUIT_HALF_OPEN_REQUESTS: {
      text: 'Trial requests after CIRCUIT_OPEN_MS. When all of them succeed, the circuit closes.',
      default: '3',
      read: integer(1),
    },
    CIRCUIT_FAILURE_STATUSES: {
      text: `Statuses of responses that count as failures, like 502,503,504. Empty: all from 500; then a client that knows a URL with a
        fault can open the circuits for all clients.`,
      read: optional(statuses),
    },
    HEALTH_CHECK_PATH: {
      text: `Path that each backend is asked for to see whether it is healthy, like /healthz; a status from 200 to 299 passes. Three
        failed checks in a row take a backend out, two passed ones bring it back. Empty: no checks.`,
      read: optional(path),
    },
    HEALTH_CHECK_INTERVAL_MS: {
      text: 'Pause between two checks of a backend, in milliseconds, a fifth more or less; 2000 while it is unhealthy.',
      default: '10000',
      read: durationMs,
    },
    HEALTH_CHECK_TIMEOUT_MS: {
      text: 'How long a check may take, in milliseconds.',
      default: '2000',
      read: durationMs,
    },
  }),
  (read): HealthConfig => ({
    circuit: {
      failureRatio: read.CIRCUIT_FAILURE_RATIO,
      minimumRequests: read.CIRCUIT_MINIMUM_REQUESTS,
      windowMs: read.CIRCUIT_WINDOW_MS,
      openMs: read.CIRCUIT_OPEN_MS,
      halfOpenRequests: read.CIRCUIT_HALF_OPEN_REQUESTS,
      ...(read.CIRCUIT_FAILURE_STATUSES === undefined ? {} : { failureStatuses: read.CIRCUIT_FAILURE_STATUSES }),
    },
    healthCheck: {
      path: read.HEALTH_CHECK_PATH,
      intervalMs: read.HEALTH_CHECK_INTERVAL_MS,
      timeoutMs: read.HEALTH_CHECK_TIMEOUT_MS,
    },
  }),
);

function statuses(text: string): readonly number[] {
  const items = text.split(',').map((item) => item.trim());
  if (items.every((item) => /^5\d\d$/.test(item))) return items.map(Number);
  throw new Error(`must be a list of statuses from 500 to 599 like 502,503,504, ${got(text)}`);
}

function path(text: string): string {
  if (/^\/[^\s#]*$/.test(text)) return text;
  throw new Error(`must be a path like /healthz, ${got(text)}`);
}
