import { closestWord } from '../core/closest-word.ts';
import { eventsCheck, type GatewayEvents } from '../core/gateway-events.ts';
import {
  boolean,
  type Check,
  type Checks,
  group,
  isPlainObject,
  listOf,
  OptionsError,
  optional,
  type Problem,
  recordOf,
} from '../core/options.ts';
import { shownValue } from '../core/shown-value.ts';
import type { AmbiguousPaths } from '../ingress/request-checks.ts';
import { ambiguousPathsCheck, requestGuardDefaults } from '../ingress/request-guard.ts';
import { foreignProxyOptions, roundRobinProxyChecks } from '../proxy/proxy-settings.ts';
import { type RoundRobinProxyOptions, roundRobinProxyDefaults } from '../proxy/round-robin-proxy-options.ts';
import { isList, without } from './check-forms.ts';
import { useProblems } from './declaration-use.ts';
import { type ErrorResponseOptions, errorResponseCheck } from './error-responses.ts';
import { type Authenticator, authenticatorCheck } from './route-authentication.ts';
import {
  NAME,
  type RouteLimit,
  routeLimitCheck,
  type SharedLimiterOptions,
  sharedLimiterCheck,
} from './route-limit.ts';
import { Conditions } from './route-match.ts';
import { type RouteOptions, routeCheck, routeName, serviceNames } from './route-options.ts';

/** A pool of backends with its circuits, health checks, load balancing, timeouts and retries: every option of `roundRobinProxy()`. */
export type ServiceOptions = Omit<RoundRobinProxyOptions, 'name' | 'events' | 'pathFilter' | 'pathRewrite'>;

/** Options of {@link serviceRouter}. */
export interface ServiceRouterOptions {
  /** Services by name: lower-case letters, digits and dashes. */
  services: Readonly<Record<string, ServiceOptions>>;
  /** Routes, in any order: the most specific one takes a request. */
  routes: readonly RouteOptions[];
  /** Limits by name, which several routes may share. Default: none. */
  rateLimits?: Readonly<Record<string, RouteLimit>>;
  /** Authenticators by name, which several routes may share. Default: none. */
  authentication?: Readonly<Record<string, Authenticator>>;
  /** Options that all limits share, such as the Redis in which they count. Default: they count in this process. */
  limiter?: Omit<SharedLimiterOptions, 'events'>;
  /** Format of the router's own responses. Default: problem documents for all clients. */
  errors?: ErrorResponseOptions | undefined;
  /** As in `requestGuard()`. It is also the default of the services. Default `reject`. */
  ambiguousPaths?: AmbiguousPaths;
  /** Whether several slashes in a row become one, as in `requestGuard()`. Default true. */
  mergeSlashes?: boolean;
  /** Emitter of the events. Default: a new one, as `events` of the result. */
  events?: GatewayEvents;
}

/** The part of the options that a file may declare, and that `setDeclaration()` replaces. */
export type Declaration = Omit<ServiceRouterOptions, 'limiter' | 'events'>;

const NAMED = 'of lower-case letters, digits and dashes, at most 63';

const IN_A_ROUTE = 'use rewrite of a route';

const service: Check = group<ServiceOptions, object>(
  roundRobinProxyDefaults,
  without(roundRobinProxyChecks, 'name', 'events', 'pathFilter', 'pathRewrite') as Checks<ServiceOptions>,
  {
    ...foreignProxyOptions,
    pathFilter: 'use path of a route',
    pathRewrite: IN_A_ROUTE,
    rewrite: IN_A_ROUTE,
    ignorePath: IN_A_ROUTE,
  },
);

/** Defaults of {@link ServiceRouterOptions}. */
export const serviceRouterDefaults = Object.freeze({ ...requestGuardDefaults });

