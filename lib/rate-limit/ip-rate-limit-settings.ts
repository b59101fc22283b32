import { eventsCheck } from '../core/gateway-events.ts';
import {
  anything,
  boolean,
  type Check,
  type Checks,
  durationMs,
  type ForeignOptions,
  func,
  integer,
  OptionsError,
  oneOf,
  optional,
  optionalDurationMs,
  resolveOptions,
} from '../core/options.ts';
import { addressListCheck } from './address-list.ts';
import { AlgorithmScripts } from './algorithms/algorithm-scripts.ts';
import { ALGORITHMS, NAMES_WITH_BURST, rateLimitAlgorithms } from './algorithms/registry.ts';
import type { CounterLink } from './cluster/counter-question.ts';
import { ON_STORE_ERROR } from './fallback/fallback.ts';
import { IP_RATE_LIMIT_DEFAULTS, type IpRateLimitOptions } from './ip-rate-limit-options.ts';
import { leaseCheck } from './leases/leasing-store.ts';
import { type Quota, quotaProblem, quotasOfWindows, windowMsCheck, windowsCheck } from './quota.ts';
import { FIELDS_FORMS } from './rate-limit-fields.ts';
import { RedisUrl } from './redis/redis-address.ts';
import { type RedisClient, redisClientProblem } from './redis/redis-client.ts';
import { assertTrustProxy } from './trust-proxy.ts';

/** Longest integer of a structured field (RFC 9651 §3.3.1). */
const LARGEST_SF_INTEGER = 999_999_999_999_999;
/** With the longest client key, a key has less than 120 bytes. */
const LONGEST_PREFIX = 40;

/** Characters that the name of a limiter may have beside this `keyPrefix`. */
export const longestName = (prefix: string = IP_RATE_LIMIT_DEFAULTS.keyPrefix): number =>
  LONGEST_PREFIX - 1 - prefix.length;

type Given = Omit<IpRateLimitOptions, 'redis'> & { redis?: RedisClient | RedisUrl | undefined };

/** Options of a limiter whose URL of Redis may have been read already. */
export type LimiterOptions = Omit<IpRateLimitOptions, 'redis'> & {
  redis?: IpRateLimitOptions['redis'] | RedisUrl | undefined;
};

export type IpRateLimitSettings = Given &
  typeof IP_RATE_LIMIT_DEFAULTS & { readonly prefix: string; readonly quotas: readonly Quota[] };

const redis: Check = (given) => {
  const value = typeof given === 'string' ? new RedisUrl(given) : given;
  if (!(value instanceof RedisUrl)) return redisClientProblem(value);
  // As a list, because the value would be shown behind a single text, and the user did not give it.
  return value.problem === undefined ? undefined : [value.problem];
};

const counter: Check = (value) => {
  const { ask, processes } = (value ?? {}) as Partial<CounterLink>;
  return typeof ask === 'function' && Number.isSafeInteger(processes) && (processes as number) > 0
    ? undefined
    : 'must have a function ask and processes, an integer from 1 up';
};

const keyPrefix: Check = (value) =>
  typeof value === 'string' && /^[!-z|~]*$/.test(value) ? undefined : 'must be visible ASCII characters except { and }';

const keySecret: Check = (value) =>
  // As a list, because the value would be shown behind a single text.
  typeof value === 'string' && value.length >= 16 ? undefined : ['must be a text of at least 16 characters'];

