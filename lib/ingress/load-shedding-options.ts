import type { IncomingMessage } from 'node:http';
import { eventsCheck, type GatewayEvents } from '../core/gateway-events.ts';
import { type Checks, durationMs, func, integer, optional, optionalDurationMs } from '../core/options.ts';
import type { Priority } from './shedding-gate.ts';

/** The parts of a request that `priority` gets. It may be called before Node's parser has read the request. */
export interface PriorityRequest {
  readonly method?: string | undefined;
  /** The target, as the client sent it. */
  readonly url?: string | undefined;
  /** The names are in lower case. */
  readonly headers: IncomingMessage['headers'];
}

/** Options of {@link loadShedding}. */
export interface LoadSheddingOptions {
  /**
   * Milliseconds by which the event loop may run late. If it runs later for `intervalMs`, more requests come than it can serve. Then a part
   * of them is rejected, so that the delay falls below half of this time. 0 for any time.
   * @default 100
   */
  maxDelayMs?: number;
  /**
   * Milliseconds for which the event loop must run late before requests are rejected. Shorter pauses, such as a garbage collection, do no harm;
   * nor do bursts of requests that are read within this time.
   * @default 100
   */
  intervalMs?: number;
  /**
   * Limit of the requests in progress; further ones are rejected even if the event loop is on time. With `priority`, `normal` requests may
   * use 90 % of it, and `low` ones 80 %. 0 for any number.
   * @default 0
   */
  maxInProgress?: number;
  /**
   * Value of `Retry-After`, in milliseconds; it is sent in whole seconds.
   * @default 1000
   */
  retryAfterMs?: number;
  /** Gives the priority of a request: `low` ones are rejected first, `high` ones last. `undefined` means `normal`. Default: all are `normal`. */
  priority?: (req: PriorityRequest) => Priority | undefined;
  /** Emitter of the events `rejected` and `loadSheddingChange`. Default: a new one, as `events` of the result. */
  events?: GatewayEvents;
}

/** Defaults of {@link LoadSheddingOptions}. */
export const loadSheddingDefaults = Object.freeze({
  maxDelayMs: 100,
  intervalMs: 100,
  maxInProgress: 0,
  retryAfterMs: 1_000,
});

export type LoadSheddingSettings = LoadSheddingOptions & typeof loadSheddingDefaults;

export const loadSheddingChecks: Checks<LoadSheddingOptions> = {
  maxDelayMs: optionalDurationMs,
  intervalMs: durationMs,
  maxInProgress: integer(0),
  retryAfterMs: durationMs,
  priority: optional(func),
  events: optional(eventsCheck),
};

/** State of load shedding. */
export interface LoadSheddingStatus {
  /** Whether some requests are rejected because the event loop runs late. */
  readonly isShedding: boolean;
  /** Part of the recent requests that was admitted, from 0 to 1. */
  readonly share: number;
  /** Delay of the event loop at the last sample, in milliseconds. */
  readonly delayMs: number;
  readonly inProgress: number;
  /** Requests rejected since the start. */
  readonly rejected: number;
}
