import { CAUSES, type Cause, type FailureCause, type RejectionCause } from './causes.ts';
import { isGrpcFailure } from './grpc.ts';
import { notPromise } from './http.ts';
import { thrown, warnOfThrow } from './warnings.ts';

export type { Cause, FailureCause, RejectionCause } from './causes.ts';

/** A complete response, whatever its status. */
export interface Completed {
  readonly kind: 'completed';
  readonly status: number;
  /** `grpc-status` of the response; nothing for other responses than those of gRPC. */
  readonly grpcStatus?: number | undefined;
}

/** The backend, or the guarded handler, is to blame. */
export interface Failed {
  readonly kind: 'failed';
  readonly cause: FailureCause;
  readonly error: Error;
  /** Whether any byte of the request may have reached a backend: if not, any method may be tried elsewhere. */
  readonly sent: boolean;
  /** Whether the client has already received the head of a response. */
  readonly headSent: boolean;
  /** Set when a kept connection turned out to be closed: the race of an idle timeout, which is the fault of neither side. */
  readonly unused?: boolean;
  /** Text for the client about a timeout, with the option that sets it. */
  readonly detail?: string | undefined;
}

/** The client left before its response was complete. This counts against no backend. */
export interface Aborted {
  readonly kind: 'aborted';
}

/** The gateway rejected the request, without a backend or after a failed attempt. */
export interface Rejected {
  readonly kind: 'rejected';
  readonly cause: RejectionCause;
  /** Milliseconds until a new attempt makes sense. */
  readonly retryAfterMs?: number;
  readonly detail?: string | undefined;
  /** The error of the gateway itself, if that is the reason. The client does not see it. */
  readonly error?: Error;
}

/** The fault of a request. */
export interface RequestFault {
  readonly cause: RejectionCause;
  readonly detail: string;
  /** Set when the path alone is ambiguous; `encoded-slash` when an encoded slash is the only thing wrong with it. */
  readonly ambiguous?: 'encoded-slash' | 'path' | undefined;
}

/** How an attempt, or a whole exchange, ended. Traffic failures are values: nothing on the request path throws them. */
export type Outcome = Completed | Failed | Aborted | Rejected;

/** Why the client got no complete response of a backend; `undefined` if it got one. */
export function causeOf(outcome: Outcome): Cause | undefined {
  switch (outcome.kind) {
    case 'completed':
      return undefined;
    case 'aborted':
      return 'client_abort';
    default:
      return outcome.cause;
  }
}

/** Status that an outcome has in logs and metrics, and for the client if no response has begun. */
export function statusOf(outcome: Outcome): number {
  if (outcome.kind === 'completed') return outcome.status;
  return CAUSES[causeOf(outcome) as Cause].status;
}

/** The meaning of an outcome for the health of the backend, or of the guarded handler. */
export type Verdict = 'success' | 'failure' | 'neutral';

export const ABORTED: Aborted = Object.freeze({ kind: 'aborted' });

/** A function of the app threw, or the app broke off its response, so that no backend is to blame. */
export const handlerError = (error: unknown, headSent: boolean): Failed => ({
  kind: 'failed',
  cause: 'handler_error',
  error: error instanceof Error ? error : new Error(thrown(error)),
  sent: false,
  headSent,
});

/**
 * The only place that decides about blame. A 5xx, a failure, and a failure of gRPC count against the backend, or the guarded handler. A client that leaves and
 * a rejection by the gateway do not count. Everything else is a success.
 */
export function verdictOf(outcome: Outcome): Verdict {
  switch (outcome.kind) {
    case 'completed':
      return outcome.status >= 500 || isGrpcFailure(outcome.grpcStatus) ? 'failure' : 'success';
    case 'failed':
      return outcome.unused === true ? 'neutral' : 'failure';
    default:
      return 'neutral';
  }
}

/** A rule for {@link judge}: of the responses, only those with these statuses fail. `undefined` for the usual rule. */
export const failureByStatus = (statuses: readonly number[] | undefined): ((outcome: Outcome) => boolean) | undefined =>
  statuses &&
  ((outcome) => outcome.kind !== 'completed' || statuses.includes(outcome.status) || isGrpcFailure(outcome.grpcStatus));

/**
 * The verdict with the user's own rule. The rule is not called for outcomes that never count. If it throws, a process warning says so once,
 * and our rule decides: without a verdict, a trial would stay undecided for ever.
 */
export function judge(outcome: Outcome, isFailure: ((outcome: Outcome) => boolean) | undefined): Verdict {
  const verdict = verdictOf(outcome);
  if (isFailure === undefined || verdict === 'neutral') return verdict;
  try {
    return notPromise(isFailure(outcome), 'isFailure') ? 'failure' : 'success';
  } catch (error) {
    warnOfThrow(isFailure, 'WARN_EXPRESSWAY_IS_FAILURE', 'isFailure threw, the default rule is used', error);
    return verdict;
  }
}
