import type { ClientRateLimitInfo, Options, Store } from 'express-rate-limit';
import { CAUSES } from '../core/causes.ts';
import { GatewayError } from '../core/errors.ts';
import type { LimiterMode } from '../core/events.ts';
import { GatewayEvents } from '../core/gateway-events.ts';
import { OptionsError, unknownOption } from '../core/options.ts';
import { retryAfterSeconds } from '../core/problem.ts';
import type { IpRateLimitOptions } from './ip-rate-limit-options.ts';
import {
  FOREIGN_LIMITER_OPTIONS,
  type IpRateLimitSettings,
  LIMITER_OPTIONS,
  resolveIpRateLimitOptions,
} from './ip-rate-limit-settings.ts';
import type { Decision, LimiterMeter, QuotaState } from './meter.ts';
import { openLimiterMeter } from './open-meter.ts';
import { boundedKey } from './own-claims.ts';
import type { Quota } from './quota.ts';

const SUBJECT = 'rateLimitStore';

const STORE_OPTIONS = [
  'algorithm',
  'burst',
  'maxKeys',
  'redis',
  'keyPrefix',
  'keySecret',
  'storeTimeoutMs',
  'fallbackAfterMisses',
  'fallbackAfterMs',
  'onStoreError',
  'lease',
  'name',
  'events',
] as const;

/** As in the options of `ipRateLimit()`; limit and window are those of express-rate-limit. */
export type RateLimitStoreOptions = Pick<IpRateLimitOptions, (typeof STORE_OPTIONS)[number]>;

/** A store for one `rateLimit()` of express-rate-limit. */
export interface RateLimitStore extends Store {
  /** `memory` without Redis; else `redis`, or the value of `onStoreError` while Redis fails. */
  readonly mode: LimiterMode;
  readonly events: GatewayEvents;
  /** Stops timers, and the connection to Redis if it was made from a URL. */
  close(): void;
}

/**
 * The store of `ipRateLimit()`, for apps that use express-rate-limit directly: `rateLimit({ store:
 * rateLimitStore({ algorithm: 'token-bucket', redis: 'redis://localhost' }) })`. It rejects because of Redis only if `onStoreError` is
 * `closed`: with a `LimiterUnavailableError`, which Express turns into 503 with `Retry-After`. With `open`, express-rate-limit tells every
 * client that it has made one request.
 *
 * It serves one `rateLimit()` only: a second one with another `limit` or `windowMs` gets the same kind of error. `getKey()` returns the state
 * of a client, without counting; `resetAll()` exists without Redis only.
 *
 * The store does not support a function as express-rate-limit's `limit`, `skipFailedRequests` and `skipSuccessfulRequests`, because it must
 * know the limit, and cannot undo a hit. With these, every request ends in an error that says so.
 *
 * @throws {OptionsError} `ERR_EXPRESSWAY_OPTIONS`, with every problem
 */
export function rateLimitStore(options: RateLimitStoreOptions = {}): RateLimitStore {
  return new MeterStore(options);
}

/** Message for an option that does not belong to the store. */
function problemOf(key: string): string {
  if (LIMITER_OPTIONS.includes(key))
    return `"${key}" is not an option of a store: rateLimit() and ipRateLimit() decide that`;
  return unknownOption(key, STORE_OPTIONS, FOREIGN_LIMITER_OPTIONS);
}

class MeterStore implements RateLimitStore {
  readonly events: GatewayEvents;
  /** For a check of express-rate-limit: keys of two stores in this process do not meet. */
  readonly localKeys: boolean;
  /** For the same check: one request may be counted by two stores of different names. */
  readonly prefix: string;
  readonly resetAll?: () => void;
  readonly #options: RateLimitStoreOptions;
  #settings: IpRateLimitSettings | undefined;
  #meter: LimiterMeter | undefined;
  /** Of `limit: 0`, under which every request is over the limit. */
  #closedWindowMs = 0;
  #misuse: GatewayError | undefined;

  constructor(options: RateLimitStoreOptions) {
    const problems = Object.keys(options ?? {})
      .filter((key) => !(STORE_OPTIONS as readonly string[]).includes(key))
      .map(problemOf);
    if (problems.length > 0) throw new OptionsError(SUBJECT, problems);
    const { prefix } = resolveIpRateLimitOptions(options, SUBJECT);
    this.#options = options;
    this.events = options.events ?? new GatewayEvents();
    this.localKeys = options.redis === undefined;
    this.prefix = this.localKeys ? '' : prefix;
    if (this.localKeys) this.resetAll = () => this.#restart();
  }

  get mode(): LimiterMode {
    return this.#meter?.mode ?? (this.localKeys ? 'memory' : 'redis');
  }

