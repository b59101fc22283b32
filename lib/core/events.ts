import { EventEmitter } from 'node:events';
import type { Exchange } from './exchange.ts';
import { isPromise } from './http.ts';
import type { Check } from './options.ts';
import type { Outcome, RejectionCause } from './outcome.ts';
import type { LimiterMode } from './recorder.ts';

export type { LimiterMode } from './recorder.ts';

import { warnOfThrow } from './warnings.ts';

/** The state of a circuit; `isolated` is one that an operator holds open. */
export type CircuitStateName = 'closed' | 'open' | 'half-open' | 'isolated';

/** What health checks say of a backend: `unknown` before the first verdict, and while there are no checks. */
export type HealthVerdict = 'unknown' | 'healthy' | 'unhealthy';

/** A request that was over its limit. */
export interface LimitedEvent {
  readonly exchange: Exchange;
  readonly limiter: string;
  readonly key: string;
  /** The limit that was reached; of several windows, the one that takes longest to let the request pass. */
  readonly limit: number;
  /** Milliseconds after which the request would pass. */
  readonly retryAfterMs: number;
  /** Whether the request was let pass all the same. */
  readonly shadow: boolean;
}

/** A response of a backend that went to the client. */
export interface ForwardedEvent {
  readonly exchange: Exchange;
  /** Name of the proxy. */
  readonly proxy: string;
  readonly backend: string;
  readonly outcome: Outcome;
  /** Milliseconds from picking the backend to the end of its response. */
  readonly durationMs: number;
}

/**
 * What became of a copy of a request: `sent` when the service responded; the others say why not. `failed` is the connection's or the
 * service's fault.
 */
export type MirrorResult =
  | 'sent'
  | 'failed'
  | 'too_many'
  | 'body_too_large'
  | 'body_incomplete'
  | 'no_backend'
  | 'loop';

/** A copy of a request that a route mirrors is over. */
export interface MirroredEvent {
  /** Of the request that was copied. */
  readonly exchange: Exchange;
  /** Name of the proxy that got the copy. */
  readonly proxy: string;
  /** Nothing when no backend was chosen. */
  readonly backend: string | undefined;
  readonly result: MirrorResult;
  readonly error: Error | undefined;
}

/** A request that the gateway responded to in its own name. */
export interface RejectedEvent {
  readonly exchange: Exchange;
  readonly outcome: Outcome;
  /** Name of the proxy that responded; nothing for the other middlewares. */
  readonly proxy?: string;
}

/** A connection that a hardened server ended. */
export interface ClientRefusedEvent {
  readonly cause: RejectionCause;
  /** What was wrong, where there is more to say than the cause. */
  readonly detail?: string | undefined;
  /** Of the other end of the connection; nothing when it is gone. */
  readonly address: string | undefined;
  /** The request that was under way and ends by this; nothing when none had come as far as the middlewares. */
  readonly exchange: Exchange | undefined;
}

/** An attempt that failed before the client saw a byte. */
export interface AttemptFailedEvent {
  readonly exchange: Exchange;
  /** Name of the proxy. */
  readonly proxy: string;
  readonly backend: string;
  readonly outcome: Outcome;
  /** Whether another backend is asked next. */
  readonly retried: boolean;
}

/** A change of state of a circuit. */
export interface CircuitStateChangeEvent {
  /** The backend's origin, or the name of the guarded route. */
  readonly circuit: string;
  /** Name of the proxy whose backend it is; nothing for a `circuitBreaker()`. */
  readonly proxy?: string;
  readonly from: CircuitStateName;
  readonly to: CircuitStateName;
  /** Milliseconds until the next trial, when `to` is `open`. */
  readonly retryAfterMs: number;
}

/** A new verdict of the active health checks. */
export interface HealthChangeEvent {
  /** Name of the proxy. */
  readonly proxy: string;
  /** The backend's origin. */
  readonly backend: string;
  readonly from: HealthVerdict;
  readonly to: HealthVerdict;
  /** What the last check failed with, when `to` is `unhealthy`. */
  readonly error: Error | undefined;
}

