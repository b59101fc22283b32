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
      text: `Retries of a request that may be repeated, each at another backend. An attempt of which no
        byte was sent does not count.`,
      default: '1',
      read: integer(0, 100),
    },
    RETRY_BUDGET_RATIO: {
      text: 'Retry budget: retries as a share of all requests of the last ten seconds, from 0 to 1. It keeps retries from multiplying the load on failing backends.',
      default: '0.2',
      read: decimal({ from: 0, to: 1 }),
    },
    RETRY_BUDGET_MINIMUM: {
      text: 'Retries that may always be in progress at a time, so that a gateway with little traffic can retry.',
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
