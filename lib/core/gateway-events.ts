import { EventEmitter } from 'node:events';
import type {
  AttemptFailedEvent,
  BackendsChangedEvent,
  CircuitStateChangeEvent,
  ClientPipelinedEvent,
  ClientRefusedEvent,
  DiscoveryFailedEvent,
  DiscoveryRecoveredEvent,
  ForwardedEvent,
  HealthChangeEvent,
  HealthCheckedEvent,
  LimitedEvent,
  LimiterModeChangeEvent,
  LoadSheddingChangeEvent,
  MirroredEvent,
  ProblemEvent,
  RejectedEarlyEvent,
  RejectedEvent,
  ResourceShortageEvent,
} from './events.ts';
import { isPromise } from './http.ts';
import type { Check } from './options.ts';
import { warnOfThrow } from './warnings.ts';

/** The events of {@link GatewayEvents}, each with what its listeners get. */
export interface GatewayEventMap {
  /** A request was over its limit and got 429, or would have. */
  limited: [LimitedEvent];
  /** A backend's response went to the client, whole or cut. */
  forwarded: [ForwardedEvent];
  /** The gateway itself responded: no backend, an open circuit, or all attempts failed. */
  rejected: [RejectedEvent];
  /** A hardened server ended a connection, because of bytes that are no request, a slow client, or too many connections. */
  clientRefused: [ClientRefusedEvent];
  /** The copy of a request that a route mirrors was sent, failed, or was not made. */
  mirrored: [MirroredEvent];
  /** One attempt failed, perhaps in the middle of a response. */
  attemptFailed: [AttemptFailedEvent];
  circuitStateChange: [CircuitStateChangeEvent];
  /** The active checks have a new verdict on a backend. */
  healthChange: [HealthChangeEvent];
  /** One active check has ended, with or without a new verdict. */
  healthChecked: [HealthCheckedEvent];
  limiterModeChange: [LimiterModeChangeEvent];
  /** Backends were added or removed, by `setBackends()` or by DNS. */
  backendsChanged: [BackendsChangedEvent];
  /** The lookup of a name failed, in whole or in part. Emitted once for each `error.code`, not for each attempt. */
  discoveryFailed: [DiscoveryFailedEvent];
  /** The first complete lookup after `discoveryFailed`, or the end of the lookups. */
  discoveryRecovered: [DiscoveryRecoveredEvent];
  /** A request got 503 because the gateway lacks descriptors, ports or memory. Emitted once in ten seconds for each code. */
  resourceShortage: [ResourceShortageEvent];
  /** There is a problem that an operator should know. `statusFeed()` detects it. */
  problem: [ProblemEvent];
  /** A client pipelines requests: once for each connection. */
  clientPipelined: [ClientPipelinedEvent];
  /** `loadShedding()` begins, or ceases, to reject requests because the event loop runs late. */
  loadSheddingChange: [LoadSheddingChangeEvent];
  /** `loadShedding()` rejected requests before they were parsed (`rejectEarly()`). One event for all of them within 0.1 s. */
  rejectedEarly: [RejectedEarlyEvent];
}

/** A listener as the emitter keeps it: those of `once()` are in a wrapper. */
type Listener = ((...args: unknown[]) => unknown) & { readonly listener?: object };

/**
 * The events of a gateway. Give one emitter to all middlewares, or use the one that each has as `events`.
 * A listener that throws, or returns a rejected promise, harms neither the request nor other listeners, such as those of the metrics. The
 * error becomes a process warning, once per listener, and the listener stays.
 */
export class GatewayEvents extends EventEmitter<GatewayEventMap> {
  static {
    // Not as a method: no type of an override fits each version of @types/node. So `emit()` keeps the type that Node's has.
    Object.defineProperty(GatewayEvents.prototype, 'emit', { configurable: true, writable: true, value: emitToEach });
  }
}

function emitToEach(this: GatewayEvents, name: keyof GatewayEventMap, ...args: unknown[]): boolean {
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

/** Check of the option `events`. */
export const eventsCheck: Check = (value) =>
  value instanceof GatewayEvents ? undefined : 'must be a GatewayEvents of this copy of expressway';
