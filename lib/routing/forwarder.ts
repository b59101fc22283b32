import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Exchange, exchangeOf } from '../core/exchange.ts';
import { CORS_HEADERS } from '../core/header-names.ts';
import type { Middleware, Next } from '../core/http.ts';
import { withoutUndefined } from '../core/options.ts';
import type { RouteForwarding } from '../proxy/proxy-parts.ts';
import type { SharedProxy } from '../proxy/round-robin-proxy.ts';
import { sessions } from '../proxy/session-persistence.ts';
import { type RouteOptions, routeName, type WeightedService } from './route-options.ts';

/** Forwards the requests of a route to its service, or to one of several services. */
export interface Forwarder {
  /** Picks one of the services. It comes before changes of headers, which may name the service. */
  readonly pick?: Middleware;
  readonly forward: Middleware;
}

export function forwarder(options: RouteOptions, services: ReadonlyMap<string, SharedProxy>): Forwarder {
  const { service = [] } = options;
  const at = (name: string) => atService(services.get(name) as SharedProxy, options);
  return typeof service === 'string' ? at(service) : weighted(service, at);
}

/** A service as one route uses it. */
interface ServiceOfRoute {
  readonly forward: Middleware;
  /** Whether the client of a request has a session at the service. */
  readonly hasSession?: (exchange: Exchange) => boolean;
}

function atService(service: SharedProxy, options: RouteOptions): ServiceOfRoute {
  const { sessionPersistence } = options;
  const own = ownForwarding(options);
  if (sessionPersistence !== undefined) {
    const policy = sessions(sessionPersistence, routeName(options), service);
    return { forward: service.forRoute({ ...own, policy }), hasSession: (exchange) => policy.holds(exchange) };
  }
  return { forward: own === undefined ? service.proxy : service.forRoute(own) };
}

function ownForwarding(options: RouteOptions): RouteForwarding | undefined {
  const {
    responseTimeoutMs,
    idleTimeoutMs,
    stream = false,
    maxBodyBytes,
    retry,
    maxInFlight = 0,
    maxInFlightPerClient = 0,
    rewrite,
    response,
    cors,
  } = options;
  const own: { -readonly [K in keyof RouteForwarding]: RouteForwarding[K] } = {};
  if (responseTimeoutMs !== undefined) own.responseTimeoutMs = responseTimeoutMs;
  if (idleTimeoutMs !== undefined) own.idleTimeoutMs = idleTimeoutMs;
  if (stream)
    Object.assign(own, { responseTimeoutMs: Number.POSITIVE_INFINITY, idleTimeoutMs: Number.POSITIVE_INFINITY });
  if (maxBodyBytes !== undefined) own.maxBodyBytes = maxBodyBytes;
  const movesUrls = rewrite?.prefix !== undefined || rewrite?.hostname !== undefined;
  if (response !== undefined || movesUrls)
    own.response = { ...(movesUrls && { rewriteUrls: true }), ...withoutUndefined(response ?? {}) };
  // The gateway sends the CORS headers itself.
  if (cors !== undefined) own.removedHeaders = CORS_HEADERS;
  if (retry !== undefined) own.retry = withoutUndefined(retry);
  if (maxInFlight > 0 || maxInFlightPerClient > 0) own.caps = { maxInFlight, maxInFlightPerClient };
  return Object.keys(own).length === 0 ? undefined : own;
}

/** Sends each request to one of several services: to the one where its client has a session, else by weight. */
function weighted(services: readonly WeightedService[], at: (name: string) => ServiceOfRoute): Forwarder {
  const shares = services.filter(({ weight }) => weight > 0).map(({ name, weight }) => ({ ...at(name), name, weight }));
  const byName = new Map(shares.map((share) => [share.name, share]));
  const total = shares.reduce((sum, { weight }) => sum + weight, 0);
  const hasSessions = shares.some(({ hasSession }) => hasSession !== undefined);
  const sessionOf = (exchange: Exchange) => shares.find(({ hasSession }) => hasSession?.(exchange));
  const drawn = () => {
    let left = Math.random() * total;
    const found = shares.find(({ weight }) => {
      left -= weight;
      return left < 0;
    });
    return found ?? (shares[0] as (typeof shares)[number]);
  };
  return {
    pick: function expresswayPickService(req: IncomingMessage, res: ServerResponse, next: Next): void {
      const exchange = exchangeOf(req, res);
      exchange.service = ((hasSessions ? sessionOf(exchange) : undefined) ?? drawn()).name;
      next();
    },
    forward: function expresswayWeighted(req: IncomingMessage, res: ServerResponse, next: Next): void {
      const { forward } = byName.get(exchangeOf(req, res).service as string) as ServiceOfRoute;
      forward(req, res, next);
    },
  };
}
