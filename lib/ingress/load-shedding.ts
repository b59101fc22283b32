import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Server } from 'node:net';
import { GatewayError } from '../core/errors.ts';
import { eventsCheck, GatewayEvents } from '../core/events.ts';
import { type Exchange, type ExchangeObserver, exchangeOf } from '../core/exchange.ts';
import { type GatewayRequest, isPromise, type Middleware, type Next } from '../core/http.ts';
import {
  type Checks,
  durationMs,
  func,
  integer,
  optional,
  optionalDurationMs,
  resolveOptions,
} from '../core/options.ts';
import type { Rejected } from '../core/outcome.ts';
import { reject } from '../core/reject.ts';
import { shownValue } from '../core/shown-value.ts';
import { LoopSampler } from './loop-sampler.ts';
import { PRIORITIES, type Priority, SheddingGate } from './shedding-gate.ts';

export type { Priority } from './shedding-gate.ts';

/** Options of {@link loadShedding}. */
export interface LoadSheddingOptions {
  /**
   * Milliseconds by which the event loop may run late. Above it for `intervalMs`, requests queue faster than they are served: a part of them is rejected, so that
   * the delay falls to half of it. 0 for any time.
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
  priority?: (req: GatewayRequest) => Priority | undefined;
  /** Where `rejected` and `loadSheddingChange` go. Default: an emitter of its own, as `events`. */
  events?: GatewayEvents;
}

/** Defaults of {@link LoadSheddingOptions}. */
export const loadSheddingDefaults = Object.freeze({
  maxDelayMs: 100,
  intervalMs: 100,
  maxInProgress: 0,
  retryAfterMs: 1_000,
});

const checks: Checks<LoadSheddingOptions> = {
  maxDelayMs: optionalDurationMs,
  intervalMs: durationMs,
  maxInProgress: integer(0),
  retryAfterMs: durationMs,
  priority: optional(func),
  events: optional(eventsCheck),
};

/** What a load shedder is doing. */
export interface LoadSheddingStatus {
  /** Whether some requests are rejected because the event loop runs late. */
  readonly isShedding: boolean;
  /** The part of the requests that is let in, from 0.05 to 1. */
  readonly share: number;
  /** Milliseconds by which the event loop was late at the last sample. */
  readonly delayMs: number;
  readonly inProgress: number;
  /** Requests rejected since the start. */
  readonly rejected: number;
}

/** The middleware of {@link loadShedding}, and its events. */
export interface LoadShedding extends Middleware {
  readonly events: GatewayEvents;
  status(): LoadSheddingStatus;
}

/** How often the delay of the event loop is measured while requests come. */
const SAMPLE_MS = 10;
/** Samples without a request after which no more are taken, unless requests are still being rejected. */
const IDLE_SAMPLES = 10;
/** The part of `maxInProgress` that requests may take. */
const PLACES: Readonly<Record<Priority, number>> = Object.freeze({ high: 1, normal: 0.9, low: 0.8 });

/**
 * Rejects requests with 503 and `Retry-After` while the process has more to do than it can, so that those it lets in are served in time.
 * Mount it first; health checks of the gateway itself belong before it, or on another listener:
 *
 * ```ts
 * app.use(loadShedding(), requestGuard(), ipRateLimit(), roundRobinProxy({ backends }));
 * ```
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function loadShedding(given?: LoadSheddingOptions): LoadShedding {
  const options = resolveOptions('loadShedding', given, loadSheddingDefaults, checks);
  const events = options.events ?? new GatewayEvents();
  const shedder = new LoadShedder(options, events);
  return Object.assign(
    function expresswayLoadShedding(req: IncomingMessage, res: ServerResponse, next: Next): void {
      const exchange = exchangeOf(req, res);
      let priority: Priority;
      try {
        priority = priorityOf(exchange.req, options.priority);
      } catch (error) {
        next(error);
        return;
      }
      if (shedder.enters(exchange, priority)) next();
    },
    { events, status: () => shedder.status() },
  );
}

/** @throws what the app's function throws, and {GatewayError} ERR_EXPRESSWAY_CALLBACK for what it must not give. */
function priorityOf(req: GatewayRequest, ask: LoadSheddingOptions['priority']): Priority {
  const given: unknown = ask?.(req) ?? 'normal';
  if (PRIORITIES.includes(given as Priority)) return given as Priority;
  // What a promise is rejected with would end the process.
  if (isPromise(given)) void Promise.resolve(given).catch(() => undefined);
  const what = typeof given === 'string' ? shownValue(given) : `a value of type ${typeof given}`;
  throw new GatewayError(
    'ERR_EXPRESSWAY_CALLBACK',
    `loadShedding: priority() must give high, normal or low at once, or nothing, gave ${what}`,
  );
}

