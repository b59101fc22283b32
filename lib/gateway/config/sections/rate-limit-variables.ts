import {
  type AlgorithmName,
  assertAddressList,
  type OnStoreError,
  OptionsError,
  rateLimitAlgorithms,
} from '../../../index.ts';
import { quotaProblem } from '../../../rate-limit/quota.ts';
import { decimal, durationMs, durationMsOrZero, integer, oneOf, onOrOff, optional, section } from '../variable.ts';

export interface RateLimitConfig {
  readonly redisUrl: string | undefined;
  /** Whether all requests of a client address have a common limit. */
  readonly isRateLimited: boolean;
  readonly rateLimit: {
    readonly algorithm: AlgorithmName;
    readonly limit: number;
    readonly windowMs: number;
    /** For the token bucket only. */
    readonly burst: number | undefined;
    readonly allow: readonly string[];
    readonly deny: readonly string[];
    readonly onStoreError: OnStoreError;
    /** `undefined` when each request asks Redis. */
    readonly lease: { readonly share: number } | undefined;
    readonly ipv6Subnet: number;
    readonly storeTimeoutMs: number;
    readonly fallbackAfterMisses: number;
    readonly fallbackAfterMs: number;
  };
}

export const rateLimit = section(
  'Rate limit',
  {
    REDIS_URL: {
      text: `Redis that gateways share the rate limits in, like redis://localhost:6379, redis+cluster://one:7000,two:7000 or
        redis+sentinel://one:26379,two:26379/mymaster; rediss in place of redis is TLS. Empty counts in memory.`,
      read: optional(redisUrl),
    },
    RATE_LIMIT: {
      text: `The limit of all requests of a client address, as the variables below say: on, or off with GATEWAY_CONFIG, whose routes have
        limits of their own. With on, a request must be within both, and one that no route takes counts too.`,
      default: 'on',
      read: onOrOff,
    },
    RATE_LIMIT_ALGORITHM: {
      text: `How requests are counted: ${rateLimitAlgorithms.join(', ')}. docs/rate-limit.md says how each does.`,
      default: 'sliding-window',
      read: oneOf(...rateLimitAlgorithms),
      takesEffect: 'reload',
    },
    RATE_LIMIT_MAX: {
      text: 'Requests that one client address may make in a window.',
      default: '100',
      read: integer(1),
      takesEffect: 'reload',
    },
    RATE_LIMIT_WINDOW_MS: {
      text: 'Length of that window, in milliseconds, up to 366 days.',
      default: '60000',
      read: integer(1, 366 * 86_400_000),
      takesEffect: 'reload',
    },
    RATE_LIMIT_BURST: {
      text: 'With token-bucket: how many requests may come at once; empty for as many as RATE_LIMIT_MAX.',
      read: optional(integer(1)),
      takesEffect: 'reload',
    },
    RATE_LIMIT_ALLOW: {
      text: 'Addresses and CIDR ranges that are never limited, comma-separated, like 10.0.0.0/8,2001:db8::/32.',
      read: addresses,
      takesEffect: 'reload',
    },
    RATE_LIMIT_DENY: {
      text: 'Addresses and CIDR ranges that get 403, even if they are in RATE_LIMIT_ALLOW.',
      read: addresses,
      takesEffect: 'reload',
    },
    RATE_LIMIT_ON_STORE_ERROR: {
      text: `What happens while Redis fails: local (this gateway counts alone, with its part of the limit), open (every request passes) or closed (every request gets 503).`,
      default: 'local',
      read: oneOf('local', 'open', 'closed'),
      takesEffect: 'reload',
    },
    RATE_LIMIT_LEASE: {
      text: `With REDIS_URL or WORKERS, and not with fixed-window: the share of a client's remaining limit that a process may take in advance from Redis (or from the primary process) and spend without asking: over 0, up to 0.5, like 0.25. Empty asks
        for each request that is within the limit.`,
      read: optional(decimal({ over: 0, to: 0.5 })),
      takesEffect: 'reload',
    },
    RATE_LIMIT_IPV6_SUBNET: {
      text: 'Leading bits of an IPv6 address that make one client, 32 to 64.',
      default: '56',
      read: integer(32, 64),
      takesEffect: 'reload',
    },
    RATE_LIMIT_STORE_TIMEOUT_MS: {
      text: 'How long a request waits for Redis, in milliseconds. A later reply is too late for this request only.',
      default: '50',
      read: durationMs,
      takesEffect: 'reload',
    },
    RATE_LIMIT_FALLBACK_AFTER_MISSES: {
      text: 'Late replies in a row after which the gateway no longer waits for Redis.',
      default: '5',
      read: integer(1),
      takesEffect: 'reload',
    },
    RATE_LIMIT_FALLBACK_AFTER_MS: {
      text: 'How long replies must also have been late, in milliseconds. 0 is at once.',
      default: '1000',
      read: durationMsOrZero,
      takesEffect: 'reload',
    },
  },
  (read): RateLimitConfig => ({
    redisUrl: read.REDIS_URL,
    isRateLimited: read.RATE_LIMIT,
    rateLimit: {
      algorithm: read.RATE_LIMIT_ALGORITHM,
      limit: read.RATE_LIMIT_MAX,
      windowMs: read.RATE_LIMIT_WINDOW_MS,
      burst: read.RATE_LIMIT_ALGORITHM === 'token-bucket' ? read.RATE_LIMIT_BURST : undefined,
      allow: read.RATE_LIMIT_ALLOW,
      deny: read.RATE_LIMIT_DENY,
      onStoreError: read.RATE_LIMIT_ON_STORE_ERROR,
      lease: read.RATE_LIMIT_LEASE === undefined ? undefined : { share: read.RATE_LIMIT_LEASE },
      ipv6Subnet: read.RATE_LIMIT_IPV6_SUBNET,
      storeTimeoutMs: read.RATE_LIMIT_STORE_TIMEOUT_MS,
      fallbackAfterMisses: read.RATE_LIMIT_FALLBACK_AFTER_MISSES,
      fallbackAfterMs: read.RATE_LIMIT_FALLBACK_AFTER_MS,
    },
  }),
  (given) => {
    const problems: string[] = [];
    if (given.RATE_LIMIT === 'off' && given.GATEWAY_CONFIG === undefined) {
      problems.push('RATE_LIMIT: can be off only with GATEWAY_CONFIG, whose routes have limits of their own');
    }
    if (given.RATE_LIMIT_ALGORITHM === 'fixed-window') {
      if (given.RATE_LIMIT_LEASE !== undefined) {
        problems.push('RATE_LIMIT_LEASE: cannot be combined with RATE_LIMIT_ALGORITHM=fixed-window');
      }
    } else if (isTooLarge(given)) {
      problems.push('RATE_LIMIT_MAX: the limit (or RATE_LIMIT_BURST) times RATE_LIMIT_WINDOW_MS must be below 2^53');
    }
    return problems;
  },
);

