import { GatewayEvents } from '../core/events.ts';
import {
  anything,
  type Check,
  type Checks,
  durationMs,
  integer,
  OptionsError,
  optional,
  resolveOptions,
} from '../core/options.ts';
import { type RedisClient, redisClientProblem } from './redis-client.ts';
import { RedisUrl } from './redis-url.ts';
import { assertTrustProxy, type TrustProxy } from './trust-proxy.ts';

export interface IpRateLimitOptions {
  /** Requests that one client may make per window, at least 1. Default 100. */
  limit?: number | undefined;
  /** Length of the window in milliseconds. It starts with a client's first request. Default 60,000. */
  windowMs?: number | undefined;
  /**
   * Where gateways share their counts: a `redis://` or `rediss://` URL, or a client made with `createClient()`
   * of the package `redis`. Default: none, each process counts alone.
   *
   * The package is loaded only for a URL. If that fails, the limiter counts in this process: a
   * `limiterModeChange` event and a process warning of type `ExpresswayRedisWarning` carry the error.
   *
   * A client that is handed in gets an `error` and a `ready` listener, so that a lost connection does not end
   * the process; it is connected at the first request if it is not open by then, and never closed. Give it a
   * `socketTimeout`, a `pingInterval` and a `reconnectStrategy` that never gives up, as a URL's client has.
   */
  redis?: RedisClient | string | undefined;
  /**
   * What the keys in Redis start with. The limiter's name and a colon are added, so limiters of different
   * names never share a count, and gateways that should share one use the same name and prefix.
   * Default `expressway:rl:`.
   */
  keyPrefix?: string | undefined;
  /** Leading bits of an IPv6 address that make one client, 32 to 64. Default 56. */
  ipv6Subnet?: number | undefined;
  /** Milliseconds that Redis may take for one request, which is then counted in this process. Default 50. */
  storeTimeoutMs?: number | undefined;
  /** Name of the limit in the `RateLimit` fields, in keys and in events. Default `ip`. */
  name?: string | undefined;
  /** The app's `trust proxy` setting, only to be checked early: see `assertTrustProxy()`. Default: not checked. */
  trustProxy?: TrustProxy | undefined;
  /** Emitter to report to. Default: one of its own. */
  events?: GatewayEvents | undefined;
}

export const IP_RATE_LIMIT_DEFAULTS = Object.freeze({
  limit: 100,
  windowMs: 60_000,
  keyPrefix: 'expressway:rl:',
  ipv6Subnet: 56,
  storeTimeoutMs: 50,
  name: 'ip',
});

/** Longest integer of a structured field (RFC 9651 §3.3.1). */
const LARGEST_SF_INTEGER = 999_999_999_999_999;
/** Leaves room for the longest client key in a key of 64 bytes. */
const LONGEST_PREFIX = 40;

type Given = Omit<IpRateLimitOptions, 'redis'> & { redis?: RedisClient | RedisUrl | undefined };

const redis: Check = (value) => (value instanceof RedisUrl ? value.problem : redisClientProblem(value));

const keyPrefix: Check = (value) =>
  typeof value === 'string' && /^[!-~]*$/.test(value) ? undefined : 'must be visible ASCII characters';

/** Fits a structured field's string without escapes, and cannot be taken for a part of an address in a key. */
const name: Check = (value) =>
  typeof value === 'string' && /^[ -~]+$/.test(value) && !/["\\:]/.test(value)
    ? undefined
    : 'must be printable ASCII characters except ", \\ and :';

const CHECKS: Checks<Given> = {
  limit: integer(1, LARGEST_SF_INTEGER),
  windowMs: durationMs,
  redis: optional(redis),
  keyPrefix,
  // The range of express-rate-limit: beyond it, one key is a whole provider, or one of many that a client has.
  ipv6Subnet: integer(32, 64),
  storeTimeoutMs: durationMs,
  name,
  trustProxy: anything,
  events: optional((value) => (value instanceof GatewayEvents ? undefined : 'must be a GatewayEvents')),
};

export type IpRateLimitSettings = Given & typeof IP_RATE_LIMIT_DEFAULTS & { readonly prefix: string };

/**
 * @throws {OptionsError} `ERR_EXPRESSWAY_OPTIONS`, with every problem
 * @throws {GatewayError} `ERR_EXPRESSWAY_TRUST_PROXY`
 */
export function resolveIpRateLimitOptions(options: IpRateLimitOptions | undefined): IpRateLimitSettings {
  const given = typeof options?.redis === 'string' ? { ...options, redis: new RedisUrl(options.redis) } : options;
  const settings = resolveOptions<Given, typeof IP_RATE_LIMIT_DEFAULTS>(
    'ipRateLimit',
    given as Given | undefined,
    IP_RATE_LIMIT_DEFAULTS,
    CHECKS,
  );
  const prefix = `${settings.keyPrefix}${settings.name}:`;
  if (prefix.length > LONGEST_PREFIX) {
    throw new OptionsError('ipRateLimit', [
      `keyPrefix and name must not be longer than ${LONGEST_PREFIX - 1} together`,
    ]);
  }
  assertTrustProxy(settings.trustProxy);
  return { ...settings, prefix };
}
