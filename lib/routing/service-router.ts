import { AsyncResource } from 'node:async_hooks';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { GatewayError } from '../core/errors.ts';
import { type Exchange, exchangeOf } from '../core/exchange.ts';
import { GatewayEvents } from '../core/gateway-events.ts';
import { hostnameOf, type Middleware, type Next } from '../core/http.ts';
import { resolveOptions } from '../core/options.ts';
import { handlerError } from '../core/outcome.ts';
import { reject, respond } from '../core/reject.ts';
import { passes } from '../ingress/request-checks.ts';
import { requestGuard } from '../ingress/request-guard.ts';
import { normalTarget, targetFault } from '../ingress/request-target.ts';
import { toOriginForm } from '../proxy/filtered-requests.ts';
import type { RoundRobinProxy } from '../proxy/round-robin-proxy.ts';
import { SharedRedis } from '../rate-limit/redis/shared-redis.ts';
import { preflightMethod } from './cors.ts';
import {
  type Declaration,
  declarationProblems,
  type ServiceRouterOptions,
  serviceRouterChecks,
  serviceRouterDefaults,
} from './declaration.ts';
import { errorBodies } from './error-responses.ts';
import { splitTarget } from './rewrite.ts';
import type { Route } from './route.ts';
import { assertLimiterOptions } from './route-limiter.ts';
import type { MatchedRequest } from './route-match.ts';
import type { RouteStatus } from './route-summary.ts';
import { RoutesInUse } from './routes-in-use.ts';

/** A declaration that is ready to take over. */
export interface PreparedDeclaration {
  /** Uses it from now on. */
  apply(): void;
  /** Drops it, and closes its new parts. */
  discard(): void;
}

/** The middleware of {@link serviceRouter}, and its functions. */
export interface ServiceRouter extends Middleware {
  readonly events: GatewayEvents;
  /** The proxies of the services, by name. */
  readonly services: ReadonlyMap<string, RoundRobinProxy>;
  /** The routes in the order in which they are matched. */
  routes(): readonly RouteStatus[];
  /** Names of query parameters in which clients send API keys, as the declaration says. The access log masks them. */
  readonly secretParameters: ReadonlySet<string>;
  /** Route and service of a request that ended before it reached the router; `undefined` without a route, or if its path is ambiguous. */
  routeOf(exchange: Exchange): { readonly route: string; readonly service: string | undefined } | undefined;
  /** For each route in matching order, the conditions that a request does not meet. The first route without any takes the request. */
  explain(request: MatchedRequest): readonly { readonly route: string; readonly unmet: readonly string[] }[];
  /**
   * Replaces services, routes, limits and authenticators. Unchanged ones keep circuits, health, connections, counts and
   * running requests. A service in which only the backends change keeps the backends that stay.
   *
   * @throws {OptionsError} when the declaration cannot be used. Nothing changes then.
   * @throws {GatewayError} ERR_EXPRESSWAY_CLOSED after `close()`.
   */
  setDeclaration(declaration: Declaration): void;
  /**
   * The first half of `setDeclaration()`, for a reload that changes all or nothing. It starts the new parts. Then call `apply()` or
   * `discard()`, before you prepare or set another declaration.
   *
   * @throws {OptionsError} when the declaration cannot be used. Nothing changes then.
   */
  prepareDeclaration(declaration: Declaration): PreparedDeclaration;
  /** Forgets what all limits have counted for a client address, consumer or other key. Rejects if Redis cannot be reached. */
  resetKey(key: string): Promise<void>;
  /** Waits for the services' DNS names and for the limiters' Redis, as `ready()` of proxy and limiter do. */
  ready(): Promise<void>;
  /** Closes all services, limiters and authenticators. */
  close(): Promise<void>;
}

/**
 * Many services behind one gateway, from a declaration: each request goes to the most specific route that takes it, and by that to a
 * service. Words and precedence are those of the Gateway API's HTTPRoute. A request that no route takes gets 404.
 *
 * @throws {OptionsError} that names each unknown key and each bad value, with its place in the declaration.
 * @see https://gateway-api.sigs.k8s.io/reference/spec/#httproute
 */
