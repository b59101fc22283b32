import type { IncomingMessage, ServerResponse } from 'node:http';
import { exchangeOf } from '../core/exchange.ts';
import type { GatewayRequest, Middleware, Next } from '../core/http.ts';
import { boolean, type Check, type Checks, optional, resolveOptions } from '../core/options.ts';
import { warnOfThrow } from '../core/warnings.ts';
import { RequestIds } from './request-id.ts';
import { RequestRecord, type RequestSink } from './request-record.ts';
import { writeServerTiming } from './server-timing.ts';
import type { Tracing } from './tracing/tracing.ts';

/** Options of {@link observability}. */
export interface ObservabilityOptions {
  /** What `prometheusMetrics()` gave. Default: no metrics. */
  metrics?: RequestSink | undefined;
  /** What `accessLog()` gave. Default: no log. */
  accessLog?: RequestSink | undefined;
  /** What `statusFeed()` gave. Default: no status page. */
  status?: RequestSink | undefined;
  /** What `tracing()` gave. Default: no tracing, and `traceparent` passes as it came. */
  tracing?: Tracing | undefined;
  /**
   * Name of the route in metrics, log and traces, or a function that gives it when the request comes: one of few names, never
   * a path. Where it throws, the request goes on as `OTHER`, and a process warning says so, once. Default `default`.
   */
  route?: string | ((req: IncomingMessage) => string);
  /**
   * Whether every request gets an `X-Request-Id`, which backend, client and log are told: that of a trusted peer (1 to 128
   * characters that are safe everywhere), else a new one. Default true.
   */
  requestId?: boolean;
  /** Whether answers say in `Server-Timing` how long they took, in all and at backends. Default false. */
  serverTiming?: boolean;
}

/** Defaults of {@link ObservabilityOptions}. */
export const observabilityDefaults = Object.freeze({ route: 'default', requestId: true, serverTiming: false });

const sink = (maker: string): Check =>
  optional((value) =>
    typeof (value as RequestSink | null)?.finished === 'function'
      ? undefined
      : `must be what ${maker}() gave, or an object with a function finished(request)`,
  );

const checks: Checks<ObservabilityOptions> = {
  metrics: sink('prometheusMetrics'),
  accessLog: sink('accessLog'),
  status: sink('statusFeed'),
  tracing: optional((value) =>
    typeof (value as Tracing | null)?.begin === 'function' ? undefined : 'must be what tracing() gave',
  ),
  route: (value) =>
    typeof value === 'function' || (typeof value === 'string' && value !== '')
      ? undefined
      : 'must be a non-empty string or a function',
  requestId: boolean,
  serverTiming: boolean,
};

/**
 * Keeps a record of each request, for metrics and access log, until its response is closed: one each, however it ends.
 * Mount it once, before all others, so that refusals and other routes are seen too. What Node's parser refuses never
 * becomes a request: the event `clientRefused` tells of it.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function observability(given?: ObservabilityOptions): Middleware {
  const options = resolveOptions('observability', given, observabilityDefaults, checks);
  const { metrics, accessLog, status, tracing, route, serverTiming } = options;
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
    // The default is no name of the app's: spans would show a route where there is none.
    const trace = tracing?.begin(exchange, name === observabilityDefaults.route ? undefined : name);
    const record = new RequestRecord(exchange, name, sinks, trace);
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

/** A rule that throws must not cost the request. */
function guarded(route: (req: IncomingMessage) => string): (req: IncomingMessage) => string {
  return (req) => {
    try {
      return String(route(req));
    } catch (error) {
      warnOfThrow(route, 'WARN_EXPRESSWAY_ROUTE', 'route threw, the request is counted as OTHER', error);
      return 'OTHER';
    }
  };
}
