import { CAUSES, type Cause, type FailureCause, type RejectionCause } from './causes.ts';
import { thrown, warnOfThrow } from './warnings.ts';

export type { Cause, FailureCause, RejectionCause } from './causes.ts';

/** A complete response, whatever its status. */
export interface Completed {
  readonly kind: 'completed';
  readonly status: number;
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
  /** Set when a kept connection turned out to be closed: the race of an idle timeout, for which neither side is to blame. */
  readonly unused?: boolean;
  /** For the client: what it waited for in vain, and the option that says how long. */
  readonly detail?: string | undefined;
}

/** The client left before its response was complete. It counts against no backend. */
export interface Aborted {
  readonly kind: 'aborted';
}

/** The gateway refused, and no backend was asked (or asked again). */
export interface Rejected {
  readonly kind: 'rejected';
  readonly cause: RejectionCause;
  /** Milliseconds until it is worth trying again. */
  readonly retryAfterMs?: number;
  readonly detail?: string | undefined;
  /** What the gateway itself ran into, where that is why. The client does not see it. */
  readonly error?: Error;
}

/** What is wrong with a request. */
export interface RequestFault {
  readonly cause: RejectionCause;
  readonly detail: string;
  /** Set when its only fault is a path that servers read in different ways; `encoded-slash`: nothing else is odd about it. */
  readonly ambiguous?: 'encoded-slash' | 'path' | undefined;
}

/** How an attempt, or a whole exchange, ended. Traffic failures are values: nothing on the request path throws them. */
export type Outcome = Completed | Failed | Aborted | Rejected;

/** Why the client got no complete response of a backend; nothing where it got one. */
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

/** What an outcome says about the health of the backend, or of the guarded handler. */
export type Verdict = 'success' | 'failure' | 'neutral';

export const ABORTED: Aborted = Object.freeze({ kind: 'aborted' });

/** A function of the app threw, so that no backend is to blame. */
export const handlerError = (error: unknown, headSent: boolean): Failed => ({
  kind: 'failed',
  cause: 'handler_error',
  error: error instanceof Error ? error : new Error(thrown(error)),
  sent: false,
  headSent,
});

/**
 * The one place where blame is decided: a 5xx and a failure count against the guarded party, a client
 * that leaves and a refusal of our own count for nothing, all else is a success.
 */
export function verdictOf(outcome: Outcome): Verdict {
  switch (outcome.kind) {
    case 'completed':
      return outcome.status >= 500 ? 'failure' : 'success';
    case 'failed':
      return outcome.unused === true ? 'neutral' : 'failure';
    default:
      return 'neutral';
  }
}

/**
 * The verdict with a rule of the user's own in place of ours. It is not asked about what counts for nothing anyway.
 * A rule that throws becomes a process warning, once, and ours stands: thrown on, it would leave a trial undecided for ever.
 */
export function judge(outcome: Outcome, isFailure: ((outcome: Outcome) => boolean) | undefined): Verdict {
  const verdict = verdictOf(outcome);
  if (isFailure === undefined || verdict === 'neutral') return verdict;
  try {
    return isFailure(outcome) ? 'failure' : 'success';
  } catch (error) {
    warnOfThrow(isFailure, 'WARN_EXPRESSWAY_IS_FAILURE', 'isFailure threw, the default rule is used', error);
    return verdict;
  }
}
