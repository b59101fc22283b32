import type { CircuitBreaker } from '../circuit-breaker/circuit-breaker.ts';
import { shownUnder } from '../core/secret-names.ts';
import type { IpRateLimiter } from '../rate-limit/ip-rate-limit.ts';
import type { Declaration } from './declaration.ts';
import type { RouteLimit } from './route-limit.ts';
import { type RouteOptions, routeName } from './route-options.ts';

/** A route, described in words and as it was declared. */
export interface RouteSummary {
  readonly name: string;
  /** Which requests it takes: `GET|HEAD api.example.com/users, header x-beta: 1`. */
  readonly match: string;
  /** The services behind it, or what it responds with: `users`, `stable 9, canary 1`, `users, 10 % mirrored to users-next`, `redirect 302`. */
  readonly target: string;
  /** The limits that a request must pass: `100/1m`, `1000/1h per consumer`, `at most 50 at a time`. */
  readonly limits: readonly string[];
  /** As it was declared. */
  readonly options: RouteOptions;
}

/** A route as `routes()` shows it: its description, and the parts that have a state. */
export interface RouteStatus extends RouteSummary {
  /** The circuit breaker of the whole route, if it has one. */
  readonly circuit: CircuitBreaker | undefined;
  /**
   * The limiters of its limits, one more for each plan. Routes with a shared limit have the same limiter. A limiter is made at its first
   * request.
   */
  readonly limiters: readonly IpRateLimiter[];
}

export function routeSummary(options: RouteOptions, rateLimits: Declaration['rateLimits'] = {}): RouteSummary {
  return {
    name: routeName(options),
    match: matchOf(options),
    target: targetOf(options) + mirrorOf(options),
    limits: limitsOf(options, rateLimits),
    options,
  };
}

function matchOf({ name: _, ...options }: RouteOptions): string {
  const { hostnames = [], headers = {}, query = {} } = options;
  const more = [hostnames].flat().slice(1);
  return [
    routeName(options),
    ...more.map((name) => `or ${name}`),
    ...Object.entries(headers).map(([name, value]) => `header ${name}: ${shownUnder(name, value)}`),
    ...Object.entries(query).map(([name, value]) => `query ${name}=${shownUnder(name, value)}`),
  ].join(', ');
}

function targetOf({ service, redirect, respond }: RouteOptions): string {
  if (redirect !== undefined) return `redirect ${redirect.status ?? 302}`;
  if (respond !== undefined) return `responds ${respond.status ?? 200}`;
  if (typeof service === 'string') return service;
  return (service ?? []).map(({ name, weight }) => `${name} ${weight}`).join(', ');
}

function mirrorOf({ mirror }: RouteOptions): string {
  if (mirror === undefined) return '';
  const { service, percent = 100 } = mirror;
  return `, ${percent === 100 ? '' : `${percent} % `}mirrored to ${service}`;
}

function limitsOf(options: RouteOptions, shared: NonNullable<Declaration['rateLimits']>): string[] {
  const { rateLimit = [], maxInFlight = 0, maxInFlightPerClient = 0 } = options;
  const limits = [rateLimit].flat().map((one: string | RouteLimit): string => {
    if (typeof one !== 'string') return limitOf(one);
    const declared = Object.hasOwn(shared, one) ? shared[one] : undefined;
    return declared === undefined ? one : `${limitOf(declared)} (${one})`;
  });
  if (maxInFlight > 0) limits.push(`at most ${maxInFlight} at a time`);
  if (maxInFlightPerClient > 0) limits.push(`at most ${maxInFlightPerClient} at a time per client`);
  return limits;
}

function limitOf({ limit, key = 'address' }: RouteLimit): string {
  if (key === 'address') return limit;
  return `${limit} per ${typeof key === 'string' ? key : 'header' in key ? `header ${key.header}` : `claim ${key.claim}`}`;
}
