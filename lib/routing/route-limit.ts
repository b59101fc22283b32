import { headerName } from '../core/header-names.ts';
import {
  type Check,
  described,
  group,
  isPlainObject,
  listOf,
  nonEmptyString,
  oneOf,
  optional,
  recordOf,
} from '../core/options.ts';
import { algorithmsWithWindows, type WindowsAlgorithmName } from '../rate-limit/algorithms/registry.ts';
import { IP_RATE_LIMIT_DEFAULTS, type IpRateLimitOptions } from '../rate-limit/ip-rate-limit-options.ts';
import { IP_RATE_LIMIT_CHECKS } from '../rate-limit/ip-rate-limit-settings.ts';
import { quotaProblem, quotasOfWindows, windowsCheck } from '../rate-limit/quota.ts';
import { either, isList, isText } from './check-forms.ts';

/** A limit of requests. */
export interface RouteLimit {
  /** Requests per window, such as `100/1m` or `100/1m, 1000/1h`. */
  limit: string;
  /**
   * What has its own count: each client address, each consumer, each value of a request header, or each value of a token's
   * claim. Default `address`.
   */
  key?: 'address' | 'consumer' | { readonly header: string } | { readonly claim: string };
  /** Limits of consumers by their plan, such as `{ gold: '1000/1m' }`. All other consumers get `limit`. Default: none. */
  plans?: Readonly<Record<string, string>>;
  /** Algorithm that counts the requests. Default `sliding-window`. */
  algorithm?: WindowsAlgorithmName;
}

/** Names that a declaration gives to services, limits and authenticators. */
export const NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

const limitText: Check = described(
  (value) => {
    if (typeof value !== 'string') return 'must be a limit such as 100/1m';
    return (
      windowsCheck(value) ??
      quotasOfWindows(value)
        .map(quotaProblem)
        .find((problem) => problem !== undefined)
    );
  },
  { type: 'string', examples: ['100/1m', '100/1m, 1000/1h'] },
);

const key = either('address, consumer, { header } or { claim }', [
  [isText, oneOf('address', 'consumer')],
  [(value) => isPlainObject(value) && 'header' in (value as object), group({}, { header: headerName })],
  [isPlainObject, group({}, { claim: nonEmptyString })],
]);

/** Checks of {@link RouteLimit}. */
export const routeLimitCheck: Check = group<RouteLimit, object>(
  {},
  {
    limit: limitText,
    key: optional(key),
    plans: optional(recordOf('limit', limitText, /./, 'the name of a plan')),
    algorithm: optional(oneOf(...algorithmsWithWindows)),
  },
  { windows: 'use limit, such as 100/1m', windowMs: 'use limit, such as 100/1m', max: 'use limit, such as 100/1m' },
);

// The check of the whole declaration finds out whether a shared limit has that name.
const limitOrName = described((value) => (NAME.test(value as string) ? undefined : limitText(value)), {
  type: 'string',
  examples: ['100/1m'],
});

const forms = [
  [isText, limitOrName],
  [isPlainObject, routeLimitCheck],
] as const;

const oneLimit = either('a limit such as 100/1m, the name of a shared limit, or an object with limit', forms);

/** Checks the limits of a route. */
export const routeLimitsCheck = either(
  'a limit such as 100/1m, the name of a shared limit, an object with limit, or a list of these',
  [...forms, [isList, listOf('limit', oneLimit, 1)]],
);

/** Options that all limits of a router share. */
export type SharedLimiterOptions = Pick<
  IpRateLimitOptions,
  | 'redis'
  | 'counter'
  | 'keyPrefix'
  | 'keySecret'
  | 'storeTimeoutMs'
  | 'onStoreError'
  | 'ipv6Subnet'
  | 'fields'
  | 'trustProxy'
  | 'events'
>;

const { redis, counter, keyPrefix, keySecret, storeTimeoutMs, onStoreError, ipv6Subnet, fields, trustProxy } =
  IP_RATE_LIMIT_CHECKS;

/** Checks of {@link SharedLimiterOptions}. */
export const sharedLimiterCheck: Check = group<Omit<SharedLimiterOptions, 'events'>, typeof IP_RATE_LIMIT_DEFAULTS>(
  IP_RATE_LIMIT_DEFAULTS,
  { redis, counter, keyPrefix, keySecret, storeTimeoutMs, onStoreError, ipv6Subnet, fields, trustProxy },
);
