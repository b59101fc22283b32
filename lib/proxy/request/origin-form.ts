import type { IncomingMessage } from 'node:http';
import type { Next } from '../../core/http.ts';
import { isAuthority } from '../../ingress/target-check.ts';

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
  // Any other target is refused as it is.
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
