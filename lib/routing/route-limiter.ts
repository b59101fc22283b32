import type { AsyncResource } from 'node:async_hooks';
import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { isDeepStrictEqual } from 'node:util';
import { type Consumer, exchangeOf, knownExchange } from '../core/exchange.ts';
import type { GatewayEvents } from '../core/gateway-events.ts';
import type { Middleware, Next } from '../core/http.ts';
import { type IpRateLimiter, routeRateLimit } from '../rate-limit/ip-rate-limit.ts';
import type { IpRateLimitOptions } from '../rate-limit/ip-rate-limit-options.ts';
import { type LimiterOptions, longestName, resolveIpRateLimitOptions } from '../rate-limit/ip-rate-limit-settings.ts';
import { without } from './check-forms.ts';
import type { RouteLimit, SharedLimiterOptions } from './route-limit.ts';

/** Characters of a name that consists of a hash only. */
const SHORTEST_NAME = 11;

/** Parts that all limits of a router share. */
export type LimiterParts = Omit<SharedLimiterOptions, 'redis' | 'events'> & {
  readonly redis?: LimiterOptions['redis'];
  readonly events: GatewayEvents;
  /** The async context of the router. Work that a limiter starts at the first request must not belong to that request. */
  readonly scope: AsyncResource;
};

interface Made {
  readonly limiter: IpRateLimiter;
  readonly plans: ReadonlyMap<string, IpRateLimiter>;
}

/**
 * One limit: a limiter, and one more for each plan. The first request creates them, because a declaration may have thousands of limits,
 * and most of them get no request for a long time.
 */
export class RouteLimiter {
  /** Whether the limit depends on the client's address only. */
  readonly isByAddress: boolean;
  readonly #name: string;
  readonly #parts: LimiterParts;
  #declared: RouteLimit;
  #made: Made | undefined;
  /** Whether the limiters still have the numbers of an earlier declaration. */
  #isOutdated = false;
  #isClosed = false;

  constructor(name: string, declared: RouteLimit, parts: LimiterParts) {
    this.#name = name;
    this.#declared = declared;
    this.#parts = parts;
    const { key = 'address', plans = {} } = declared;
    this.isByAddress = key === 'address' && Object.keys(plans).length === 0;
  }

  readonly middleware: Middleware = (req: IncomingMessage, res: ServerResponse, next: Next): void => {
    const { limiter, plans } = this.#current;
    const plan = plans.size === 0 ? undefined : exchangeOf(req, res).consumer?.plan;
    const ofPlan = plan === undefined ? undefined : plans.get(plan);
    (ofPlan ?? limiter)(req, res, next);
  };

  /** The limiters that exist so far. */
  get made(): readonly IpRateLimiter[] {
    return this.#made === undefined ? [] : this.#all(this.#made);
  }

  /** Creates the limiters before the first request. */
  start(): void {
    void this.#current;
  }

  async ready(): Promise<void> {
    await Promise.all(this.#all(this.#current).map((one) => one.ready()));
  }

  async resetKey(key: string): Promise<void> {
    const { redis, counter } = this.#parts;
    // A limiter in memory has counted nothing yet, but other processes may have counted in a shared store.
    if (redis !== undefined || counter !== undefined) this.start();
    await Promise.all(this.made.map((one) => one.resetKey(key)));
  }

  /** Sets new numbers for the same limit, from the next request on. Counts continue as `setLimits()` describes. */
  replace(declared: RouteLimit): void {
    this.#declared = declared;
    this.#isOutdated = this.#made !== undefined;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all(this.made.map((one) => one.close()));
  }

  get #current(): Made {
    this.#made ??= this.#parts.scope.runInAsyncScope(() => this.#make());
    if (this.#isOutdated) this.#parts.scope.runInAsyncScope(() => this.#update());
    return this.#made;
  }

  #all({ limiter, plans }: Made): readonly IpRateLimiter[] {
    return [limiter, ...plans.values()];
  }

  #make(): Made {
    const { scope: _scope, ...shared } = this.#parts;
    const declared = this.#declared;
    const longest = longestName(shared.keyPrefix);
    const make = (limiter: string, limit: string) =>
      routeRateLimit({ ...shared, ...limitsOf(declared, limit), name: limiterName(limiter, longest) });
    const plans = Object.entries(declared.plans ?? {}).map(
      ([plan, limit]) =>
        [plan, make(`plan ${encodeURIComponent(plan.toWellFormed())} of ${this.#name}`, limit)] as const,
    );
    const made = { limiter: make(this.#name, declared.limit), plans: new Map(plans) };
    // A request waited until after its router was closed.
    if (this.#isClosed) for (const one of this.#all(made)) void one.close();
    return made;
  }

  #update(): void {
    this.#isOutdated = false;
    const { limiter, plans } = this.#made as Made;
    const { scope: _scope, ...parts } = this.#parts;
    const shared = without(parts, 'redis', 'counter', 'keyPrefix', 'trustProxy', 'events');
    const { limit, plans: declaredPlans = {} } = this.#declared;
    if (this.#isClosed) return;
    limiter.setLimits({ ...shared, ...limitsOf(this.#declared, limit) });
    for (const [plan, one] of Object.entries(declaredPlans))
      plans.get(plan)?.setLimits({ ...shared, ...limitsOf(this.#declared, one) });
  }
}

/**
 * Finds problems that the limiters would only report when they are created.
 *
 * @throws {OptionsError}
 * @throws {GatewayError} ERR_EXPRESSWAY_TRUST_PROXY
 */
export function assertLimiterOptions(options: SharedLimiterOptions): void {
  resolveIpRateLimitOptions({ ...options, name: 'x'.repeat(SHORTEST_NAME) });
}

/** Whether only the numbers of a limit have changed, so that its limiter can stay. */
export function keepsLimiter(before: RouteLimit, now: RouteLimit): boolean {
  const rest = ({ key, algorithm, plans = {} }: RouteLimit) => ({ key, algorithm, plans: Object.keys(plans).sort() });
  return isDeepStrictEqual(rest(before), rest(now));
}

const limitsOf = ({ algorithm, key: by }: RouteLimit, windows: string): IpRateLimitOptions => ({
  windows,
  algorithm,
  key: keyFunction(by),
});

/**
 * The name of a limiter is part of its keys in Redis. Some characters have a meaning there, and keys must be short, so a hash replaces
 * the end of a long name.
 */
function limiterName(name: string, longest: number): string {
  const plain = name.toWellFormed().replaceAll(/[^\x20-\x7e]|["\\:{}]/gu, (one) => encodeURIComponent(one));
  if (plain.length <= longest) return plain;
  const end = `~${createHash('sha256').update(plain).digest('base64url')}`.slice(0, SHORTEST_NAME);
  return plain.slice(0, longest - end.length) + end;
}

function keyFunction(key: RouteLimit['key'] = 'address'): IpRateLimitOptions['key'] {
  if (key === 'address') return undefined;
  // A request without a consumer, header or claim counts by its address.
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
