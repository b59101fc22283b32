import type { AsyncResource } from 'node:async_hooks';
import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { isDeepStrictEqual } from 'node:util';
import type { GatewayEvents } from '../core/events.ts';
import { type Consumer, exchangeOf, knownExchange } from '../core/exchange.ts';
import type { Middleware, Next } from '../core/http.ts';
import { type IpRateLimiter, routeRateLimit } from '../rate-limit/ip-rate-limit.ts';
import type { IpRateLimitOptions } from '../rate-limit/ip-rate-limit-options.ts';
import { type LimiterOptions, longestName, resolveIpRateLimitOptions } from '../rate-limit/ip-rate-limit-settings.ts';
import { without } from './check-forms.ts';
import type { RouteLimit, SharedLimiterOptions } from './route-limit.ts';

/** Characters of a name that is a hash alone. */
const SHORTEST_NAME = 11;

/** What all limits of a router use. */
export type LimiterParts = Omit<SharedLimiterOptions, 'redis' | 'events'> & {
  readonly redis?: LimiterOptions['redis'];
  readonly events: GatewayEvents;
  /** The async context of the router: what a limiter starts at the first request must not belong to that request. */
  readonly scope: AsyncResource;
};

interface Made {
  readonly limiter: IpRateLimiter;
  readonly plans: ReadonlyMap<string, IpRateLimiter>;
}

/**
 * One limit: a limiter, and one more for each plan. They are made at the first request, because a declaration may have thousands of
 * limits, most of which see no request for a long time.
 */
export class RouteLimiter {
  /** Whether the limit needs to know no more than the address of the client. */
  readonly isByAddress: boolean;
  readonly #name: string;
  readonly #parts: LimiterParts;
  #declared: RouteLimit;
  #made: Made | undefined;
  /** Whether the limiters have numbers of a declaration before. */
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

  /** The limiters that there are by now. */
  get made(): readonly IpRateLimiter[] {
    return this.#made === undefined ? [] : this.#all(this.#made);
  }

  /** Makes what the first request would make. */
  start(): void {
    void this.#current;
  }

  async ready(): Promise<void> {
    await Promise.all(this.#all(this.#current).map((one) => one.ready()));
  }

  async resetKey(key: string): Promise<void> {
    const { redis, counter } = this.#parts;
    // Nothing was counted before the first request, unless other processes have counted.
    if (redis !== undefined || counter !== undefined) this.start();
    await Promise.all(this.made.map((one) => one.resetKey(key)));
  }

  /** Other numbers for the same limit, in force from the next request. What was counted goes on as `setLimits()` says. */
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
    // A request has waited for longer than its router lived.
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
 * Checks what the limiters would find only when they are made.
 *
 * @throws {OptionsError}
 * @throws {GatewayError} ERR_EXPRESSWAY_TRUST_PROXY
 */
export function assertLimiterOptions(options: SharedLimiterOptions): void {
  resolveIpRateLimitOptions({ ...options, name: 'x'.repeat(SHORTEST_NAME) });
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

/**
 * The name of a limiter is part of its keys in Redis, where some characters have a meaning, and which must be short: the end of a long
 * name is replaced by a hash of it.
 */
function limiterName(name: string, longest: number): string {
  const plain = name.toWellFormed().replaceAll(/[^\x20-\x7e]|["\\:{}]/gu, (one) => encodeURIComponent(one));
  if (plain.length <= longest) return plain;
  const end = `~${createHash('sha256').update(plain).digest('base64url')}`.slice(0, SHORTEST_NAME);
  return plain.slice(0, longest - end.length) + end;
}

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
