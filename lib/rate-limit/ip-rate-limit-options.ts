import { CLIENT_NETWORK_BITS } from '../core/address-key.ts';
import type { GatewayEvents } from '../core/gateway-events.ts';
import type { RequestFunction } from '../core/http.ts';
import type { AlgorithmName } from './algorithms/registry.ts';
import type { CounterLink } from './cluster/counter-question.ts';
import type { OnStoreError } from './fallback/fallback.ts';
import type { LeaseOptions } from './leases/leasing-store.ts';
import type { RateLimitWindow } from './quota.ts';
import type { FieldsForm } from './rate-limit-fields.ts';
import type { RedisClient } from './redis/redis-client.ts';
import type { TrustProxy } from './trust-proxy.ts';

type Claimed<Value> = RequestFunction<Value | Promise<Value>>;

/** The limit of one request: an integer from 1 up. */
export type LimitFunction = Claimed<number>;
/** The cost of one request: an integer from 0 up. */
export type CostFunction = Claimed<number>;
/** The key that a request counts under; `undefined` for the address of its client. */
export type KeyFunction = Claimed<string | undefined>;
/** Whether one request is not limited. */
export type SkipFunction = Claimed<boolean>;

/** Options of `ipRateLimit()`. */
export interface IpRateLimitOptions {
  /** The algorithm that counts requests: see the table in docs/rate-limit.md. Default `sliding-window`. */
  algorithm?: AlgorithmName | undefined;
  /**
   * Requests that one client may make per window, at least 1; or a function of the request that returns this number or
   * a promise of it. Times `windowMs` it must stay below 2^53. Default 100.
   */
  limit?: number | LimitFunction | undefined;
  /** Length of the window in milliseconds, up to 366 days. It starts with a client's first request. Default 60,000. */
  windowMs?: number | undefined;
  /** Tokens in a full bucket, at least 1. Not allowed with a function as `limit`. Default: `limit`. */
  burst?: number | undefined;
  /**
   * Several windows in place of `limit` and `windowMs`, like `100/1m, 1000/1h`. A request passes if all of them admit
   * it. It counts in all of them or in none. Default: none.
   */
  windows?: string | readonly RateLimitWindow[] | undefined;
  /**
   * Returns the key of a request's count, or a promise of it: any text. The SHA-256 replaces a text over 64 characters. Without a key, or with
   * an empty one, the request counts under its client's address. Default: always its client's address.
   */
  key?: KeyFunction | undefined;
  /**
   * Returns the cost of a request: an integer from 0, or a promise of it. A cost above the limit counts as the whole limit. Default: 1 for every
   * request.
   */
  cost?: CostFunction | undefined;
  /** Whether a request is neither limited nor counted, or a promise of that. `deny` applies all the same. Default: none. */
  skip?: SkipFunction | undefined;
  /** Addresses and CIDR ranges that are never limited, nor counted. Default: none. */
  allow?: readonly string[] | undefined;
  /** Addresses and CIDR ranges that get 403, also when they are in `allow`. Default: none. */
  deny?: readonly string[] | undefined;
  /**
   * Counts and emits `limited` events, but rejects no request and sends no headers about the limit (`deny` still applies).
   * Default false.
   */
  shadow?: boolean | undefined;
  /** Format of the response headers about the limit. A 429 always has `Retry-After`. Default `draft-8`. */
  fields?: FieldsForm | undefined;
  /**
   * Largest number of clients that this process counts separately, at least 1,000. Further ones share one limit until others are forgotten.
   * 1,000,000 clients take about 160 MB for each window. Default 1,000,000.
   */
  maxKeys?: number | undefined;
  /**
   * Redis in which gateways share their counts. Default: none, each process counts alone. A URL is one of
   *
   * - `redis://[user:password@]host[:6379][/database]`,
   * - `redis+cluster://[user:password@]host[:6379],host…`: some nodes of a cluster, which name the others,
   * - `redis+sentinel://[user:password@]host[:26379],host…/master[/database]`, with `sentinel_username` and
   *   `sentinel_password` as parameters if the Sentinels need a login.
   *
   * With `rediss` in place of `redis`, each uses TLS, and accepts the parameters `ssl_ca_certs`, `ssl_certfile` and `ssl_keyfile`: PEM
   * files, read at construction. Percent-encode user name and password.
   *
   * A client is one made with `createClient()`, `createCluster()` or `createSentinel()` of the package `redis`, or a
   * `Redis` or `Cluster` of ioredis.
   *
   * A login needs the keys `<keyPrefix><name>:*` and these commands: evalsha, eval, script|load, del, zrem and ping; in
   * scripts get, set, time, pttl, incr, zadd, zremrangebyscore, zcard and pexpire; for Redis Cluster also cluster|slots.
   *
   * If a key of a client holds something else, such as a hash of another program, the limiter leaves it as it is, and
   * `onStoreError` decides about that client alone. The warning `WARN_EXPRESSWAY_REDIS_KEY` names the key. If it is the key of
   * the gateways, `<keyPrefix><name>:{gateways}`, the limiter uses Redis for no client.
   *
   * The package `redis` is loaded only for a URL. If that fails, the limiter counts in this process: a
   * `limiterModeChange` event and a process warning of type `ExpresswayRedisWarning` carry the error.
   *
   * A client that you pass gets an `error` and a `ready` listener, so that a lost connection does not end the process.
   * If it is not open by then, `ready()` or the first request connects it. The limiter never closes it. Give it a
   * `socketTimeout`, a `pingInterval` and a `reconnectStrategy` that never gives up. Set `autoResendUnfulfilledCommands` of
   * ioredis to false, and give `createSentinel()` a `scanInterval`. With other settings, hits in progress when the
   * connection breaks may count late, or twice; never less.
   */
  redis?: RedisClient | string | undefined;
  /**
   * Link to a `limiterCounter()` in another process of this machine, in which processes share their counts without Redis.
   * `storeTimeoutMs`, `onStoreError` and `lease` apply to it as to Redis. Not with `redis`. Default: none.
   */
  counter?: CounterLink | undefined;
  /**
   * Prefix of the keys in Redis; the limiter's name and a colon follow. Limiters of different names never share a count.
   * Gateways that share a limit use the same name and prefix.
   * Default `expressway:rl:`.
   */
  keyPrefix?: string | undefined;
  /**
   * Secret of at least 16 characters. Redis then gets the HMAC (RFC 2104, SHA-256) of each key, and holds no addresses.
   * Gateways that share counts need the same secret. Default: none.
   */
  keySecret?: string | undefined;
  /** Leading bits of an IPv6 address that make one client, 32 to 64. Default 56. */
  ipv6Subnet?: number | undefined;
  /**
   * Milliseconds for which a request waits for Redis. If the reply is late, `onStoreError` decides about this request. Its hit still counts in
   * Redis, and other requests still ask Redis. Default 50.
   */
  storeTimeoutMs?: number | undefined;
  /**
   * Late replies in a row after which Redis counts as away, and requests no longer wait for it. At least 1. `fallbackAfterMs` must have passed
   * as well. Default 5.
   */
  fallbackAfterMisses?: number | undefined;
  /** Milliseconds for which replies must have been late in a row before Redis counts as away. 0 for no such time. Default 1,000. */
  fallbackAfterMs?: number | undefined;
  /**
   * What happens to requests while Redis fails, and to a single request whose reply is late. Default `local`.
   *
   * - `local`: this process counts by itself, from the last known counts in Redis. Its part is the limit divided by the
   *   number of gateways last known, rounded down, at least 1 per window. It is the whole limit if Redis never replied.
   * - `open`: all requests pass, without headers about the limit.
   * - `closed`: all requests get 503. `Retry-After` is the time until Redis is tried again (1 to 5 seconds).
   */
  onStoreError?: OnStoreError | undefined;
  /**
   * Takes shares of a client's quota from Redis in advance, and spends them without asking: far fewer commands for clients
   * that send much. Never more requests pass than without it, but sometimes fewer: other gateways cannot use the share that
   * one gateway holds, and an unused share is lost until its window is over. `true`, or `{ share }`: at most that part of
   * the remaining quota, 0.25 if not given. Without `redis` it has no effect. Not allowed with the algorithm `fixed-window`. Default false.
   */
  lease?: boolean | LeaseOptions | undefined;
  /** Name of the limit in the `RateLimit` fields, in keys and in events. Default `ip`. */
  name?: string | undefined;
  /** The app's `trust proxy` setting, for an early check by `assertTrustProxy()`. Default: no early check. */
  trustProxy?: TrustProxy | undefined;
  /** Emitter to report to. Default: one of its own. */
  events?: GatewayEvents | undefined;
}

/** Defaults of {@link IpRateLimitOptions}. */
export const IP_RATE_LIMIT_DEFAULTS = Object.freeze({
  algorithm: 'sliding-window' as AlgorithmName,
  limit: 100 as number | LimitFunction,
  windowMs: 60_000,
  shadow: false,
  fields: 'draft-8' as FieldsForm,
  maxKeys: 1_000_000,
  keyPrefix: 'expressway:rl:',
  ipv6Subnet: CLIENT_NETWORK_BITS,
  storeTimeoutMs: 50,
  fallbackAfterMisses: 5,
  fallbackAfterMs: 1_000,
  onStoreError: 'local' as OnStoreError,
  lease: false as boolean | LeaseOptions,
  name: 'ip',
});
