import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Options, rateLimit } from 'express-rate-limit';
import { GatewayEvents, type LimiterMode } from '../core/events.ts';
import { exchangeOf } from '../core/exchange.ts';
import type { GatewayRequest, Middleware, Next } from '../core/http.ts';
import { Admission, type AdmissionDesk } from './admission.ts';
import { addressKey, clientKey } from './client-key.ts';
import { type IpRateLimitOptions, resolveIpRateLimitOptions } from './ip-rate-limit-options.ts';
import { openLimiterStore } from './open-limiter-store.ts';
import { RateLimitFields } from './rate-limit-fields.ts';
import { trustProxyError } from './trust-proxy.ts';

export interface IpRateLimiter extends Middleware {
  readonly name: string;
  /** `memory` without Redis; else `redis`, or `local` while Redis fails. */
  readonly mode: LimiterMode;
  readonly events: GatewayEvents;
  /**
   * Forgets the requests of one client, given as an address or as the key of a `limited` event. Rejects when
   * Redis could not be told; this process has forgotten even then.
   */
  resetKey(key: string): Promise<void>;
  /**
   * Stops timers, and the connection to Redis if it was made from a URL. Requests that still come are counted
   * in this process.
   */
  close(): Promise<void>;
}

/** express-rate-limit's middleware, as it is used here: what it takes for the request is an admission. */
type Engine = (admission: Admission, res: ServerResponse, next: Next) => Promise<void>;

/**
 * Limits how many requests a client may make per fixed window: by IP address under the app's `trust proxy`, IPv6
 * by network. Over the limit, the client gets 429 with the true wait as `Retry-After`.
 *
 * With Redis, gateways share the counts. A Redis that is down, silent or failing never costs a request more than
 * `storeTimeoutMs`: it is counted in this process meanwhile, and the shared counts are taken up again once
 * Redis is back.
 *
 * An app with `trust proxy: true` has every request passed on as an error: see `assertTrustProxy()`.
 *
 * @throws {OptionsError} `ERR_EXPRESSWAY_OPTIONS`, with every problem
 * @throws {GatewayError} `ERR_EXPRESSWAY_TRUST_PROXY` for a bad `trustProxy`
 */
export function ipRateLimit(options?: IpRateLimitOptions): IpRateLimiter {
  const settings = resolveIpRateLimitOptions(options);
  const { name, limit, windowMs, ipv6Subnet, events = new GatewayEvents() } = settings;
  const desk: AdmissionDesk = { name, limit, events, fields: new RateLimitFields(name, limit, windowMs) };
  const store = openLimiterStore(settings, (from, to, error) => {
    events.emit('limiterModeChange', { limiter: name, from, to, error });
  });
  const engine = rateLimit({
    limit,
    windowMs,
    store,
    legacyHeaders: false,
    standardHeaders: false,
    // Its checks print once and go on; ours throw at construction.
    validate: false,
    keyGenerator: ((admission: Admission) => admission.key) as unknown as NonNullable<Options['keyGenerator']>,
    handler: ((admission: Admission) => admission.refuse()) as unknown as NonNullable<Options['handler']>,
  }) as unknown as Engine;

  function ipRateLimiter(incoming: IncomingMessage, res: ServerResponse, next: Next): void {
    const req: GatewayRequest = incoming;
    if (req.app?.get('trust proxy') === true) {
      next(trustProxyError(true));
      return;
    }
    const exchange = exchangeOf(incoming, res);
    const key = clientKey(exchange, ipv6Subnet);
    if (key !== undefined) void engine(new Admission(exchange, key, desk), res, next);
    // The client has left. Counted under one key, all who leave would limit each other.
    else res.destroy();
  }

  return Object.defineProperties(ipRateLimiter, {
    name: { value: name },
    mode: { get: () => store.mode, enumerable: true },
    events: { value: events, enumerable: true },
    resetKey: { value: async (key: string) => store.resetKey(addressKey(key, ipv6Subnet) ?? key), enumerable: true },
    close: { value: async () => store.close(), enumerable: true },
  }) as unknown as IpRateLimiter;
}
