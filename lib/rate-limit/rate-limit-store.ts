import type { ClientRateLimitInfo, Options, Store } from 'express-rate-limit';
import { GatewayError } from '../core/errors.ts';
import { GatewayEvents, type LimiterMode } from '../core/events.ts';
import { boundedKey } from './claimant.ts';
import type { IpRateLimitOptions } from './ip-rate-limit-options.ts';
import { resolveIpRateLimitOptions } from './ip-rate-limit-settings.ts';
import type { LimiterMeter } from './limiter-meter.ts';
import { LimiterUnavailableError } from './limiter-unavailable-error.ts';
import type { Ruling } from './meter.ts';
import { openLimiterMeter } from './open-limiter-meter.ts';

/** As in the options of `ipRateLimit()`; limit and window are those of express-rate-limit. */
export type RateLimitStoreOptions = Pick<
  IpRateLimitOptions,
  | 'algorithm'
  | 'burst'
  | 'maxKeys'
  | 'redis'
  | 'keyPrefix'
  | 'keySecret'
  | 'storeTimeoutMs'
  | 'onStoreError'
  | 'lease'
  | 'name'
  | 'events'
>;

/** A store for one `rateLimit()` of express-rate-limit. */
export interface RateLimitStore extends Store {
  /** `memory` without Redis; else `redis`, or what `onStoreError` says while Redis fails. */
  readonly mode: LimiterMode;
  readonly events: GatewayEvents;
  /** Stops timers, and the connection to Redis if it was made from a URL. */
  close(): void;
}

/**
 * What `ipRateLimit()` counts with, for those who use express-rate-limit by itself: `rateLimit({ store:
 * rateLimitStore({ algorithm: 'token-bucket', redis: 'redis://localhost' }) })`. It rejects because of Redis only where
 * `onStoreError` is `closed`: with a `LimiterUnavailableError`, of which Express makes a 503 with `Retry-After`. Where it
 * is `open`, express-rate-limit tells every client that it has made one request.
 *
 * A function as express-rate-limit's `limit`, `skipFailedRequests` and `skipSuccessfulRequests` cannot be served: the
 * store must know the limit, and takes nothing back. Every request is then passed on as an error that says so.
 *
 * @throws {OptionsError} `ERR_EXPRESSWAY_OPTIONS`, with every problem
 */
export function rateLimitStore(options: RateLimitStoreOptions = {}): RateLimitStore {
  return new MeterStore(options);
}

class MeterStore implements RateLimitStore {
  readonly events: GatewayEvents;
  /** For a check of express-rate-limit: keys of two stores in this process do not meet. */
  readonly localKeys: boolean;
  readonly #options: RateLimitStoreOptions;
  #meter: LimiterMeter | undefined;
  #limit = 0;
  #misuse: GatewayError | undefined;

  constructor(options: RateLimitStoreOptions) {
    resolveIpRateLimitOptions(options);
    this.#options = options;
    this.events = options.events ?? new GatewayEvents();
    this.localKeys = options.redis === undefined;
  }

  get mode(): LimiterMode {
    return this.#meter?.mode ?? (this.localKeys ? 'memory' : 'redis');
  }

  /** express-rate-limit only prints what is thrown here. */
  init({ limit, windowMs, skipFailedRequests, skipSuccessfulRequests }: Options): void {
    if (typeof limit !== 'number') {
      this.#misuse = new GatewayError('ERR_EXPRESSWAY_OPTIONS', 'rateLimitStore: limit must be a number');
    } else if (skipFailedRequests || skipSuccessfulRequests) {
      this.#misuse = new GatewayError('ERR_EXPRESSWAY_OPTIONS', 'rateLimitStore: hits cannot be taken back');
    } else {
      this.#open(limit, windowMs);
    }
  }

  async increment(key: string): Promise<ClientRateLimitInfo> {
    if (this.#misuse !== undefined) throw this.#misuse;
    if (this.#meter === undefined)
      throw new GatewayError('ERR_EXPRESSWAY_OPTIONS', 'rateLimitStore: init() was not called');
    const ruling = await this.#meter.take({ key: boundedKey(key), cost: 1, limit: undefined });
    if (ruling.standings.length > 0) return infoOf(ruling, this.#limit);
    if (ruling.allowed) return { totalHits: 1, resetTime: undefined };
    throw new LimiterUnavailableError(ruling.retryAfterMs);
  }

  async decrement(): Promise<never> {
    throw new GatewayError('ERR_EXPRESSWAY_OPTIONS', 'rateLimitStore: hits cannot be taken back');
  }

  async resetKey(key: string): Promise<void> {
    await this.#meter?.reset(boundedKey(key));
  }

  /** The name by which express-rate-limit knows it. */
  shutdown(): void {
    this.close();
  }

  close(): void {
    void this.#meter?.close();
  }

  #open(limit: number, windowMs: number): void {
    void this.#meter?.close();
    this.#limit = limit;
    try {
      const settings = resolveIpRateLimitOptions({ ...this.#options, limit, windowMs });
      this.#meter = openLimiterMeter(settings, (from, to, error) => {
        this.events.emit('limiterModeChange', { limiter: settings.name, from, to, error });
      });
    } catch (error) {
      this.#misuse = error as GatewayError;
    }
  }
}

function infoOf({ allowed, retryAfterMs, standings }: Ruling, limit: number): ClientRateLimitInfo {
  const [{ remaining, resetMs }] = standings as unknown as [{ remaining: number; resetMs: number }];
  const resetTime = new Date(Date.now() + (allowed ? resetMs : retryAfterMs));
  return { totalHits: allowed ? Math.max(1, limit - remaining) : limit + 1, resetTime };
}
