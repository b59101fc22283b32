import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Exchange, exchangeOf } from '../core/exchange.ts';
import { type GatewayRequest, type Middleware, type Next, notPromise, type RequestFunction } from '../core/http.ts';
import { boolean, type Check, type Checks, optional, resolveOptions } from '../core/options.ts';
import { warnOfThrow } from '../core/warnings.ts';
import { DEFAULT_ROUTE, RequestRecord, type RequestSink, type RouteFinder } from './request-record.ts';
import { sourcesCheck } from './status/status-sources.ts';
import type { Tracing } from './tracing/tracing.ts';

/** Options of {@link observability}. */
export interface ObservabilityOptions {
  /** The result of `prometheusMetrics()`. Default: no metrics. */
  metrics?: RequestSink | undefined;
  /** The result of `accessLog()`. Default: no log. */
  accessLog?: RequestSink | undefined;
  /** The result of `statusFeed()`. Default: no status page. */
  status?: RequestSink | undefined;
  /** The result of `tracing()`. Default: no tracing, and `traceparent` passes as it came. */
  tracing?: Tracing | undefined;
  /**
   * Name of the route in metrics, log and traces, or a function of the request that returns it: one of few names, never a path. The route of
   * `serviceRouter()` replaces it. If the function throws, the route is `OTHER`, and one process warning says so. Default `default`.
   */
  route?: string | RequestFunction<string>;
  /**
   * Results of `serviceRouter()`, mounted at `/`. A request that is rejected before its router, by a limiter in front, then counts for the route
   * and the service that it was for. Default: none, and it counts for `route`.
   */
  routers?: readonly RouteFinder[];
  /**
   * Whether every request gets an `X-Request-Id` for backend, client and log: that of a trusted peer (1 to 128
   * characters that are safe everywhere), else a new one. Default true.
   */
  requestId?: boolean;
  /** Whether responses say in `Server-Timing` how long they took, in all and at backends. Default false. */
  serverTiming?: boolean;
}

/** Defaults of {@link ObservabilityOptions}. */
export const observabilityDefaults = Object.freeze({ route: DEFAULT_ROUTE, requestId: true, serverTiming: false });

const sink = (maker: string): Check =>
  optional((value) =>
    typeof (value as RequestSink | null)?.finished === 'function'
      ? undefined
      : `must be the result of ${maker}(), or an object with a function finished(request)`,
  );

const checks: Checks<ObservabilityOptions> = {
  metrics: sink('prometheusMetrics'),
  accessLog: sink('accessLog'),
  status: sink('statusFeed'),
  tracing: optional((value) =>
    typeof (value as Tracing | null)?.begin === 'function' ? undefined : 'must be the result of tracing()',
  ),
  routers: sourcesCheck('serviceRouter', 'routeOf'),
  route: (value) =>
    typeof value === 'function' || (typeof value === 'string' && value !== '')
      ? undefined
      : 'must be a non-empty string or a function',
  requestId: boolean,
  serverTiming: boolean,
};

/**
 * Keeps one record of each request, for metrics and access log, until its response is closed. Mount it once, before all other middlewares, so
 * that it gets rejected requests and all routes too. Bytes that Node's parser rejects never become a request; `hardenServer()` emits
 * `clientRefused` for them.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function observability(given?: ObservabilityOptions): Middleware {
  const options = resolveOptions('observability', given, observabilityDefaults, checks);
  const { metrics, accessLog, status, tracing, route, routers = [], serverTiming } = options;
  const sinks = [metrics, accessLog, status].filter((one) => one !== undefined);
  const ids = options.requestId ? new RequestIds() : undefined;
  const routeOf = typeof route === 'function' ? guarded(route) : () => route;

  return function expresswayObservability(req: IncomingMessage, res: ServerResponse, next: Next): void {
    const exchange = exchangeOf(req as GatewayRequest, res);
    if (exchange.recorder !== undefined) {
      next();
      return;
    }
    const name = routeOf(req);
    // The default is no route of the app, so spans must not show it.
    const trace = tracing?.begin(exchange, name === DEFAULT_ROUTE ? undefined : name);
    const record = new RequestRecord(exchange, name, sinks, routers, trace);
    exchange.recorder = record;
    if (ids !== undefined) {
      record.id = ids.assign(exchange);
      res.setHeader('X-Request-Id', record.id);
    }
    if (serverTiming) writeServerTiming(res, record);
    if (trace === undefined) next();
    else trace.run(next);
  };
}

/** An error of the app's function must not fail the request. */
function guarded(route: RequestFunction<string>): (req: IncomingMessage) => string {
  return (req) => {
    try {
      return String(notPromise(route(req), 'route'));
    } catch (error) {
      warnOfThrow(route, 'WARN_EXPRESSWAY_ROUTE', 'route threw, the request is counted as OTHER', error);
      return 'OTHER';
    }
  };
}

/** Characters that are safe in logs, shells and URLs; long enough for a W3C trace id or a UUID with a prefix. */
const ACCEPTED = /^[A-Za-z0-9._~:+/=@-]{1,128}$/;
const FIELD = 'x-request-id';

/**
 * Makes request ids: 12 random bytes of the process and a counter. They are unique but can be guessed, so they must not serve as a proof of
 * identity.
 */
class RequestIds {
  readonly #prefix = randomBytes(12).toString('base64url');
  #count = 0;

  /** The id of a request: a valid one from a trusted peer, or a new one. The backend gets it. */
  assign({ req, peerTrusted }: Exchange): string {
    const { headers } = req;
    const given = headers[FIELD];
    const id = peerTrusted && typeof given === 'string' && ACCEPTED.test(given) ? given : this.#next();
    headers[FIELD] = id;
    // Some backends cannot distinguish these spellings from the real name.
    delete headers.x_request_id;
    delete headers['x-request_id'];
    delete headers['x_request-id'];
    const { connection } = headers;
    // A client must not remove the id by naming it in `Connection` (RFC 9110 §7.6.1).
    if (connection?.toLowerCase().includes(FIELD)) headers.connection = without(connection);
    return id;
  }

  #next(): string {
    this.#count += 1;
    return `${this.#prefix}-${this.#count.toString(36)}`;
  }
}

function without(connection: string): string {
  const names = connection.split(',').map((name) => name.trim());
  return names.filter((name) => name.toLowerCase() !== FIELD).join(', ');
}

/** Adds `Server-Timing` (W3C) when the head goes out: milliseconds until then. A backend's own entries stay, before ours. */
function writeServerTiming(res: ServerResponse, record: RequestRecord): void {
  const writeHead = res.writeHead as (...args: unknown[]) => ServerResponse;
  res.writeHead = (...args: unknown[]): ServerResponse => {
    if (!res.headersSent) {
      const { totalMs, backendMs } = record.times();
      const ours = `gateway;dur=${(totalMs - backendMs).toFixed(1)}, backend;dur=${backendMs.toFixed(1)}`;
      res.appendHeader('Server-Timing', ours);
    }
    return writeHead.apply(res, args);
  };
}
