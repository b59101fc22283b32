import type { IncomingMessage, ServerResponse } from 'node:http';
import { addressKey } from '../core/address-key.ts';
import { GatewayError } from '../core/errors.ts';
import type { LimiterMode } from '../core/events.ts';
import { type Exchange, exchangeOf } from '../core/exchange.ts';
import { GatewayEvents } from '../core/gateway-events.ts';
import type { GatewayRequest, Middleware, Next } from '../core/http.ts';
import { OptionsError, withoutUndefined } from '../core/options.ts';
import { ABORTED } from '../core/outcome.ts';
import { shownValue } from '../core/shown-value.ts';
import { AddressGate, deny } from './address-list.ts';
import { clientKey } from './client-key.ts';
import { CountedRequest, createEngine, type Engine, type LimiterContext } from './counted-request.ts';
import type { IpRateLimitOptions } from './ip-rate-limit-options.ts';
import { type IpRateLimitSettings, type LimiterOptions, resolveIpRateLimitOptions } from './ip-rate-limit-settings.ts';
import { LimiterMember } from './limiter-census.ts';
import type { LimiterMeter } from './meter.ts';
import { openLimiterMeter } from './open-meter.ts';
import { type OwnClaim, OwnClaims, ownKey } from './own-claims.ts';
import { rateLimitFields } from './rate-limit-fields.ts';
import { trustProxyError } from './trust-proxy.ts';

/** The options that `setLimits()` replaces. */
export type Limits = Omit<IpRateLimitOptions, 'name' | 'redis' | 'counter' | 'keyPrefix' | 'trustProxy' | 'events'>;

/** New limits that are ready to take over. */
export interface PreparedLimits {
  /** Puts them in force. */
  apply(): void;
  /** Releases their resources. */
  discard(): void;
}

/** Milliseconds after which the old limits are closed. A limiter waits far shorter for its store, so they have decided all their requests. */
const RETIRE_AFTER_MS = 5_000;

/** The middleware of {@link ipRateLimit}, with methods to inspect and control it. */
export interface IpRateLimiter extends Middleware {
  readonly name: string;
  /** `memory` without Redis; else `redis`, or the value of `onStoreError` while Redis fails. */
  readonly mode: LimiterMode;
  /** The last error of Redis, while a fallback decides. */
  readonly storeError: Error | undefined;
  readonly events: GatewayEvents;
  /**
   * Forgets the requests of one client. Name it by its address, by the result of the option `key`, or by the key of a `limited` event. A text
   * that may be several of these counts as all of them. Another gateway that has just rejected the client goes on rejecting until its
   * `Retry-After` is over; with leases, it also spends its lease. If Redis cannot be reached, the promise rejects, and only this process has
   * forgotten the client.
   */
  resetKey(key: string): Promise<void>;
  /**
   * Replaces the limits, and with them every option except name, store and events. Missing options get their defaults. The old limits apply
   * until a new connection to Redis is ready. Counts in Redis go on if algorithm and window stay the same; counts in this process start again.
   *
   * @throws {OptionsError} and changes nothing, when an option is invalid.
   */
  setLimits(limits: Limits): void;
  /**
   * The first half of `setLimits()`, for a reload that changes everything or nothing. Rejects with an `OptionsError` for invalid limits;
   * otherwise waits until a new connection to Redis is ready. Then call one of the two functions.
   */
  prepareLimits(limits: Limits): Promise<PreparedLimits>;
  /**
   * Waits until Redis was reached and other gateways know of this one, so that all gateways count the first requests together. It waits for at
   * most 5 seconds, and not if Redis is away. Wait for it before the server listens.
   */
  ready(): Promise<void>;
  /**
   * Stops timers, and the connection to Redis if it was made from a URL. `onStoreError` decides about later requests.
   */
  close(): Promise<void>;
}