/** Texts that are no numbers are problems of their own. */
function isTooLarge({
  RATE_LIMIT_MAX: limit = '100',
  RATE_LIMIT_BURST: burst = limit,
  RATE_LIMIT_WINDOW_MS: windowMs = '60000',
}: Readonly<Record<string, string>>): boolean {
  const quota = { limit: Number(limit), windowMs: Number(windowMs), burst: Number(burst) };
  return Object.values(quota).every(Number.isFinite) && quotaProblem(quota) !== undefined;
}

function redisUrl(text: string): string {
  // A list of hosts is not a URL. ipRateLimit() checks it completely.
  if (/^rediss?\+(cluster|sentinel):\/\/[^/?#]/.test(text)) return text;
  const url = URL.parse(text);
  if (url === null || !/^rediss?:$/.test(url.protocol) || url.hostname === '' || !/^\/?\d*$/.test(url.pathname)) {
    // Not shown, because it may contain a password.
    throw new Error('must be a URL like redis://localhost:6379 or rediss://user:password@redis.example:6380/1');
  }
  return text;
}

/** IP addresses and CIDR ranges; empty means none. */
function addresses(text: string): readonly string[] {
  if (text === '') return [];
  const items = text.split(',').map((item) => item.trim());
  try {
    assertAddressList(items);
  } catch (error) {
    if (!(error instanceof OptionsError)) throw error;
    throw new Error(`must be a comma-separated list of addresses and CIDR ranges: ${error.problems.join(', ')}`);
  }
  return items;
}
