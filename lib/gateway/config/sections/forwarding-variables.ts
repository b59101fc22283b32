import { decimal, durationMs, integer, ofOneService, section } from '../variable.ts';

export interface ForwardingConfig {
  readonly connectTimeoutMs: number;
  readonly responseTimeoutMs: number;
  readonly idleTimeoutMs: number;
  /** When a request is sent again, to another backend. */
  readonly retry: { readonly attempts: number; readonly budgetRatio: number; readonly budgetMinimum: number };
}

export const forwarding = section(
  'Forwarding: timeouts and retries',
  ofOneService({
    CONNECT_TIMEOUT_MS: {
      text: 'How long connecting to a backend may take, in milliseconds.',
      default: '2000',
      read: durationMs,
    },
    RESPONSE_TIMEOUT_MS: {
      text: `How long a backend may take to begin its response, in milliseconds; then the client gets 504. It counts against the backend
        only if that has not responded to any request, or passed a health check, in the meantime. Long polls need more than their own
        timeout.`,
      default: '60000',
      read: durationMs,
    },
    IDLE_TIMEOUT_MS: {
      text: 'How long a response may pause, in milliseconds (event streams and WebSockets may do so for ever).',
      default: '60000',
      read: durationMs,
    },
    RETRY_ATTEMPTS: {
      text: `How often a request that may be repeated is sent again after a failure, each time to another backend. An attempt of which no
        byte was sent does not count.`,
      default: '1',
      read: integer(0, 100),
    },
    RETRY_BUDGET_RATIO: {
      text: 'Retries per request over the last ten seconds, from 0 to 1: retries do not multiply the load on backends in trouble...',
      default: '0.2',
      read: decimal({ from: 0, to: 1 }),
    },
    RETRY_BUDGET_MINIMUM: {
      text: '...but this many may always be in progress at a time, so that a quiet gateway can retry at all.',
      default: '3',
      read: integer(0),
    },
  }),
  (read): ForwardingConfig => ({
    connectTimeoutMs: read.CONNECT_TIMEOUT_MS,
    responseTimeoutMs: read.RESPONSE_TIMEOUT_MS,
    idleTimeoutMs: read.IDLE_TIMEOUT_MS,
    retry: {
      attempts: read.RETRY_ATTEMPTS,
      budgetRatio: read.RETRY_BUDGET_RATIO,
      budgetMinimum: read.RETRY_BUDGET_MINIMUM,
    },
  }),
);
