import type { Exchange } from './exchange.ts';
import type { Outcome, RejectionCause } from './outcome.ts';
import type { LimiterMode } from './recorder.ts';

export type { LimiterMode } from './recorder.ts';

/** The state of a circuit. An operator holds an `isolated` circuit open. */
export type CircuitStateName = 'closed' | 'open' | 'half-open' | 'isolated';

/** The verdict of health checks about a backend; `unknown` before the first one, and without checks. */
export type HealthVerdict = 'unknown' | 'healthy' | 'unhealthy';

/** A request that was over its limit. */
export interface LimitedEvent {
  readonly exchange: Exchange;
  readonly limiter: string;
  readonly key: string;
  /** The limit that was reached; of several windows, the one with the longest wait. */
  readonly limit: number;
  /** Milliseconds until the request would pass. */
  readonly retryAfterMs: number;
  /** Whether the request passed all the same (shadow mode). */
  readonly shadow: boolean;
}

/** A response of a backend was forwarded to the client. */
export interface ForwardedEvent {
  readonly exchange: Exchange;
  /** Name of the service. */
  readonly service: string;
  readonly backend: string;
  readonly outcome: Outcome;
  /** Milliseconds from picking the backend to the end of its response. */
  readonly durationMs: number;
}

/**
 * What happened to a copy of a request: `sent` when the service responded; the others say why it did not. `failed` is an error of the
 * connection or the service.
 */
export type MirrorResult =
  | 'sent'
  | 'failed'
  | 'too_many'
  | 'body_too_large'
  | 'body_incomplete'
  | 'no_backend'
  | 'loop';

/** A copy of a mirrored request has ended. */
export interface MirroredEvent {
  /** The request that was copied. */
  readonly exchange: Exchange;
  /** Name of the service that got the copy. */
  readonly service: string;
  /** `undefined` when no backend was chosen. */
  readonly backend: string | undefined;
  readonly result: MirrorResult;
  readonly error: Error | undefined;
}

/** A request that the gateway itself responded to. */
export interface RejectedEvent {
  readonly exchange: Exchange;
  readonly outcome: Outcome;
  /** Name of the service that responded; `undefined` for the other middlewares. */
  readonly service?: string;
}

/** A connection that a hardened server ended. */
export interface ClientRefusedEvent {
  readonly cause: RejectionCause;
  /** Status of the response; `undefined` when the connection was closed without one. */
  readonly status?: number | undefined;
  /** What was wrong, if the cause does not say it all. */
  readonly detail?: string | undefined;
  /** Port of a listener that has all its connections (`connection_limit`); `undefined` for other causes. */
  readonly port?: number | undefined;
  /** Address of the peer; `undefined` when the connection is gone. */
  readonly address: string | undefined;
  /** The request in progress that this ends; `undefined` when no middleware had seen a request yet. */
  readonly exchange: Exchange | undefined;
}

/** An attempt failed, perhaps in the middle of a response. */
export interface AttemptFailedEvent {
  readonly exchange: Exchange;
  /** Name of the service. */
  readonly service: string;
  readonly backend: string;
  readonly outcome: Outcome;
  /** Whether another backend is asked next. */
  readonly retried: boolean;
}

/** A change of state of a circuit. */
export interface CircuitStateChangeEvent {
  /** The backend's origin, or the name of the guarded route. */
  readonly circuit: string;
  /** Name of the service whose backend it is; `undefined` for a `circuitBreaker()`. */
  readonly service?: string;
  readonly from: CircuitStateName;
  readonly to: CircuitStateName;
  /** Milliseconds until the next trial, when `to` is `open`. A backend that accepts connections again may get its trial earlier. */
  readonly retryAfterMs: number;
}

/** A new verdict of the active health checks. */
export interface HealthChangeEvent {
  /** Name of the service. */
  readonly service: string;
  /** The backend's origin. */
  readonly backend: string;
  readonly from: HealthVerdict;
  readonly to: HealthVerdict;
  /** The error of the last check, when `to` is `unhealthy`. */
  readonly error: Error | undefined;
}