/**
 * Limits how many requests a client may make per window: by IP address under the app's `trust proxy`, IPv6 by
 * network, or by a key of the app's own. Over the limit, the client gets 429 with the true wait as `Retry-After`.
 *
 * With Redis, gateways share the counts. If Redis is down, silent or failing, a request waits for `storeTimeoutMs` at most, and `onStoreError`
 * decides about it. The gateways share their counts again as soon as Redis is back.
 *
 * In an app with `trust proxy: true`, every request ends in an error: see `assertTrustProxy()`.
 *
 * @throws {OptionsError} `ERR_EXPRESSWAY_OPTIONS`, with every problem
 * @throws {GatewayError} `ERR_EXPRESSWAY_TRUST_PROXY` for a bad `trustProxy`
 */
export function ipRateLimit(options?: IpRateLimitOptions): IpRateLimiter {
  return makeLimiter(options, false);
}

/** A limiter of a route. A new declaration or a first request may create it during traffic. */
export const routeRateLimit = (options: LimiterOptions): IpRateLimiter => makeLimiter(options, true);

function makeLimiter(options: LimiterOptions | undefined, isManaged: boolean): IpRateLimiter {
  const { redis, counter, keyPrefix, trustProxy, ...given } = options ?? {};
  const events = given.events ?? new GatewayEvents();
  const limiter = new Limiter(resolveIpRateLimitOptions(options), events);
  const { name, prefix } = limiter.current.settings;
  const fixed = { name, redis, counter, keyPrefix, trustProxy, events };
  const settingsOf = (limits: Limits) => {
    // Spread, a number or a list would be no options at all, and the limiter would get its defaults.
    if (typeof limits !== 'object' || limits === null || Array.isArray(limits))
      throw new OptionsError('ipRateLimit', [`limits must be an object, got ${shownValue(limits)}`]);
    return resolveIpRateLimitOptions({ ...limits, ...withoutUndefined(fixed) });
  };
  const member = new LimiterMember(redis ? { redis, prefix } : undefined, isManaged);

  function ipRateLimiter(incoming: IncomingMessage, res: ServerResponse, next: Next): void {
    const req: GatewayRequest = incoming;
    if (req.app?.get('trust proxy') === true) {
      next(trustProxyError(true));
      return;
    }
    if (member.use.last !== member) member.called(incoming);
    limiter.current.decide(exchangeOf(incoming, res), next);
  }

  return Object.defineProperties(ipRateLimiter, {
    name: { value: name },
    mode: { get: () => limiter.current.meter.mode, enumerable: true },
    storeError: { get: () => limiter.current.meter.storeError, enumerable: true },
    events: { value: events, enumerable: true },
    resetKey: { value: (key: string) => limiter.current.reset(key), enumerable: true },
    setLimits: { value: (limits: Limits) => limiter.replace(settingsOf(limits)), enumerable: true },
    prepareLimits: { value: async (limits: Limits) => limiter.prepare(settingsOf(limits)), enumerable: true },
    ready: { value: async () => limiter.current.meter.ready?.(), enumerable: true },
    close: { value: () => limiter.close(), enumerable: true },
  }) as IpRateLimiter;
}

/** The limits in force, and earlier ones that still decide about requests. */
class Limiter {
  readonly #events: GatewayEvents;
  readonly #retired = new Map<LimitsInForce, NodeJS.Timeout>();
  #current: LimitsInForce;
  /** Counts the calls of `setLimits()` and `apply()`: the last one decides. */
  #changes = 0;
  #isClosed = false;

  constructor(settings: IpRateLimitSettings, events: GatewayEvents) {
    this.#events = events;
    this.#current = new LimitsInForce(settings, events);
  }

  get current(): LimitsInForce {
    return this.#current;
  }

