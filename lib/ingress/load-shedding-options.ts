import type { IncomingMessage } from 'node:http';
import { eventsCheck, type GatewayEvents } from '../core/events.ts';
import { type Checks, durationMs, func, integer, optional, optionalDurationMs } from '../core/options.ts';
import type { Priority } from './shedding-gate.ts';

/** The parts of a request that `priority` gets. It may be called before Node's parser has read the request. */
export interface PriorityRequest {
  readonly method?: string | undefined;
  /** The target, as the client sent it. */
  readonly url?: string | undefined;
  /** By name in lower case. */
  readonly headers: IncomingMessage['headers'];
}

/** Options of {@link loadShedding}. */
export interface LoadSheddingOptions {
  /**
   * Milliseconds by which the event loop may run late. Above it for `intervalMs`, requests queue faster than they are served: a part of them is rejected, so that
   * the delay falls below half of it. 0 for any time.
   * @default 100
   */
  maxDelayMs?: number;
  /**
   * Milliseconds for which the event loop must run late before requests are rejected. Short pauses, such as a garbage collection, reject none.
   * @default 100
   */
  intervalMs?: number;
  /**
   * Requests in progress; more are rejected, whatever the event loop does. With `priority`, `normal` requests may take 90 % of them, and `low` ones 80 %. 0 for any number.
   * @default 0
   */
  maxInProgress?: number;
  /**
   * Milliseconds that `Retry-After` tells clients, in whole seconds.
   * @default 1000
   */
  retryAfterMs?: number;
  /** How important a request is: `low` ones are rejected first, `high` ones last. Nothing counts as `normal`. Default: all are `normal`. */
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
  /** The part of the recent requests that passed, from 0 to 1. */
  readonly share: number;
  /** Delay of the event loop at the last sample, in milliseconds. */
  readonly delayMs: number;
  readonly inProgress: number;
  /** Requests rejected since the start. */
  readonly rejected: number;
}
