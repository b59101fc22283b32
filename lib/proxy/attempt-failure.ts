import type { Failed, FailureCause, RejectionCause } from '../core/outcome.ts';
import type { AttemptTimeouts } from './attempt-owner.ts';
import type { ClientResponse } from './client-response.ts';
import { bytesReadBefore } from './transport/all-connections.ts';
import { UnprocessedError } from './transport/failure.ts';

/** Milliseconds in which a backend may close a connection before a request arrives that was sent on it. */
export const IDLE_CLOSE_RACE_MS = 1_000;

/** How far an attempt had come when it failed. */
export interface FailedAttempt {
  /** Whether a byte of the request may have reached the backend. */
  readonly sent: boolean;
  /** Whether the backend has begun a response. */
  readonly isResponding: boolean;
  /** Whether the client has the head of the response. */
  readonly headSent: boolean;
  /** Milliseconds since its last sign of progress. */
  readonly silentMs: number;
}

export function failedOutcome(cause: FailureCause, error: Error, attempt: FailedAttempt): Failed {
  const { sent, isResponding, headSent, silentMs } = attempt;
  const failed = { kind: 'failed', cause, error, sent, headSent } as const;
  if (error instanceof UnprocessedError) return { ...failed, sent: false, unused: error.isLeaving };
  // The request was sent so recently that the backend may have closed the connection before it read the request.
  const unused =
    cause === 'connection_terminated' &&
    sent &&
    !isResponding &&
    bytesReadBefore(error) > 0 &&
    silentMs < IDLE_CLOSE_RACE_MS;
  return unused ? { ...failed, unused } : failed;
}

/** The timeout that a request in flight has run into. */
export interface RunOutTimeout {
  readonly cause: FailureCause | (RejectionCause & 'client_timeout');
  readonly message: string;
  /** Text for the client. */
  readonly detail?: string;
}

/** @returns `undefined` while a request that has been silent for that long may go on. */
export function timeoutAfter(
  silentMs: number,
  { status, upload }: ClientResponse,
  { responseTimeoutMs, idleTimeoutMs }: AttemptTimeouts,
): RunOutTimeout | undefined {
  if (status !== 0) {
    return {
      cause: 'connection_read_timeout',
      message: `The backend sent nothing for ${idleTimeoutMs} ms (idleTimeoutMs, IDLE_TIMEOUT_MS)`,
    };
  }
  if (upload?.starved !== true) {
    const message = `The backend sent no response within ${responseTimeoutMs} ms (responseTimeoutMs, RESPONSE_TIMEOUT_MS)`;
    return { cause: 'http_response_timeout', message, detail: `${message}.` };
  }
  return silentMs < idleTimeoutMs ? undefined : { cause: 'client_timeout', message: 'the client stopped sending' };
}
