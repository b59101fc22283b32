import {
  type CircuitBreakerOptions,
  circuitBreakerChecks,
  circuitBreakerDefaults,
} from '../circuit-breaker/circuit-breaker.ts';
import { TOKEN } from '../core/http.ts';
import {
  boolean,
  type Check,
  type Checks,
  durationMs,
  type ForeignOptions,
  group,
  integer,
  isPlainObject,
  listOf,
  nonEmptyString,
  optional,
  type Problem,
} from '../core/options.ts';
import { type HeaderRules, requestRules, unknownFacts } from '../proxy/header-rules.ts';
import { type MirrorOptions, mirrorCheck } from '../proxy/mirror/mirror-options.ts';
import { type ResponseOptions, responseChecks } from '../proxy/response/response-rules.ts';
import { type RetryOptions, retryChecks } from '../proxy/retry/retry-rules.ts';
import { type SessionPersistence, sessionPersistenceCheck } from '../proxy/session-persistence.ts';
import { addressListCheck } from '../rate-limit/address-list.ts';
import { either, isList, isText, without } from './check-forms.ts';
import { type CorsOptions, corsCheck } from './cors.ts';
import { type RewriteOptions, rewriteCheck } from './rewrite.ts';
import { type Authenticator, authenticatorCheck } from './route-authentication.ts';
import { type RouteLimit, routeLimitsCheck } from './route-limit.ts';
import { type RouteMatch, routeMatchChecks } from './route-match.ts';
import { type FixedResponse, type RedirectOptions, redirectCheck, respondCheck } from './route-response.ts';

/** One of several services that share the requests of a route. */
export interface WeightedService {
  /** Name of the service. */
  name: string;
  /** Share of the requests, relative to the other weights; 0 for none. */
  weight: number;
}

/** One route: which requests it takes, and what happens to them. */
export interface RouteOptions extends RouteMatch {
  /** Name in metrics, logs and on the status page. Default: its methods, hostname and path. */
  name?: string;
  /** Name of the service that gets the requests, or several with weights. Give `service`, `redirect` or `respond`. Default: none. */
  service?: string | readonly WeightedService[];
  /**
   * A signed cookie keeps a client at its backend, and at its service if there are several. `loadBalancing` of the service picks the
   * backend of new clients. Default: none.
   */
  sessionPersistence?: SessionPersistence;
  /** Sends copies of the requests to another service. Default: none. */
  mirror?: MirrorOptions;
  /** Redirects the client. Default: none. */
  redirect?: RedirectOptions;
  /** Responds without a backend. Default: none. */
  respond?: FixedResponse;
  /** Authentication of clients: an authenticator, or its name in `authentication`. Default: any client may use the route. */
  authentication?: string | Authenticator;
  /** Web pages of other origins that may use the route. Needs the package `cors`. Default: the headers of the backend decide. */
  cors?: CorsOptions;
  /** One or more limits, which must all admit a request: `100/1m`, the name of a shared limit, or an object. Default: none. */
  rateLimit?: string | RouteLimit | readonly (string | RouteLimit)[];
  /** Addresses and CIDR ranges that may use the route; others get 403. Default: all. */
  allow?: readonly string[];
  /** Addresses and CIDR ranges that get 403. Default: none. */
  deny?: readonly string[];
  /** A circuit breaker for the whole route, beside those of the backends. Default: none. */
  circuit?: Omit<CircuitBreakerOptions, 'name' | 'events'>;
  /** Requests in progress at a time on this route; more get 503. 0 for any number. Default 0. */
  maxInFlight?: number;
  /** The same for each client address, or public IPv6 network (/56); more get 429. Default 0. */
  maxInFlightPerClient?: number;
  /**
   * Milliseconds for a whole request, from the route to the end of the response, authentication and retries included. Then the client
   * gets 504, or a cut connection if the response has begun. Event streams and upgrades have no such limit. Default: none.
   */
  requestTimeoutMs?: number;
  /** As in `roundRobinProxy()`, for this route. Default: that of the service. */
  responseTimeoutMs?: number;
  /** As in `roundRobinProxy()`, for this route. Default: that of the service. */
  idleTimeoutMs?: number;
  /** Whether responses may take any time to begin and may pause for any time, as event feeds and long polls do. Default false. */
  stream?: boolean;
  /** As in `roundRobinProxy()`, for this route. Default: that of the service. */
  maxBodyBytes?: number;
  /** As in `roundRobinProxy()`, for this route; the budget of retries stays that of the service. Default: that of the service. */
  retry?: Omit<RetryOptions, 'budgetRatio' | 'budgetMinimum'>;
  /** Changes the path or the hostname that the backend sees. Default: both stay as they are. */
  rewrite?: RewriteOptions;
  /** Changes of the request headers that the backend sees, before those of the service. The gateway itself still reads what came. Default: none. */
  requestHeaders?: HeaderRules;
  /** Changes of the responses of backends, each in place of the same option of the service. `rewriteUrls` is on when the route rewrites the prefix or the hostname, and with `changeOrigin` of the service. Default: those of the service. */
  response?: ResponseOptions;
}

const weightedServices = listOf(
  'service',
  group<WeightedService, object>({}, { name: nonEmptyString, weight: integer(0, 1_000_000) }),
  1,
);

