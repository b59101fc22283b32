import type { IncomingMessage, ServerResponse } from 'node:http';
import { type CircuitBreaker, circuitBreaker } from '../circuit-breaker/circuit-breaker.ts';
import { compose } from '../core/compose.ts';
import { deadline } from '../core/delay.ts';
import { exchangeOf } from '../core/exchange.ts';
import type { GatewayEvents } from '../core/gateway-events.ts';
import type { Middleware, Next } from '../core/http.ts';
import type { Failed } from '../core/outcome.ts';
import { endApart, reject } from '../core/reject.ts';
import { requestHeaderRules } from '../proxy/header-rules.ts';
import type { SharedProxy } from '../proxy/round-robin-proxy.ts';
import { AddressList } from '../rate-limit/address-list.ts';
import { corsMiddleware } from './cors.ts';
import { type Forwarder, forwarder } from './forwarder.ts';
import { type RewriteOptions, rewriteTarget, withoutSlashesAtEnd } from './rewrite.ts';
import type { RouteLimiter } from './route-limiter.ts';
import { prefixOf } from './route-match.ts';
import { type RouteOptions, routeName } from './route-options.ts';
import { redirects, responds } from './route-response.ts';
import type { UndecidedRequests } from './undecided-requests.ts';

/** Parts that routes share. They are made before the routes. */
export interface RouteParts {
  readonly services: ReadonlyMap<string, SharedProxy>;
  readonly limiters: readonly RouteLimiter[];
  /** Removes the identity that a client claims, before the route authenticates it. */
  readonly dropClaims: Middleware | undefined;
  readonly authenticate: Middleware | undefined;
  readonly breaker: CircuitBreaker | undefined;
  readonly undecided: UndecidedRequests;
  readonly events: GatewayEvents;
}

/** A route in use. */
export interface Route {
  readonly name: string;
  /** Its service, where it is the same for all requests. */
  readonly service: string | undefined;
  readonly options: RouteOptions;
  readonly breaker: CircuitBreaker | undefined;
  readonly limiters: readonly RouteLimiter[];
  /** Handles the requests that the route takes. */
  readonly handle: Middleware;
  /** Responds to CORS preflight requests that ask about the route. */
  readonly answerPreflight: Middleware | undefined;
}

/** Chains the steps for the requests of a route, in order. Steps that the route does not use are left out. */
export function makeRoute(options: RouteOptions, parts: RouteParts): Route {
  const { limiters, dropClaims, authenticate, breaker, events, undecided } = parts;
  // Limits by address come before authentication, so that guessing is limited. The others need the consumer.
  const early = limiters.filter((one) => one.isByAddress);
  const late = limiters.filter((one) => !one.isByAddress);
  const mayWait = limiters.length > 0 || authenticate !== undefined;
  const gate = addressGate(options, events);
  // Before limits and authentication: a preflight request has no credentials, and a page must be able to read a 401 and a 429.
  const cors = options.cors && corsMiddleware(options.cors, options.methods);
  const last = lastSteps(options, parts);
  const chain = [
    gate,
    cors?.actual,
    dropClaims,
    options.requestTimeoutMs && requestTimeout(options.requestTimeoutMs, events),
    mayWait && undecided.enter,
    ...early.map((one) => one.middleware),
    authenticate,
    ...late.map((one) => one.middleware),
    mayWait && undecided.leave,
    breaker,
    last.pick,
    requestChanges(options),
    options.mirror && parts.services.get(options.mirror.service)?.mirror(options.mirror),
    last.forward,
  ].filter((one) => typeof one === 'function');
  return {
    name: routeName(options),
    service: typeof options.service === 'string' ? options.service : undefined,
    options,
    breaker,
    limiters,
    handle: chain.length === 1 ? (chain[0] as Middleware) : compose(...chain),
    answerPreflight: cors && (gate === undefined ? cors.preflight : compose(gate, cors.preflight)),
  };
}