/** Checks of {@link ServiceRouterOptions}. They alone define the content of a declaration. */
export const serviceRouterChecks: Checks<ServiceRouterOptions> = {
  services: recordOf('service', service, NAME, NAMED),
  routes: listOf('route', routeCheck, 1),
  rateLimits: optional(recordOf('limit', routeLimitCheck, NAME, NAMED)),
  authentication: optional(recordOf('authenticator', authenticatorCheck, NAME, NAMED)),
  limiter: optional(sharedLimiterCheck),
  errors: optional(errorResponseCheck),
  ambiguousPaths: ambiguousPathsCheck,
  mergeSlashes: boolean,
  events: optional(eventsCheck),
};

/** Checks of single options of a {@link Declaration}. They also make the JSON Schema of its file. */
export const declarationCheck: Check = group(serviceRouterDefaults, without(serviceRouterChecks, 'limiter', 'events'));

/**
 * Checks a declaration without starting anything.
 *
 * @param options `files`: whether its files and packages must exist. Default false.
 * @throws {OptionsError} that names every problem with its place, in all routes.
 */
export function assertDeclaration(given: unknown, { files = false } = {}): asserts given is Declaration {
  const problems = [declarationCheck(given) ?? []].flat() as Problem[];
  const badRoutes = new Set(problems.filter(({ path: [key] }) => key === 'routes').map(({ path: [, index] }) => index));
  const { services, routes, rateLimits = {}, authentication = {} } = (given ?? {}) as Declaration;
  if (isList(routes) && [services, rateLimits, authentication].every(isPlainObject)) {
    const found = declarationProblems({ services, routes, rateLimits, authentication }, badRoutes);
    problems.push(...found.filter(({ text }) => !problems.some((one) => one.text === text)));
    const isBad = (path: Problem['path']) =>
      problems.some((one) => path.every((key, place) => one.path[place] === key));
    if (files) problems.push(...useProblems(given as Declaration, isBad));
  }
  if (problems.length > 0) throw new OptionsError('serviceRouter', problems);
}

/**
 * Finds problems that only the whole declaration shows: unknown names, and routes that can take no request.
 *
 * @param skipped Positions of routes that are not checked.
 */
export function declarationProblems(
  { services, routes, rateLimits = {}, authentication = {} }: Declaration,
  skipped: ReadonlySet<unknown> = new Set(),
): Problem[] {
  const problems: Problem[] = [];
  const names = new Map<string, number>();
  const conditions = new Map<string, number>();
  for (const [index, one] of routes.entries()) {
    if (skipped.has(index)) continue;
    const add = (key: string, problem: string) =>
      problems.push({ path: ['routes', index, key], text: `routes: route ${index + 1}: ${problem}` });
    const known = (key: string, what: string, name: string, all: object, where: string) => {
      if (Object.hasOwn(all, name)) return;
      const closest = closestWord(name, Object.keys(all));
      const meant = closest === undefined ? '' : `: did you mean ${shownValue(closest)}?`;
      add(key, `${key} must name one of ${where}: there is no ${what} ${shownValue(name)}${meant}`);
    };
    const name = routeName(one);
    const sameName = names.get(name);
    if (sameName !== undefined) add('name', `is called "${name}" like route ${sameName + 1}: give one of them a name`);
    names.set(name, index);
    const conditionsText = new Conditions(one).text;
    const same = conditions.get(conditionsText);
    if (same !== undefined) add('path', `takes no request, because route ${same + 1} has the same conditions`);
    else conditions.set(conditionsText, index);
    for (const each of serviceNames(one)) known('service', 'service', each, services, 'services');
    if (one.mirror !== undefined) known('mirror', 'service', one.mirror.service, services, 'services');
    if (typeof one.authentication === 'string')
      known('authentication', 'authenticator', one.authentication, authentication, 'authentication');
    for (const limit of [one.rateLimit ?? []].flat()) {
      if (typeof limit === 'string' && NAME.test(limit)) known('rateLimit', 'limit', limit, rateLimits, 'rateLimits');
      const { key } = typeof limit === 'string' ? (rateLimits[limit] ?? { key: undefined }) : limit;
      const needsConsumer = key === 'consumer' || (isPlainObject(key) && 'claim' in key);
      if (needsConsumer && one.authentication === undefined)
        add('rateLimit', 'counts consumers, and the route has no authentication');
    }
  }
  return problems;
}