const routeForeign: ForeignOptions = Object.freeze({
  host: 'use hostnames',
  hosts: 'use hostnames',
  hostname: 'use hostnames',
  method: 'use methods, a list',
  prefix: 'use path',
  paths: 'use one route for each path',
  target: 'use service',
  backends: 'give them to a service',
  timeoutMs: 'use requestTimeoutMs, responseTimeoutMs or idleTimeoutMs',
  auth: 'use authentication',
  sticky: 'use sessionPersistence',
  shadow: 'use mirror',
});

/** Checks of {@link RouteOptions}. */
export const routeCheck: Check = group<RouteOptions, object>(
  {},
  {
    name: optional(nonEmptyString),
    ...routeMatchChecks,
    service: optional(
      either('the name of a service, or a list of services with weights', [
        [isText, nonEmptyString],
        [isList, weightedServices],
      ]),
    ),
    sessionPersistence: optional(sessionPersistenceCheck),
    mirror: optional(mirrorCheck),
    redirect: optional(redirectCheck),
    respond: optional(respondCheck),
    authentication: optional(
      either('the name of an authenticator, or an authenticator', [
        [isText, nonEmptyString],
        [isPlainObject, authenticatorCheck],
      ]),
    ),
    cors: optional(corsCheck),
    rateLimit: optional(routeLimitsCheck),
    allow: optional(addressListCheck),
    deny: optional(addressListCheck),
    circuit: optional(group(circuitBreakerDefaults, without(circuitBreakerChecks, 'name', 'events'))),
    maxInFlight: optional(integer(0)),
    maxInFlightPerClient: optional(integer(0)),
    requestTimeoutMs: optional(durationMs),
    responseTimeoutMs: optional(durationMs),
    idleTimeoutMs: optional(durationMs),
    stream: optional(boolean),
    maxBodyBytes: optional(integer(0)),
    retry: optional(group({}, optionalAll(without(retryChecks, 'budgetRatio', 'budgetMinimum')))),
    rewrite: optional(rewriteCheck),
    requestHeaders: optional(requestRules),
    response: optional(group({}, responseChecks)),
  },
  routeForeign,
  routeProblems,
);

function optionalAll<T extends object>(checks: Checks<T>): Checks<T> {
  return Object.fromEntries(
    Object.entries<Check>(checks as never).map(([name, check]) => [name, optional(check)]),
  ) as never;
}

function routeProblems(route: RouteOptions): Problem[] {
  const ends = (['service', 'redirect', 'respond'] as const).filter((name) => route[name] !== undefined);
  const isExact = typeof route.path === 'object' && 'exact' in route.path;
  const problems: Problem[] = [];
  const add = (key: string, problem: string) => problems.push({ path: key === '' ? [] : [key], text: problem });
  if (ends.length !== 1)
    add(ends[1] ?? '', `must have exactly one of service, redirect and respond, got ${ends.join(' and ') || 'none'}`);
  if (isExact && route.rewrite?.prefix !== undefined)
    add('rewrite', 'rewrite.prefix needs a path prefix, and the path is exact');
  if (isExact && route.redirect?.prefix !== undefined)
    add('redirect', 'redirect.prefix needs a path prefix, and the path is exact');
  if (
    route.stream === true &&
    (route.responseTimeoutMs ?? route.idleTimeoutMs ?? route.requestTimeoutMs) !== undefined
  ) {
    add('stream', 'stream has no requestTimeoutMs, responseTimeoutMs and idleTimeoutMs');
  }
  if (Array.isArray(route.service) && route.service.every(({ weight }) => weight === 0))
    add('service', 'one service needs a weight above 0');
  if (route.sessionPersistence !== undefined && route.service === undefined)
    add('sessionPersistence', 'sessionPersistence needs a service');
  // It would take a 503 of `respond` for a failure.
  if (route.circuit !== undefined && route.service === undefined) add('circuit', 'circuit needs a service');
  if (route.mirror !== undefined && route.service === undefined) add('mirror', 'mirror needs a service');
  const names = new Set<string>();
  for (const name of Object.keys(route.headers ?? {})) {
    if (!TOKEN.test(name)) add('headers', `"${name}" is not a header name`);
    if (names.has(name.toLowerCase()))
      add('headers', `"${name}" is repeated: names of headers are compared without case`);
    names.add(name.toLowerCase());
  }
  for (const name of unknownFacts(route.requestHeaders ?? {}))
    add('requestHeaders', `{${name}} is not a fact of a request`);
  for (const name of unknownFacts(route.response?.headers ?? {}))
    add('response', `{${name}} is not a fact of a request`);
  return problems;
}

/** The name of a route that has none: its methods, hostname and path. */
export function routeName({ name, methods, hostnames: hosts, path: matched = '/' }: RouteOptions): string {
  if (name !== undefined) return name;
  const host = [hosts ?? []].flat()[0] ?? '';
  const shown = typeof matched === 'string' ? matched : 'exact' in matched ? `=${matched.exact}` : matched.prefix;
  return `${methods === undefined ? '' : `${methods.join('|')} `}${host}${shown}`;
}

/** The services that a route may forward to. */
export const serviceNames = ({ service: given }: RouteOptions): readonly string[] =>
  given === undefined ? [] : typeof given === 'string' ? [given] : given.map(({ name }) => name);