/** @throws {OptionsError} for problems that only its use shows. */
export function routeBreaker(options: RouteOptions, events: GatewayEvents): CircuitBreaker | undefined {
  return options.circuit && circuitBreaker({ ...options.circuit, name: routeName(options), events });
}

function addressGate({ allow, deny }: RouteOptions, events: GatewayEvents): Middleware | undefined {
  if (allow === undefined && deny === undefined) return undefined;
  const allowed = allow && new AddressList(allow);
  const denied = deny && new AddressList(deny);
  return function expresswayAddressGate(req: IncomingMessage, res: ServerResponse, next: Next): void {
    const exchange = exchangeOf(req, res);
    const address = exchange.clientAddress;
    const mayPass = address !== undefined && allowed?.has(address) !== false && denied?.has(address) !== true;
    if (mayPass) next();
    else reject(exchange, { kind: 'rejected', cause: 'client_denied' }, events);
  };
}

/**
 * Ends requests that take too long in total: with 504, or by cutting the connection if the response has begun. Event streams and upgrades
 * have no such limit.
 */
function requestTimeout(timeoutMs: number, events: GatewayEvents): Middleware {
  const detail = `The request took longer than ${timeoutMs} ms (requestTimeoutMs).`;
  return function expresswayRequestTimeout(req: IncomingMessage, res: ServerResponse, next: Next): void {
    const exchange = exchangeOf(req, res);
    const stopTimer = deadline(timeoutMs, () => {
      const failed: Failed = {
        kind: 'failed',
        cause: 'handler_timeout',
        error: Object.assign(new Error(detail), { code: 'ETIMEDOUT' }),
        sent: true,
        headSent: res.headersSent,
        detail,
      };
      const end = (): void => {
        exchange.settle(failed);
        // If the proxy is working on the response, it sends this outcome itself.
        exchange.working?.abort();
        if (!res.writableEnded && !res.destroyed) reject(exchange, failed, events);
      };
      exchange.scope.runInAsyncScope(() => endApart(exchange, 'an expired requestTimeoutMs', end));
    });
    exchange.observe({ settled: stopTimer });
    next();
  };
}

/** Rewrites the target, and changes headers. */
function requestChanges(options: RouteOptions): Middleware | undefined {
  const { rewrite, requestHeaders } = options;
  if (rewrite === undefined && requestHeaders === undefined) return undefined;
  const changeHeaders = requestHeaders && requestHeaderRules(requestHeaders);
  const prefix = prefixOf(options);
  const backendPrefix = rewrite?.prefix === undefined ? prefix : rewrite.prefix.replace(/\/$/, '');
  return function expresswayRewrite(req: IncomingMessage, res: ServerResponse, next: Next): void {
    const exchange = exchangeOf(req, res);
    if (rewrite !== undefined) {
      exchange.prefixes = { client: prefix, backend: backendPrefix, host: req.headers.host };
      if (removesPrefix(rewrite, prefix)) {
        const outer = exchange.trustedField('x-forwarded-prefix') ?? '';
        // A client that sends the same value must not remove it.
        if (req.headers['x-forwarded-prefix'] !== undefined)
          exchange.writtenHeaders = (exchange.writtenHeaders ?? new Set()).add('x-forwarded-prefix');
        // Express has removed the path at which the router is mounted.
        req.headers['x-forwarded-prefix'] = withoutSlashesAtEnd(outer) + (exchange.req.baseUrl ?? '') + prefix;
      }
      req.url = rewriteTarget(req.url ?? '/', prefix, rewrite);
      if (rewrite.hostname !== undefined) req.headers.host = rewrite.hostname;
    }
    exchange.changeHeaders = changeHeaders;
    next();
  };
}

const removesPrefix = ({ prefix: replacement }: RewriteOptions, prefix: string): boolean =>
  replacement === '/' && prefix !== '';

function lastSteps(options: RouteOptions, { services }: RouteParts): Forwarder {
  const { redirect, respond } = options;
  if (redirect !== undefined) return { forward: redirects(redirect, prefixOf(options)) };
  if (respond !== undefined) return { forward: responds(respond) };
  return forwarder(options, services);
}