/** One active health check that has ended. */
export interface HealthCheckedEvent {
  /** Name of the proxy. */
  readonly proxy: string;
  /** The backend's origin. */
  readonly backend: string;
  /** What the check failed with; nothing when it passed. */
  readonly error: Error | undefined;
}

/** A limiter that counts elsewhere from now on. */
export interface LimiterModeChangeEvent {
  readonly limiter: string;
  readonly from: LimiterMode;
  readonly to: LimiterMode;
  /** Why, when the store failed. */
  readonly error: Error | undefined;
}

/** Backends that came or went, by origin. */
export interface BackendsChangedEvent {
  /** Name of the proxy. */
  readonly proxy: string;
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

/** A name that a DNS look-up failed for. */
export interface DiscoveryFailedEvent {
  /** Name of the proxy. */
  readonly proxy: string;
  /** As in the list of backends, like `dns://api.example:8080`. */
  readonly name: string;
  readonly error: Error;
  /** How many backends of it are known from before, and stay in use. */
  readonly backends: number;
}

/** A name whose DNS look-up works again. */
export interface DiscoveryRecoveredEvent {
  /** Name of the proxy. */
  readonly proxy: string;
  readonly name: string;
}

/** The gateway's own machine lacks what a connection needs. */
export interface ResourceShortageEvent {
  /** Name of the proxy. */
  readonly proxy: string;
  /** `EMFILE`, `ENFILE`, `EADDRNOTAVAIL`, `ENOBUFS` or `ENOMEM`. */
  readonly code: string;
  /** What is missing, in words. */
  readonly description: string;
  readonly error: Error;
}

/** `critical`: clients get errors. `warning`: an operator should act. `notice`: worth knowing, nothing is wrong. */
export type ProblemSeverity = 'critical' | 'warning' | 'notice';

/** Something that an operator should know of, as status page, `/status` and log show it. */
export interface GatewayProblem {
  /** Name of the kind, and label of the metric: one of those in docs/problems.md. */
  readonly problem: string;
  readonly severity: ProblemSeverity;
  /** What it is about: a backend, a limiter, a proxy in front, a variable; empty for the process itself. */
  readonly subject: string;
  /** In a few words, for a headline. */
  readonly title: string;
  /** What happened, to what, and why. */
  readonly text: string;
  /** What to do about it. */
  readonly nextStep: string;
  /** `Date.now()` when it was seen first. */
  readonly since: number;
}

/** A problem began, lasts (once a minute, with numbers of now), or is over. */
export interface ProblemEvent {
  readonly state: 'began' | 'lasts' | 'over';
  readonly problem: GatewayProblem;
}

/** A client sent requests on a connection without waiting for responses: they wait for their turn. */
export interface ClientPipelinedEvent {
  /** Of the other end of the connection. */
  readonly address: string | undefined;
}

/** The gateway begins to reject requests because its event loop runs late, or ends that. */
export interface LoadSheddingChangeEvent {
  readonly isShedding: boolean;
  /** Milliseconds by which the event loop was late. */
  readonly delayMs: number;
}

/** Requests that were rejected before Node's parser has read them. */
export interface RejectedEarlyEvent {
  readonly cause: RejectionCause;
  /** How many since the last such event, by method. */
  readonly requests: ReadonlyMap<string, number>;
  /** Bytes of these requests. */
  readonly bytesIn: number;
  /** Bytes of the responses to them. */
  readonly bytesOut: number;
}

/** The events of {@link GatewayEvents}, each with what its listeners get. */
export interface GatewayEventMap {
  /** A request was over its limit and got 429, or would have. */
  limited: [LimitedEvent];
  /** A backend's response went to the client, whole or cut. */
  forwarded: [ForwardedEvent];
  /** The gateway responded in its own name: no backend, an open circuit, or all attempts failed. */
  rejected: [RejectedEvent];
  /** A hardened server ended a connection: for bytes that are no request, too slow a client, or too many connections. */
  clientRefused: [ClientRefusedEvent];
  /** The copy of a request that a route mirrors was sent, failed, or was not made. */
  mirrored: [MirroredEvent];
  /** One attempt failed before the client saw a byte of its response. */
  attemptFailed: [AttemptFailedEvent];
  circuitStateChange: [CircuitStateChangeEvent];
  /** The active checks have a new verdict on a backend. */
  healthChange: [HealthChangeEvent];
  /** One active check has ended, whatever became of the verdict. */
  healthChecked: [HealthCheckedEvent];
  limiterModeChange: [LimiterModeChangeEvent];
  /** Backends came or went: by `setBackends()`, or because DNS says so. */
  backendsChanged: [BackendsChangedEvent];
  /** The look-up of a name failed, in whole or in part. Emitted once, not at every try. */
  discoveryFailed: [DiscoveryFailedEvent];
  /** The first complete look-up after `discoveryFailed`. */
  discoveryRecovered: [DiscoveryRecoveredEvent];
  /** A request got 503 because the gateway lacks descriptors, ports or memory. Emitted once in ten seconds for each code. */
  resourceShortage: [ResourceShortageEvent];
  /** An operator should know of something. `statusFeed()` finds it out. */
  problem: [ProblemEvent];
  /** A client pipelines requests: once for each connection. */
  clientPipelined: [ClientPipelinedEvent];
  /** `loadShedding()` begins or ends to reject requests because the event loop runs late. */
  loadSheddingChange: [LoadSheddingChangeEvent];
  /** `loadShedding()` has rejected requests before they were read (`rejectEarly()`): one event for all of a tenth of a second. */
  rejectedEarly: [RejectedEarlyEvent];
}

/** As the emitter keeps it; one that is called once is in a wrapper. */
type Listener = ((...args: unknown[]) => unknown) & { readonly listener?: object };

/**
 * The events of a gateway. Give one emitter to all middlewares, or use the one that each has as `events`.
 * A listener that throws, or gives a promise that is rejected, harms neither the request nor the other listeners, such as those
 * of the metrics: the error becomes a process warning, once per listener, and the listener stays.
 */
export class GatewayEvents extends EventEmitter<GatewayEventMap> {
  override emit<K extends keyof GatewayEventMap>(name: K, ...args: GatewayEventMap[K]): boolean {
    const listeners = this.rawListeners(name) as Listener[];
    for (const listener of listeners) {
      try {
        const returned: unknown = Reflect.apply(listener, this, args);
        if (isPromise(returned)) returned.then(undefined, (error) => warnOfListener(listener, name, error));
      } catch (error) {
        warnOfListener(listener, name, error);
      }
    }
    return listeners.length > 0;
  }
}

const warnOfListener = (listener: Listener, name: string, error: unknown): void =>
  warnOfThrow(listener.listener ?? listener, 'WARN_EXPRESSWAY_LISTENER', `A listener of "${name}" threw`, error);

type Listeners = { readonly [K in keyof GatewayEventMap]?: (...args: GatewayEventMap[K]) => unknown };

/**
 * Adds listeners, each by the name of its event.
 *
 * @returns a function that removes them.
 */
export function subscribe(events: GatewayEvents, listeners: Listeners): () => void {
  const all = Object.entries(listeners) as [keyof GatewayEventMap, () => void][];
  for (const [name, listener] of all) events.on(name, listener);
  return () => {
    for (const [name, listener] of all) events.off(name, listener);
  };
}

/** For the option `events` of the middlewares. */
export const eventsCheck: Check = (value) =>
  value instanceof GatewayEvents ? undefined : 'must be what new GatewayEvents() of this copy of expressway gave';
