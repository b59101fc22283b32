import { type Check, type Checks, described, durationMs, integer, optionalRatio } from '../../core/options.ts';

/** When a request is tried again, at another backend: `retry` of `roundRobinProxy()`. */
export interface RetryOptions {
  /**
   * Retries of a request that may be repeated, each at another backend. An attempt of which no byte was sent does not
   * count: the next backend gets the request, whatever its method. Default 1.
   */
  attempts?: number;
  /** Response statuses that are retried at another backend: any of 502, 503 and 504. Default none. */
  statuses?: readonly number[];
  /** Bytes of a request body that are kept for a retry. A request with a longer body is not retried. Default 65 536. */
  bufferBytes?: number;
  /** Milliseconds before the second retry, doubled for each later one, with jitter. The first retry does not wait. Default 25. */
  backoffMs?: number;
  /** Upper bound of the pause between retries, in milliseconds. Default 250. */
  maxBackoffMs?: number;
  /** Retry budget: retries as a share of all requests of the proxy in the last ten seconds. Default 0.2. */
  budgetRatio?: number;
  /** Retries that may be in progress at a time whatever `budgetRatio` allows. Default 3. */
  budgetMinimum?: number;
  /**
   * Deadline for all attempts of a request together, in milliseconds. No attempt starts after it, and none waits
   * longer for a response head. Default 30 000.
   */
  deadlineMs?: number;
}

export type RetrySettings = Required<RetryOptions>;

/** Defaults of {@link RetryOptions}. */
export const retryDefaults: RetrySettings = Object.freeze({
  attempts: 1,
  statuses: Object.freeze([]),
  bufferBytes: 65_536,
  backoffMs: 25,
  maxBackoffMs: 250,
  budgetRatio: 0.2,
  budgetMinimum: 3,
  deadlineMs: 30_000,
});

const RETRYABLE_STATUSES = [502, 503, 504];

const statuses: Check = described(
  (value) =>
    Array.isArray(value) && value.every((status) => RETRYABLE_STATUSES.includes(status))
      ? undefined
      : `must be an array of ${RETRYABLE_STATUSES.join(', ')}`,
  { type: 'array', items: { enum: RETRYABLE_STATUSES } },
);

export const retryChecks: Checks<RetryOptions> = {
  attempts: integer(0, 100),
  statuses,
  bufferBytes: integer(0, 64 * 1024 * 1024),
  backoffMs: durationMs,
  maxBackoffMs: durationMs,
  budgetRatio: optionalRatio,
  budgetMinimum: integer(0),
  deadlineMs: durationMs,
};

/** Idempotent methods (RFC 9110 §9.2.2). The proxy does not forward TRACE. */
export const IDEMPOTENT: ReadonlySet<string | undefined> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']);

/** Milliseconds to wait before a retry, from the second on: half fixed, half random. */
export function backoffMs(retry: number, settings: RetrySettings, random: () => number = Math.random): number {
  if (retry < 2) return 0;
  const full = Math.min(settings.maxBackoffMs, settings.backoffMs * 2 ** (retry - 2));
  return full / 2 + (random() * full) / 2;
}
