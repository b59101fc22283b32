import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Filter, Options as HpmOptions } from 'http-proxy-middleware';
import { exchangeOf } from '../core/exchange.ts';
import type { GatewayEvents } from '../core/gateway-events.ts';
import { type AppRequest, type Middleware, type Next, notPromise } from '../core/http.ts';
import { handlerError } from '../core/outcome.ts';
import { cut, reject } from '../core/reject.ts';
import { named, thrownBy } from '../core/thrown-by.ts';
import { warnOfOpenPrefixes } from './request/path-filter.ts';
import { absoluteForm } from './request/request-head.ts';
import { warnOfListener } from './response/contain-throws.ts';

/** As in http-proxy-middleware. A function may also be written for the `Request` of Express. */
export type PathFilter =
  | string
  | string[]
  | { of(pathname: string, req: AppRequest): ReturnType<FilterFunction> }['of'];

/** As in http-proxy-middleware. A function may also be written for the `Request` of Express. */
export type PathRewrite = Readonly<Record<string, string>> | RewriteFunction;

type FilterFunction = Extract<Filter, (...args: never[]) => unknown>;
type RewriteFunction = {
  of(
    path: string,
    req: AppRequest,
    res?: ServerResponse,
    options?: HpmOptions,
  ): string | undefined | Promise<string | undefined>;
}['of'];

export interface FilterOptions {
  readonly pathFilter?: PathFilter;
  readonly pathRewrite?: PathRewrite;
  readonly events: GatewayEvents;
}

/**
 * Puts http-proxy-middleware's `pathFilter` and `pathRewrite` in front of a middleware. Without both options, the middleware gets the
 * requests directly (docs/decisions/0007).
 */
export function filteredRequests({ pathFilter, pathRewrite, events }: FilterOptions, forward: Middleware): Middleware {
  if (pathFilter === undefined && pathRewrite === undefined) return forward;
  warnOfOpenPrefixes(pathFilter);
  const errors = new PathFilterErrors(pathFilter);
  const options: HpmOptions = {
    // http-proxy-middleware requires a target, and passes it to `web()`. The plugin below ignores this one, which does not resolve
    // (RFC 2606), because the proxy picks the backend.
    target: 'http://unused.invalid',
    ejectPlugins: true,
    plugins: [
      (proxyServer) => {
        // Without a listener, http-proxy-middleware would throw an error of `forward()` before it calls next().
        proxyServer.on('error', () => {});
        // http-proxy-middleware passes a rejection to next(). Otherwise the promise stays pending: no code waits for it.
        proxyServer.web = (req, res) => {
          // A rewrite may take the slash away: `{ '^/api': '' }` makes nothing of /api. With any target, http-proxy-middleware joins it to a slash.
          if (!req.url?.startsWith('/')) req.url = `/${req.url}`;
          return new Promise((_resolve, reject) => forward(req, res, reject));
        };
      },
    ],
    ...(errors.filter === undefined ? {} : { pathFilter: errors.filter }),
    ...(pathRewrite === undefined ? {} : { pathRewrite: rewriteOf(pathRewrite) }),
  };
  // Loaded only for proxies with a filter or a rewrite: it is an ES module that imports `node:http` (see core/node-http.ts).
  const loading = import('http-proxy-middleware').then(({ createProxyMiddleware }) => createProxyMiddleware(options));
  // Each request reports the error, so this promise need not.
  loading.catch(() => {});
  return function expresswayFilter(req: IncomingMessage, res: ServerResponse, next: Next | undefined): void {
    const last = toOriginForm(req, next ?? lastHandler(req, res, events));
    // `OPTIONS *` has no path, so no filter matches it.
    if (req.url === '*' && pathFilter !== undefined) {
      last();
      return;
    }
    // A rewrite could make a path of such a target. The proxy rejects it, and responds to `OPTIONS *` itself.
    if (!req.url?.startsWith('/')) {
      forward(req, res, last);
      return;
    }
    const passOn = errors.passedTo(paused(req, last));
    loading
      .then((filtered) => filtered(req, res, passOn), passOn)
      .catch((error) => {
        // A handler of the app threw in turn: without this, it would end the process.
        warnOfListener(req, 'A function of the app', error);
        cut(exchangeOf(req, res));
      });
  };
}

/** Stands for `next` on a server without Express: 404 for a request that the filter leaves out, and 500 for an error. */
function lastHandler(req: IncomingMessage, res: ServerResponse, events: GatewayEvents): Next {
  return (error) => {
    const outcome =
      error === undefined ? ({ kind: 'rejected', cause: 'no_route' } as const) : handlerError(error, res.headersSent);
    reject(exchangeOf(req, res), outcome, events);
  };
}

/** Its type has one function that returns a promise and another that does not; for a call, that is the same. */
const rewriteOf = (given: PathRewrite) =>
  (typeof given === 'function' ? named('pathRewrite()', given) : given) as NonNullable<HpmOptions['pathRewrite']>;

/**
 * Keeps the errors of a function given as `pathFilter`. http-proxy-middleware would treat an error as "no match", so the request would go to
 * the next handler without a report.
 */
class PathFilterErrors {
  readonly filter: Filter | undefined;
  #thrown: object | undefined;

  constructor(given: Filter | undefined) {
    if (typeof given !== 'function') {
      this.filter = given;
      return;
    }
    this.filter = (pathname: string, req: IncomingMessage) => {
      try {
        return notPromise(given(pathname, req), 'pathFilter');
      } catch (error) {
        this.#thrown = thrownBy('pathFilter()', error);
        return false;
      }
    };
  }

  /** `next` for one request, which also gets the error of the filter. It is called in the same tick as the filter. */
  passedTo(next: Next): Next {
    if (typeof this.filter !== 'function') return next;
    return (error) => {
      const thrown = this.#thrown;
      this.#thrown = undefined;
      next(thrown ?? error);
    };
  }
}

/**
 * Pauses a request that a middleware has set flowing, because an asynchronous rewrite takes time.
 *
 * @returns `next`, which first resumes the request.
 */
function paused(req: IncomingMessage, next: Next): Next {
  if (req.readableFlowing !== true) return next;
  req.pause();
  return (error) => {
    req.resume();
    next(error);
  };
}

/**
 * Changes a request in absolute form (`GET http://host/path`) to the form that path filters and rewrites expect: the path alone, and the
 * authority as `Host`, which it replaces in any case (RFC 9112 §3.2.2).
 *
 * @returns `next`, which first restores the absolute form, because Express's router relies on it.
 */
export function toOriginForm(req: IncomingMessage, next: Next): Next {
  const { url = '', headers } = req;
  if (url.startsWith('/')) return next;
  const absolute = absoluteForm(url);
  // The proxy rejects any other target.
  if (absolute === undefined) return next;
  const { host } = headers;
  req.url = absolute.path;
  headers.host = absolute.host;
  return (error) => {
    req.url = url;
    if (host === undefined) delete headers.host;
    else headers.host = host;
    next(error);
  };
}