  replace(settings: IpRateLimitSettings): void {
    if (this.#isClosed) throw new GatewayError('ERR_EXPRESSWAY_CLOSED', 'setLimits: the limiter is closed');
    this.#changes += 1;
    const own = this.#changes;
    const next = new LimitsInForce(settings, this.#events);
    if (next.meter.ready === undefined) this.#takeOver(next);
    else void next.meter.ready().then(() => (own === this.#changes ? this.#takeOver(next) : next.meter.close()));
  }

  async prepare(settings: IpRateLimitSettings): Promise<PreparedLimits> {
    const next = new LimitsInForce(settings, this.#events);
    await next.meter.ready?.();
    return { apply: () => this.#takeOver(next), discard: () => void next.meter.close() };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const timer of this.#retired.values()) clearTimeout(timer);
    const all = [this.#current, ...this.#retired.keys()];
    this.#retired.clear();
    await Promise.all(all.map(({ meter }) => meter.close()));
  }

  #takeOver(next: LimitsInForce): void {
    this.#changes += 1;
    if (this.#isClosed) {
      void next.meter.close();
      return;
    }
    const before = this.#current;
    this.#current = next;
    const timer = setTimeout(() => {
      this.#retired.delete(before);
      void before.meter.close();
    }, RETIRE_AFTER_MS).unref();
    this.#retired.set(before, timer);
  }
}

/** Decides about requests, by one set of options. */
class LimitsInForce {
  readonly settings: IpRateLimitSettings;
  readonly meter: LimiterMeter;
  readonly #events: GatewayEvents;
  readonly #context: LimiterContext;
  readonly #engine: Engine;
  readonly #gate: AddressGate | undefined;
  readonly #ownClaims: OwnClaims;

  constructor(settings: IpRateLimitSettings, events: GatewayEvents) {
    const { name, quotas, shadow, allow = [], deny: denied = [] } = settings;
    this.settings = settings;
    this.#events = events;
    this.meter = openLimiterMeter(settings, (from, to, error) => {
      events.emit('limiterModeChange', { limiter: name, from, to, error });
    });
    const fields = rateLimitFields(settings.fields, name, quotas);
    this.#context = { name, quotas, shadow, events, fields, meter: this.meter };
    this.#engine = createEngine(this.meter);
    // A lookup in an empty list costs as much as in a full one.
    this.#gate = allow.length + denied.length > 0 ? new AddressGate(allow, denied) : undefined;
    this.#ownClaims = new OwnClaims(settings, settings.windowMs);
  }

  decide(exchange: Exchange, next: Next): void {
    if (this.#gate !== undefined) {
      const verdict = this.#gate.judge(exchange);
      if (verdict === 'denied') deny(exchange, this.#events);
      else if (verdict === 'allowed') next();
      if (verdict !== 'limited') return;
    }
    if (this.#ownClaims.asks) {
      void this.#decideOwn(exchange, next);
      return;
    }
    const key = clientKey(exchange, this.settings.ipv6Subnet);
    if (key !== undefined) this.#engine(new CountedRequest(exchange, this.#context, key), next);
    else abandon(exchange);
  }

  async reset(text: string): Promise<void> {
    if (typeof text !== 'string') throw new OptionsError('resetKey', [`key must be a text, got ${shownValue(text)}`]);
    const keys = [addressKey(text, this.settings.ipv6Subnet) ?? text, ownKey(text)];
    await Promise.all(keys.map((key) => this.meter.reset(key)));
  }

  /** Awaits the app's functions only if one of them returned a promise. */
  async #decideOwn(exchange: Exchange, next: Next): Promise<void> {
    const { req } = exchange;
    let key: string | undefined;
    let claim: OwnClaim | undefined;
    try {
      const asked = this.#ownClaims.ask(req);
      claim = asked instanceof Promise ? await asked : asked;
      if (claim === undefined) {
        next();
        return;
      }
      key = claim.key ?? clientKey(exchange, this.settings.ipv6Subnet);
    } catch (error) {
      next(error);
      return;
    }
    if (key !== undefined)
      this.#engine(new CountedRequest(exchange, this.#context, key, claim.cost, claim.limit), next);
    else abandon(exchange);
  }
}

/** The client has left, and its address is unknown. Under one common key, all such clients would limit each other. */
function abandon(exchange: Exchange): void {
  // Otherwise it would look as if the app had broken off its response.
  exchange.settle(ABORTED);
  exchange.res.destroy();
}