/** Fits a structured field's string without escapes, and cannot be taken for a part of an address in a key. */
const name: Check = (value) =>
  typeof value === 'string' && /^[ -z|~]+$/.test(value) && !/["\\:]/.test(value)
    ? undefined
    : 'must be printable ASCII characters except ", \\, :, { and }';

const count = integer(1, LARGEST_SF_INTEGER);

/** Checks of each option by itself. */
export const IP_RATE_LIMIT_CHECKS: Checks<Given> = {
  algorithm: oneOf(...rateLimitAlgorithms),
  limit: (value) => (typeof value === 'function' ? undefined : count(value)),
  windowMs: windowMsCheck,
  burst: optional(count),
  windows: optional(windowsCheck),
  key: optional(func),
  cost: optional(func),
  skip: optional(func),
  allow: optional(addressListCheck),
  deny: optional(addressListCheck),
  shadow: boolean,
  fields: oneOf(...FIELDS_FORMS),
  maxKeys: integer(1_000),
  redis: optional(redis),
  counter: optional(counter),
  keyPrefix,
  keySecret: optional(keySecret),
  // The range of express-rate-limit: beyond it, one key is a whole provider, or one of many that a client has.
  ipv6Subnet: integer(32, 64),
  storeTimeoutMs: durationMs,
  fallbackAfterMisses: integer(1),
  fallbackAfterMs: optionalDurationMs,
  onStoreError: oneOf(...ON_STORE_ERROR),
  lease: leaseCheck,
  name,
  trustProxy: anything,
  events: optional(eventsCheck),
};

const ANSWER =
  'the limiter sends 429 itself, and errorResponses() gives it the format of your app; the event "limited" reports it, and rateLimitStore() ' +
  'serves rateLimit()';
const NO_RETURN = 'a request counts when it comes; skip and cost decide before that';

/** Options of express-rate-limit, rate-limiter-flexible and @fastify/rate-limit that users may try here. */
export const FOREIGN_LIMITER_OPTIONS: ForeignOptions = Object.freeze({
  max: 'use limit',
  points: 'use limit',
  window: 'use windowMs',
  timeWindow: 'use windowMs',
  duration: 'use windowMs, in milliseconds',
  keyGenerator: 'use key',
  handler: ANSWER,
  message: ANSWER,
  statusCode: ANSWER,
  onLimitReached: 'listen for the event "limited"',
  skipFailedRequests: NO_RETURN,
  skipSuccessfulRequests: NO_RETURN,
  requestWasSuccessful: NO_RETURN,
  standardHeaders: 'use fields',
  legacyHeaders: 'use fields',
  headers: 'use fields',
  identifier: 'use name',
  store: 'use redis',
  storeClient: 'use redis',
  client: 'use redis',
  prefix: 'use keyPrefix',
  passOnStoreError: 'use onStoreError: "open"',
  skipOnError: 'use onStoreError: "open"',
  timeout: 'use storeTimeoutMs',
  allowList: 'use allow',
  whitelist: 'use allow',
  denyList: 'use deny',
  blacklist: 'use deny',
});

/** All names of options. */
export const LIMITER_OPTIONS: readonly string[] = Object.keys(IP_RATE_LIMIT_CHECKS);

/**
 * @param subject The function that the app called.
 * @throws {OptionsError} `ERR_EXPRESSWAY_OPTIONS`, with every problem
 * @throws {GatewayError} `ERR_EXPRESSWAY_TRUST_PROXY`
 */
export function resolveIpRateLimitOptions(
  options: LimiterOptions | undefined,
  subject = 'ipRateLimit',
): IpRateLimitSettings {
  const given = typeof options?.redis === 'string' ? { ...options, redis: new RedisUrl(options.redis) } : options;
  const settings = resolveOptions<Given, typeof IP_RATE_LIMIT_DEFAULTS>(
    subject,
    given as Given | undefined,
    IP_RATE_LIMIT_DEFAULTS,
    IP_RATE_LIMIT_CHECKS,
    FOREIGN_LIMITER_OPTIONS,
  );
  const prefix = `${settings.keyPrefix}${settings.name}:`;
  const quotas = quotasOf(settings);
  const problems = problemsOf(options ?? {}, settings, quotas);
  if (prefix.length > LONGEST_PREFIX) {
    problems.push(`keyPrefix and name must not be longer than ${LONGEST_PREFIX - 1} together`);
  }
  if (problems.length > 0) throw new OptionsError(subject, problems);
  assertTrustProxy(settings.trustProxy);
  return { ...settings, prefix, quotas };
}

/** Placeholder for a function as `limit`: each claim brings its own limit. */
function quotasOf({ limit, windowMs, burst, windows }: Given & typeof IP_RATE_LIMIT_DEFAULTS): readonly Quota[] {
  if (windows !== undefined) return quotasOfWindows(windows);
  const fixed = typeof limit === 'number' ? limit : 1;
  return [{ limit: fixed, windowMs, burst: burst ?? fixed }];
}

/** Problems of several options together, if each one is valid. */
function problemsOf(
  options: LimiterOptions,
  { algorithm: name }: typeof IP_RATE_LIMIT_DEFAULTS,
  quotas: readonly Quota[],
): string[] {
  const { redis, isRefilled } = ALGORITHMS[name];
  const { limit, windowMs, burst, windows } = options;
  const problems: string[] = [];
  if (options.counter !== undefined && options.redis !== undefined)
    problems.push('counter cannot be combined with redis');
  if (windows !== undefined && (limit ?? windowMs ?? burst) !== undefined) {
    problems.push('windows replaces limit, windowMs and burst');
  }
  if (burst !== undefined && !isRefilled) problems.push(`burst is for the algorithm ${NAMES_WITH_BURST}`);
  if (burst !== undefined && typeof limit === 'function')
    problems.push('burst cannot be given with a function as limit');
  if (!(redis instanceof AlgorithmScripts)) {
    for (const one of ['windows', 'cost', 'keySecret'] as const) {
      if (options[one] !== undefined) problems.push(`${one} is not for the algorithm ${name}`);
    }
    if (options.lease) problems.push(`lease is not for the algorithm ${name}`);
  } else {
    problems.push(...new Set(quotas.map(quotaProblem).filter((problem) => problem !== undefined)));
  }
  return problems;
}
