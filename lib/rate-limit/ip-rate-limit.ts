import type { IncomingMessage, ServerResponse } from 'node:http';
import { GatewayEvents, type LimiterMode } from '../core/events.ts';
import { type Exchange, exchangeOf } from '../core/exchange.ts';
import type { GatewayRequest, Middleware, Next } from '../core/http.ts';
import { AddressGate, deny } from './address-gate.ts';
import { Admission, type AdmissionDesk } from './admission.ts';
import { Claimant, type OwnClaim, ownKey } from './claimant.ts';
import { addressKey, clientKey } from './client-key.ts';
import { createEngine } from './engine.ts';
import type { IpRateLimitOptions } from './ip-rate-limit-options.ts';
import { resolveIpRateLimitOptions } from './ip-rate-limit-settings.ts';
import { LimiterMember } from './limiter-census.ts';
import { openLimiterMeter } from './open-limiter-meter.ts';
import { rateLimitFields } from './rate-limit-fields.ts';
import { trustProxyError } from './trust-proxy.ts';

/** The middleware of {@link ipRateLimit}, and what can be asked of it. */
export interface IpRateLimiter extends Middleware {
  readonly name: string;
  /** `memory` without Redis; else `redis`, or what `onStoreError` says while Redis fails. */
  readonly mode: LimiterMode;
  readonly events: GatewayEvents;
  /**
   * Forgets the requests of one client, given as an address, as what the option `key` gave, or as the key of a
   * `limited` event. A text that may be more than one of these counts as each of them. Other gateways that have just refused the client go on until the wait is over that they told it; with
   * leases, they spend what they hold. Rejects when Redis could not be told; this process has forgotten even then.
   */
  resetKey(key: string): Promise<void>;
  /**
   * Waits until Redis was reached and other gateways have heard of this one, so that the first requests are counted together: for
   * 5 seconds at most, and not where Redis is away. To be waited for before the server listens.
   */
  ready(): Promise<void>;
  /**
   * Stops timers, and the connection to Redis if it was made from a URL. Requests that still come are treated as
   * `onStoreError` says.
   */
  close(): Promise<void>;
}

/**
 * Limits how many requests a client may make per window: by IP address under the app's `trust proxy`, IPv6 by
 * network, or by a key of the app's own. Over the limit, the client gets 429 with the true wait as `Retry-After`.
 *
 * With Redis, gateways share the counts. A Redis that is down, silent or failing never costs a request more than
 * `storeTimeoutMs`: `onStoreError` says what becomes of it, and the shared counts are taken up again once Redis is back.
 *
 * An app with `trust proxy: true` has every request passed on as an error: see `assertTrustProxy()`.
 *
 * @throws {OptionsError} `ERR_EXPRESSWAY_OPTIONS`, with every problem
 * @throws {GatewayError} `ERR_EXPRESSWAY_TRUST_PROXY` for a bad `trustProxy`
 */
export function ipRateLimit(options?: IpRateLimitOptions): IpRateLimiter {
  const settings = resolveIpRateLimitOptions(options);
  const { name, quotas, shadow, ipv6Subnet, events = new GatewayEvents() } = settings;
  const meter = openLimiterMeter(settings, (from, to, error) => {
    events.emit('limiterModeChange', { limiter: name, from, to, error });
  });
  const fields = rateLimitFields(settings.fields, name, quotas);
  const desk: AdmissionDesk = { name, quotas, shadow, events, fields, meter };
  const engine = createEngine(meter);
  const { allow = [], deny: denied = [] } = settings;
  // To look into an empty list would cost as much as to look into a full one.
  const gate = allow.length + denied.length > 0 ? new AddressGate(allow, denied) : undefined;
  const claimant = new Claimant(settings, settings.windowMs);
  const asks = claimant.asks;
  const { redis } = options ?? {};
  const member = new LimiterMember(redis ? { redis, prefix: settings.prefix } : undefined);

  function ipRateLimiter(incoming: IncomingMessage, res: ServerResponse, next: Next): void {
    const req: GatewayRequest = incoming;
    if (req.app?.get('trust proxy') === true) {
      next(trustProxyError(true));
      return;
    }
    if (member.seat.last !== member) member.called(incoming);
    const exchange = exchangeOf(incoming, res);
    if (gate !== undefined) {
      const verdict = gate.judge(exchange);
      if (verdict === 'denied') deny(exchange, events);
      else if (verdict === 'allowed') next();
      if (verdict !== 'limited') return;
    }
    if (asks) {
      void admitOwn(exchange, next);
      return;
    }
    const key = clientKey(exchange, ipv6Subnet);
    if (key !== undefined) engine(new Admission(exchange, desk, key), res, next);
    // The client has left. Counted under one key, all who leave would limit each other.
    else res.destroy();
  }

  /** Waits for no promise where there is none. */
  async function admitOwn(exchange: Exchange, next: Next): Promise<void> {
    const { req, res } = exchange;
    let key: string | undefined;
    let claim: OwnClaim | undefined;
    try {
      const asked = claimant.ask(req);
      claim = asked instanceof Promise ? await asked : asked;
      if (claim === undefined) {
        next();
        return;
      }
      key = claim.key ?? clientKey(exchange, ipv6Subnet);
    } catch (error) {
      next(error);
      return;
    }
    if (key !== undefined) engine(new Admission(exchange, desk, key, claim.cost, claim.limit), res, next);
    else res.destroy();
  }

  const reset = async (text: string): Promise<void> => {
    const keys = new Set([addressKey(text, ipv6Subnet) ?? text]);
    if (settings.key !== undefined) keys.add(ownKey(text));
    await Promise.all([...keys].map((key) => meter.reset(key)));
  };

  return Object.defineProperties(ipRateLimiter, {
    name: { value: name },
    mode: { get: () => meter.mode, enumerable: true },
    events: { value: events, enumerable: true },
    resetKey: { value: reset, enumerable: true },
    ready: { value: async () => meter.ready?.(), enumerable: true },
    close: { value: async () => meter.close(), enumerable: true },
  }) as unknown as IpRateLimiter;
}
