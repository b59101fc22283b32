import { warnOfThrow } from './warnings.ts';

/**
 * Why an attempt got no complete answer from its backend. The labels are the error types of
 * RFC 9209 §2.3, so that log, metric and `Proxy-Status` say the same word.
 */
export type FailureCause =
  | 'dns_error'
  | 'connection_refused'
  | 'destination_ip_unroutable'
  | 'connection_timeout'
  | 'connection_terminated'
  | 'tls_certificate_error'
  | 'tls_protocol_error'
  | 'http_protocol_error'
  | 'http_response_header_section_size'
  | 'http_response_timeout'
  | 'http_response_incomplete'
  | 'http_upgrade_failed'
  | 'connection_read_timeout'
  | 'handler_timeout'
  | 'handler_error';

/** Why the gateway itself refused a request. */
export type RejectionCause =
  | 'rate_limited'
  | 'client_denied'
  | 'limiter_unavailable'
  | 'circuit_open'
  | 'no_backend'
  | 'overloaded'
  | 'gateway_resources'
  | 'client_overload'
  | 'client_timeout'
  | 'bad_request'
  | 'content_too_large'
  | 'target_too_long'
  | 'head_too_large'
  | 'expectation_failed'
  | 'method_not_allowed'
  | 'loop_detected'
  | 'not_implemented'
  | 'version_not_supported'
  | 'content_already_read'
  | 'upgrade_not_supported';

/** Why a request had no complete answer of a backend. */
export type Cause = FailureCause | RejectionCause | 'client_abort';

/** A complete answer, whatever its status. */
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
  /** Whether the client has already received the head of an answer. */
  readonly headSent: boolean;
  /** Set when a kept connection turned out to be closed: the race of an idle time-out, for which nobody is to blame. */
  readonly unused?: boolean;
  /** For the client: what it waited for in vain, and the option that says how long. */
  readonly detail?: string | undefined;
}

/** The client left before its answer was complete. Nobody else is to blame. */
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
  /** What the gateway itself ran into, where that is why. The client is not told. */
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

/** What an outcome says about the health of whoever was asked. */
export type Verdict = 'success' | 'failure' | 'neutral';

export const ABORTED: Aborted = Object.freeze({ kind: 'aborted' });

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
