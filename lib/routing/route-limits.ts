import type { IncomingMessage, ServerResponse } from 'node:http';
import { isDeepStrictEqual } from 'node:util';
import { type Consumer, exchangeOf, knownExchange } from '../core/exchange.ts';
import { headerName } from '../core/header-names.ts';
import type { Middleware, Next } from '../core/http.ts';
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
import { type IpRateLimiter, type Limits, routeRateLimit } from '../rate-limit/ip-rate-limit.ts';
import { IP_RATE_LIMIT_DEFAULTS, type IpRateLimitOptions } from '../rate-limit/ip-rate-limit-options.ts';
import { IP_RATE_LIMIT_CHECKS } from '../rate-limit/ip-rate-limit-settings.ts';
import { windowsCheck } from '../rate-limit/quota.ts';
import { either, isList, isText, without } from './check-forms.ts';

/** A limit of requests. */
export interface RouteLimit {
  /** Requests per window, such as `100/1m` or `100/1m, 1000/1h`. */
  limit: string;
  /** What has the limit: each client address, each consumer, each value of a request header, or each value of a token's claim. Default `address`. */
  key?: 'address' | 'consumer' | { readonly header: string } | { readonly claim: string };
  /** Limits of consumers by their plan, such as `{ gold: '1000/1m' }`. Consumers of other plans have `limit`. Default: none. */
  plans?: Readonly<Record<string, string>>;
  /** How requests are counted. Default `sliding-window`. */
  algorithm?: WindowsAlgorithmName;
}

/** Names that a declaration gives to services, limits and authenticators. */
export const NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

const limitText: Check = described(
  (value) => (typeof value === 'string' ? windowsCheck(value) : 'must be a limit such as 100/1m'),
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

// Whether there is a shared limit of that name is checked with the whole declaration.
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

/** One limit: a limiter, and one more for each plan. */
export class RouteLimiter {
  readonly #limiter: IpRateLimiter;
  readonly #plans: ReadonlyMap<string, IpRateLimiter>;
  readonly #key: RouteLimit['key'];
  readonly #shared: Limits;

  constructor(name: string, declared: RouteLimit, shared: SharedLimiterOptions) {
    const made = (limiter: string, limit: string) =>
      routeRateLimit({ ...shared, ...limitsOf(declared, limit), name: limiterName(limiter) });
    this.#key = declared.key;
    this.#shared = without(shared, 'redis', 'counter', 'keyPrefix', 'trustProxy', 'events');
    this.#limiter = made(name, declared.limit);
    this.#plans = new Map(
      Object.entries(declared.plans ?? {}).map(([plan, limit]) => [
        plan,
        made(`plan ${encodeURIComponent(plan.toWellFormed())} of ${name}`, limit),
      ]),
    );
  }

  get all(): readonly IpRateLimiter[] {
    return [this.#limiter, ...this.#plans.values()];
  }

  /** Whether the limit needs to know no more than the address of the client. */
  get isByAddress(): boolean {
    return (this.#key ?? 'address') === 'address' && this.#plans.size === 0;
  }

  get middleware(): Middleware {
    if (this.#plans.size === 0) return this.#limiter;
    return (req: IncomingMessage, res: ServerResponse, next: Next): void => {
      const plan = exchangeOf(req, res).consumer?.plan;
      const limiter = (plan === undefined ? undefined : this.#plans.get(plan)) ?? this.#limiter;
      limiter(req, res, next);
    };
  }

  /** Other numbers for the same limit: what was counted stays. */
  replace(declared: RouteLimit): void {
    this.#limiter.setLimits({ ...this.#shared, ...limitsOf(declared, declared.limit) });
    for (const [plan, limit] of Object.entries(declared.plans ?? {})) {
      this.#plans.get(plan)?.setLimits({ ...this.#shared, ...limitsOf(declared, limit) });
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.all.map((one) => one.close()));
  }
}

/** Whether a limit only has other numbers than before: the limiter goes on. */
export function keepsLimiter(before: RouteLimit, now: RouteLimit): boolean {
  const rest = ({ key, algorithm, plans = {} }: RouteLimit) => ({ key, algorithm, plans: Object.keys(plans).sort() });
  return isDeepStrictEqual(rest(before), rest(now));
}

const limitsOf = ({ algorithm, key: by }: RouteLimit, windows: string): IpRateLimitOptions => ({
  windows,
  algorithm,
  key: keyFunction(by),
});

/** The name of a limiter is part of its keys in Redis, where some characters have a meaning. */
const limiterName = (name: string): string =>
  name.toWellFormed().replaceAll(/[^\x20-\x7e]|["\\:{}]/gu, (one) => encodeURIComponent(one));

function keyFunction(key: RouteLimit['key'] = 'address'): IpRateLimitOptions['key'] {
  if (key === 'address') return undefined;
  // A request without a consumer, header or claim counts for its address.
  if (key === 'consumer') return (req) => consumerOf(req)?.name;
  if ('header' in key) {
    const name = key.header.toLowerCase();
    return ({ headers }) => [headers[name] ?? []].flat().join(', ') || undefined;
  }
  return (req) => {
    const claim = consumerOf(req)?.claims?.[key.claim];
    return typeof claim === 'string' || typeof claim === 'number' ? String(claim) : undefined;
  };
}

const consumerOf = (req: IncomingMessage): Consumer | undefined => knownExchange(req)?.consumer;

const { redis, counter, keyPrefix, keySecret, storeTimeoutMs, onStoreError, ipv6Subnet, fields, trustProxy } =
  IP_RATE_LIMIT_CHECKS;

/** Checks of {@link SharedLimiterOptions}. */
export const sharedLimiterCheck: Check = group<Omit<SharedLimiterOptions, 'events'>, typeof IP_RATE_LIMIT_DEFAULTS>(
  IP_RATE_LIMIT_DEFAULTS,
  { redis, counter, keyPrefix, keySecret, storeTimeoutMs, onStoreError, ipv6Subnet, fields, trustProxy },
);