export function serviceRouter(given: ServiceRouterOptions): ServiceRouter {
  const options = check(given);
  const { limiter, ambiguousPaths, mergeSlashes, events = new GatewayEvents() } = options;
  const guardFor = (one: ReturnType<typeof check>) =>
    requestGuard({ ambiguousPaths: one.ambiguousPaths, mergeSlashes: one.mergeSlashes, events });
  let inForce = options;
  let guard = guardFor(options);
  let errorBody = options.errors && errorBodies(options.errors);
  assertLimiterOptions(limiter ?? {});
  const redis = typeof limiter?.redis === 'string' ? new SharedRedis(limiter.redis) : limiter?.redis;
  const shared = { ...limiter, redis, events, scope: new AsyncResource('ExpresswayRouter') };
  let inUse = new RoutesInUse(options, shared);
  inUse.connect();
  let isClosed = false;
  /** Where the app mounts the router. Only requests tell. */
  let mountPath = '';

  function route(req: IncomingMessage, res: ServerResponse, next: Next | undefined): void {
    const exchange = exchangeOf(req, res);
    const { url } = req;
    // A plain `node:http` server passes no `next`.
    const undo = toOriginForm(req, next ?? ((error) => respond(exchange, handlerError(error, res.headersSent))));
    const wanted = wantedOf(exchange);
    const asked = preflightRoute(wanted);
    const found = asked ?? inUse.table.find(wanted)?.route;
    if (found === undefined) {
      reject(exchange, { kind: 'rejected', cause: 'no_route' }, events);
      return;
    }
    exchange.route = found.name;
    exchange.service = found.service;
    const handle = asked?.answerPreflight ?? found.handle;
    handle(req, res, (error) => {
      // The next handlers of the app must see the path that the client sent.
      if (url !== undefined) req.url = url;
      undo(error);
    });
  }

  function wantedOf(exchange: Exchange): MatchedRequest {
    const { url = '/', method = '', headers } = exchange.req;
    const { path, query } = splitTarget(url);
    const hostname = inUse.table.usesHostnames ? hostnameOf(exchange.host) : '';
    return { hostname, path, search: query.slice(1), method, headers };
  }

  function routeOf(exchange: Exchange): ReturnType<ServiceRouter['routeOf']> {
    const { req } = exchange;
    const { url = '/', originalUrl: target = url } = req;
    const fault = targetFault(req.method, target);
    if (fault !== undefined && !passes(fault, inForce.ambiguousPaths)) return undefined;
    // If neither guard nor router has seen the request, its target is not normalised yet.
    req.url = normalTarget(target, inForce.mergeSlashes);
    const undo = toOriginForm(req, () => {
      req.url = url;
    });
    const path = pathBelow(mountPath, req.url);
    if (path !== undefined) req.url = path;
    const wanted = wantedOf(exchange);
    const found = path === undefined ? undefined : (preflightRoute(wanted) ?? inUse.table.find(wanted)?.route);
    undo();
    return found && { route: found.name, service: found.service };
  }

  /** The route that a preflight request asks about, if it has `cors`. */
  function preflightRoute(wanted: MatchedRequest): Route | undefined {
    const method = preflightMethod(wanted.method, wanted.headers);
    const route = method === undefined ? undefined : inUse.table.find({ ...wanted, method })?.route;
    return route?.answerPreflight === undefined ? undefined : route;
  }

  function prepareDeclaration(declaration: Declaration): PreparedDeclaration {
    if (isClosed) throw new GatewayError('ERR_EXPRESSWAY_CLOSED', 'setDeclaration: the router is closed');
    const next = check({ ambiguousPaths, mergeSlashes, errors: options.errors, ...declaration });
    const nextErrorBody = next.errors && errorBodies(next.errors);
    const prepared = inUse.replacement(next, shared);
    return {
      apply() {
        prepared.apply();
        inUse = prepared.next;
        inForce = next;
        guard = guardFor(next);
        errorBody = nextErrorBody;
      },
      discard: () => prepared.discard(),
    };
  }

  const router = Object.assign(
    function expresswayRouter(req: IncomingMessage, res: ServerResponse, next: Next): void {
      const exchange = exchangeOf(req, res);
      mountPath = exchange.req.baseUrl ?? '';
      if (errorBody !== undefined) exchange.errorBody = errorBody;
      // From now on: a guard or a limit may reject the request before its authentication takes the key out.
      exchange.secretParameters = inUse.secretParameters;
      guard(req, res, (error) => (error === undefined ? route(req, res, next) : next(error)));
    },
    {
      events,
      services: inUse.proxies,
      secretParameters: inUse.secretParameters,
      routes: () => inUse.routes,
      routeOf,
      explain: (request: MatchedRequest) =>
        inUse.table.entries.map(({ route: { name }, conditions }) => ({
          route: name,
          unmet: conditions.unmet(request),
        })),
      setDeclaration: (declaration: Declaration) => prepareDeclaration(declaration).apply(),
      prepareDeclaration,
      resetKey: (key: string) => inUse.resetKey(key),
      ready: () => inUse.ready(),
      async close(): Promise<void> {
        isClosed = true;
        await inUse.close();
        if (redis instanceof SharedRedis) redis.close();
      },
    },
  );
  // A new declaration changes these two. `Object.assign()` would read them only once.
  return Object.defineProperties(router, {
    services: { get: () => inUse.proxies, enumerable: true },
    secretParameters: { get: () => inUse.secretParameters, enumerable: true },
  });
}

/** The part of a target that Express passes to a handler at a mount path; `undefined` for a target that is not under it. */
function pathBelow(mountPath: string, target: string): string | undefined {
  if (mountPath === '') return target;
  const rest = target.slice(mountPath.length);
  if (!target.startsWith(mountPath) || !/^(?:[/?]|$)/.test(rest)) return undefined;
  return rest.startsWith('/') ? rest : `/${rest}`;
}

const check = (given: ServiceRouterOptions) =>
  resolveOptions<ServiceRouterOptions, typeof serviceRouterDefaults>(
    'serviceRouter',
    given,
    serviceRouterDefaults,
    serviceRouterChecks,
    {},
    (one) => declarationProblems(one),
  );
