import type { IncomingMessage, ServerResponse } from 'node:http';
import { exchangeOf } from '../core/exchange.ts';
import { canonical, HeaderNames } from '../core/header-names.ts';
import type { Middleware, Next } from '../core/http.ts';
import { isOfClient } from '../proxy/request/end-to-end-headers.ts';
import type { Declaration } from './declaration.ts';
import { identityHeadersOf } from './route-authentication.ts';

/**
 * Makes a middleware that removes the headers in which any authenticator of a declaration tells backends who a client is, in every spelling. A
 * backend believes such a header on each of its routes, so a client must not be able to send it on a route without that authenticator. Most trusted
 * proxies pass on what a client sends, so theirs are removed as well. What a middleware wrote stays.
 *
 * @returns `undefined` if the declaration has no such header.
 */
export function dropsClaimedIdentity({ authentication = {}, routes }: Declaration): Middleware | undefined {
  const ofRoutes = routes.flatMap(({ authentication: own }) => (typeof own === 'object' ? own : []));
  const identity = new Set([...Object.values(authentication), ...ofRoutes].flatMap(identityHeadersOf).map(canonical));
  if (identity.size === 0) return undefined;
  const names = new HeaderNames([]);
  return function expresswayClaimedIdentity(req: IncomingMessage, res: ServerResponse, next: Next): void {
    const { headers } = req;
    for (const name in headers) {
      if (!identity.has(names.of(name).canonical)) continue;
      if (isOfClient(exchangeOf(req, res), name)) delete headers[name];
    }
    next();
  };
}