/** One active health check that has ended. */
export interface HealthCheckedEvent {
  /** Name of the service. */
  readonly service: string;
  /** The backend's origin. */
  readonly backend: string;
  /** The error of the check; `undefined` when it passed. */
  readonly error: Error | undefined;
}

/** Describes each mode of a limiter, for the log and the status page. */
export const LIMITER_MODE_TEXTS: Readonly<Record<LimiterMode, string>> = Object.freeze({
  redis: 'counts in Redis again',
  memory: 'counts in this process',
  local: 'fell back to local counting',
  open: 'lets all requests pass',
  closed: 'rejects all requests',
});

/** The mode of a limiter has changed: another store counts, or none. */
export interface LimiterModeChangeEvent {
  readonly limiter: string;
  readonly from: LimiterMode;
  readonly to: LimiterMode;
  /** The error of the store, when it failed. */
  readonly error: Error | undefined;
}

/** Backends were added or removed. */
export interface BackendsChangedEvent {
  /** Name of the service. */
  readonly service: string;
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

/** The DNS lookup of a name failed. */
export interface DiscoveryFailedEvent {
  /** Name of the service. */
  readonly service: string;
  /** As in the list of backends, like `dns://api.example:8080`. */
  readonly name: string;
  readonly error: Error;
  /** Number of its backends from earlier lookups, which stay in use. */
  readonly backends: number;
  /** Whether it failed before, for another reason. */
  readonly again: boolean;
}

/** The DNS lookup of a name that failed works again, or has ended. */
export interface DiscoveryRecoveredEvent {
  /** Name of the service. */
  readonly service: string;
  readonly name: string;
  /** Whether it still failed and is no longer looked up: the name has left the list, or its proxy was closed. */
  readonly removed: boolean;
}

/** The gateway's own machine has run out of something that a connection needs. */
export interface ResourceShortageEvent {
  /** Name of the service. */
  readonly service: string;
  /** `EMFILE`, `ENFILE`, `EADDRNOTAVAIL`, `ENOBUFS` or `ENOMEM`. */
  readonly code: string;
  /** What is missing, in words. */
  readonly description: string;
  readonly error: Error;
}

/** `critical`: clients get errors. `warning`: an operator should act. `notice`: information, nothing is wrong. */
export type ProblemSeverity = 'critical' | 'warning' | 'notice';

/** A problem, as status page, `/status` and log show it to operators. */
export interface GatewayProblem {
  /** Name of the kind, and label of the metric: one of those in docs/problems.md. */
  readonly problem: string;
  readonly severity: ProblemSeverity;
  /** The subject: a backend, a limiter, a proxy in front, a variable; empty for the process itself. */
  readonly subject: string;
  /** In a few words, for a headline. */
  readonly title: string;
  /** What happened, to what, and why. */
  readonly text: string;
  /** What to do about it. */
  readonly nextStep: string;
  /** `Date.now()` when it was first seen. */
  readonly since: number;
}

/** A problem began, lasts (once a minute, with present numbers), or is over. */
export interface ProblemEvent {
  readonly state: 'began' | 'lasts' | 'over';
  readonly problem: GatewayProblem;
}

/** A client sent several requests on a connection without waiting for responses. The gateway serves them one by one. */
export interface ClientPipelinedEvent {
  /** Address of the peer. */
  readonly address: string | undefined;
}

/** The gateway begins, or ceases, to reject requests because its event loop runs late. */
export interface LoadSheddingChangeEvent {
  readonly isShedding: boolean;
  /** Milliseconds by which the event loop was late. */
  readonly delayMs: number;
}

/** Requests were rejected before Node's parser read them. */
export interface RejectedEarlyEvent {
  readonly cause: RejectionCause;
  /** How many since the last event of this kind, by method. */
  readonly requests: ReadonlyMap<string, number>;
  /** Bytes of these requests. */
  readonly bytesIn: number;
  /** Bytes of the responses to them. */
  readonly bytesOut: number;
}