  /** express-rate-limit only prints what is thrown here. */
  init({ limit, windowMs, skipFailedRequests, skipSuccessfulRequests }: Options): void {
    if (this.#settings !== undefined || this.#closedWindowMs > 0) {
      if (!this.#isFor(limit, windowMs)) this.#misuse = misuse('one store serves one rateLimit()');
    } else if (typeof limit !== 'number') {
      this.#misuse = misuse('limit must be a number');
    } else if (skipFailedRequests || skipSuccessfulRequests) {
      this.#misuse = misuse('hits cannot be taken back');
    } else if (Math.floor(limit) < 1) {
      this.#closedWindowMs = windowMs;
    } else {
      this.#open(Math.floor(limit), windowMs);
    }
  }

  async increment(key: string): Promise<ClientRateLimitInfo> {
    if (this.#closedWindowMs > 0 && this.#misuse === undefined) {
      return { totalHits: 1, resetTime: new Date(Date.now() + this.#closedWindowMs) };
    }
    const decision = await this.#take(key, 1);
    return decision.quotaStates.length > 0
      ? infoOf(decision, this.#quota.limit)
      : { totalHits: 1, resetTime: undefined };
  }

  /** `undefined` for a client that has spent nothing, or that is not counted. */
  async get(key: string): Promise<ClientRateLimitInfo | undefined> {
    if (this.#closedWindowMs > 0 && this.#misuse === undefined) return undefined;
    const decision = await this.#take(key, 0);
    const { limit, burst } = this.#quota;
    const quotaState = decision.quotaStates[0];
    return quotaState === undefined || quotaState.remaining >= burst ? undefined : infoOf(decision, limit);
  }

  async decrement(): Promise<never> {
    throw misuse('hits cannot be taken back');
  }

  async resetKey(key: string): Promise<void> {
    await this.#meter?.reset(boundedKey(String(key)));
  }

  /** The name by which express-rate-limit knows it. */
  shutdown(): void {
    this.close();
  }

  close(): void {
    void this.#meter?.close();
  }

  get #quota(): Quota {
    return this.#settings?.quotas[0] as Quota;
  }

  #isFor(limit: unknown, windowMs: number): boolean {
    if (this.#settings === undefined) return Number(limit) < 1 && windowMs === this.#closedWindowMs;
    return Math.floor(Number(limit)) === this.#quota.limit && windowMs === this.#quota.windowMs;
  }

  async #take(key: string, cost: number): Promise<Decision> {
    if (this.#misuse !== undefined) throw this.#misuse;
    if (this.#meter === undefined) throw misuse('init() was not called');
    // A key of a JavaScript app may be a number.
    const decision = await this.#meter.take({ key: boundedKey(String(key)), cost, limit: undefined });
    if (decision.allowed || decision.quotaStates.length > 0) return decision;
    throw new LimiterUnavailableError(decision.retryAfterMs);
  }

  #open(limit: number, windowMs: number): void {
    try {
      this.#settings = resolveIpRateLimitOptions({ ...this.#options, limit, windowMs }, SUBJECT);
      this.#restart();
    } catch (error) {
      this.#misuse = error as GatewayError;
    }
  }

  #restart(): void {
    const settings = this.#settings;
    if (settings === undefined) return;
    this.#meter = openLimiterMeter(settings, (from, to, error) => {
      this.events.emit('limiterModeChange', { limiter: settings.name, from, to, error });
    });
  }
}

const misuse = (message: string): GatewayError => new GatewayError('ERR_EXPRESSWAY_OPTIONS', `${SUBJECT}: ${message}`);

function infoOf({ allowed, retryAfterMs, quotaStates }: Decision, limit: number): ClientRateLimitInfo {
  const { remaining, resetMs } = quotaStates[0] as QuotaState;
  const resetTime = new Date(Date.now() + (allowed ? resetMs : retryAfterMs));
  return { totalHits: allowed ? Math.max(1, limit - remaining) : limit + 1, resetTime };
}

const { status, title } = CAUSES.limiter_unavailable;

/** A request could not be counted, and the limiter rejects uncounted requests. Express takes status and headers from this error. */
export class LimiterUnavailableError extends Error {
  readonly code = 'ERR_EXPRESSWAY_LIMITER_UNAVAILABLE';
  readonly status = status;
  readonly headers: Readonly<Record<string, string>>;

  constructor(retryAfterMs: number) {
    super(title);
    this.name = 'LimiterUnavailableError';
    this.headers = { 'Retry-After': String(retryAfterSeconds(retryAfterMs)), 'Cache-Control': 'no-store' };
  }
}