class LoadShedder implements ExchangeObserver {
  readonly #options: LoadSheddingOptions & typeof loadSheddingDefaults;
  readonly #events: GatewayEvents;
  readonly #gate: SheddingGate;
  readonly #outcome: Rejected;
  readonly #sampler = new LoopSampler();
  #inProgress = 0;
  #rejected = 0;
  #delayMs = 0;
  #isShedding = false;
  #timer: NodeJS.Timeout | undefined;
  #dueAt = 0;
  /** Samples since the last request. */
  #idle = 0;

  constructor(options: LoadSheddingOptions & typeof loadSheddingDefaults, events: GatewayEvents) {
    this.#options = options;
    this.#events = events;
    this.#gate = new SheddingGate(options);
    this.#outcome = Object.freeze({ kind: 'rejected', cause: 'load_shed', retryAfterMs: options.retryAfterMs });
  }

  /** Whether a request goes on; otherwise it is answered. */
  enters(exchange: Exchange, priority: Priority): boolean {
    this.#idle = 0;
    if (this.#timer === undefined && this.#options.maxDelayMs > 0) this.#begin(exchange);
    if (this.#gate.admits(priority) && this.#hasPlace(priority)) {
      this.#inProgress += 1;
      exchange.observe(this);
      return true;
    }
    this.#rejected += 1;
    reject(exchange, this.#outcome, this.#events);
    return false;
  }

  settled(): void {
    this.#inProgress -= 1;
  }

  status(): LoadSheddingStatus {
    return {
      isShedding: this.#isShedding,
      share: this.#gate.share,
      delayMs: this.#delayMs,
      inProgress: this.#inProgress,
      rejected: this.#rejected,
    };
  }

  #hasPlace(priority: Priority): boolean {
    const { maxInProgress, priority: isGiven } = this.#options;
    if (maxInProgress === 0) return true;
    const places = isGiven === undefined ? maxInProgress : Math.max(1, Math.floor(maxInProgress * PLACES[priority]));
    return this.#inProgress < places;
  }

  #begin({ req }: Exchange): void {
    // net.Server leaves itself on each connection that it accepts.
    this.#sampler.watch((req.socket as { server?: Server } | undefined)?.server);
    // What was before is no part of the next sample.
    this.#sampler.take(0, Date.now());
    this.#sampleSoon();
  }

  #sampleSoon(): void {
    this.#dueAt = Date.now() + SAMPLE_MS;
    this.#timer = setTimeout(() => this.#sample(), SAMPLE_MS).unref();
  }

  #sample(): void {
    const now = Date.now();
    this.#delayMs = Math.max(0, now - this.#dueAt);
    this.#gate.sample(this.#sampler.take(this.#delayMs, now));
    this.#tell();
    this.#idle += 1;
    this.#timer = undefined;
    if (this.#idle <= IDLE_SAMPLES || this.#isShedding) this.#sampleSoon();
  }

  #tell(): void {
    const isShedding = this.#gate.share < 1;
    if (isShedding === this.#isShedding) return;
    this.#isShedding = isShedding;
    this.#events.emit('loadSheddingChange', { isShedding, delayMs: this.#delayMs });
  }
}
