import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Filter, Options as HpmOptions, RequestHandler } from 'http-proxy-middleware';
import { type Middleware, type Next, notPromise } from '../core/http.ts';
import { isAuthority } from '../ingress/request-target.ts';
import { warnOfOpenPrefixes } from './request/path-filter.ts';

export interface FilterOptions {
  readonly pathFilter?: Filter;
  readonly pathRewrite?: NonNullable<HpmOptions['pathRewrite']>;
}

/**
 * Puts http-proxy-middleware's `pathFilter` and `pathRewrite` in front of a middleware. Where neither is given, the requests go
 * straight to it (docs/decisions/0007).
 */
export function filteredRequests({ pathFilter, pathRewrite }: FilterOptions, forward: Middleware): Middleware {
  if (pathFilter === undefined && pathRewrite === undefined) return forward;
  warnOfOpenPrefixes(pathFilter);
  const errors = new PathFilterErrors(pathFilter);
  const options: HpmOptions = {
    // http-proxy-middleware demands a target, and hands it to `web()`. This one, which no resolver knows (RFC 2606), ends in
    // the plugin below: the backend is picked behind it.
    target: 'http://unused.invalid',
    ejectPlugins: true,
    plugins: [
      (proxyServer) => {
        // Without a listener, http-proxy-middleware would throw an error of `forward()` before it calls next().
        proxyServer.on('error', () => {});
        // What is rejected goes to next(). Nothing waits for a fulfilled promise.
        proxyServer.web = (req, res) => new Promise((_resolve, reject) => forward(req, res, reject));
      },
    ],
    ...(errors.filter === undefined ? {} : { pathFilter: errors.filter }),
    ...(pathRewrite === undefined ? {} : { pathRewrite }),
  };
  let filtered: RequestHandler | undefined;
  // Only here, for the few that filter: it is an ES module that imports `node:http` (see core/node-http.ts).
  const loading = import('http-proxy-middleware').then(({ createProxyMiddleware }) => {
    filtered = createProxyMiddleware(options);
  });
  // Each request that came in vain reports it.
  loading.catch(() => {});
  return function expresswayFilter(req: IncomingMessage, res: ServerResponse, next: Next): void {
    const passOn = errors.passedTo(paused(req, toOriginForm(req, next)));
    if (filtered !== undefined) void filtered(req, res, passOn);
    else loading.then(() => filtered?.(req, res, passOn), passOn);
  };
}

/**
 * Keeps what a function given as `pathFilter` throws. http-proxy-middleware would take it for "not this one", and the request
 * would go to the next handler in silence.
 */
class PathFilterErrors {
  readonly filter: Filter | undefined;
  #thrown: { readonly error: unknown } | undefined;

  constructor(given: Filter | undefined) {
    if (typeof given !== 'function') {
      this.filter = given;
      return;
    }
    this.filter = (pathname: string, req: IncomingMessage) => {
      try {
        return notPromise(given(pathname, req), 'pathFilter');
      } catch (error) {
        this.#thrown = { error };
        return false;
      }
    };
  }

  /** `next` for one request, which gets what the filter threw: it is called in the tick in which the filter said no. */
  passedTo(next: Next): Next {
    if (typeof this.filter !== 'function') return next;
    return (error) => {
      const thrown = this.#thrown;
      this.#thrown = undefined;
      if (thrown === undefined) next(error);
      // Express takes nothing for no error.
      else next(thrown.error || new Error(`pathFilter threw ${thrown.error}`));
    };
  }
}

/**
 * A rewrite may take its time: a request that a middleware has set flowing waits meanwhile.
 *
 * @returns `next`, which first lets the request flow again.
 */
function paused(req: IncomingMessage, next: Next): Next {
  if (req.readableFlowing !== true) return next;
  req.pause();
  return (error) => {
    req.resume();
    // A plain server gives none.
    next?.(error);
  };
}

/**
 * Gives a request in absolute form (`GET http://host/path`) the form that path filters and rewrites are written for: the
 * path alone, with the authority as `Host`, which it replaces in any case (RFC 9112 §3.2.2).
 *
 * @returns `next`, which first undoes it if it was done: Express's router relies on the form that it knows.
 */
export function toOriginForm(req: IncomingMessage, next: Next): Next {
  const { url = '', headers } = req;
  if (url.startsWith('/')) return next;
  const [, authority, rest = ''] = /^https?:\/\/([^/?#]*)(.*)$/i.exec(url) ?? [];
  // Any other target is rejected as it is.
  if (authority === undefined || !isAuthority(authority)) return next;
  const { host } = headers;
  req.url = rest.startsWith('/') ? rest : `/${rest}`;
  headers.host = authority;
  return (error) => {
    req.url = url;
    if (host === undefined) delete headers.host;
    else headers.host = host;
    // A plain server gives none.
    next?.(error);
  };
}
