import type { IncomingMessage, ServerResponse } from 'node:http';
import { exchangeOf } from '../core/exchange.ts';
import type { Middleware } from '../core/http.ts';
import { type Check, group, integer, oneOf, optional, text } from '../core/options.ts';
import { leaveUnread } from '../core/unread-content.ts';
import { responseHeaders } from '../proxy/header-rules.ts';
import { anyText, without } from './check-forms.ts';
import { onePath, pathCheck, rewriteTarget } from './rewrite.ts';

/** A redirect to another URL. Parts that are not given stay as in the request, with the path at which the app mounts the router. */
export interface RedirectOptions {
  /** Scheme of the new URL. Default: that of the request. */
  scheme?: 'http' | 'https';
  /** Hostname of the new URL. Default: that of the request. */
  hostname?: string;
  /** Port of the new URL. Default: that of the request where scheme and hostname stay, else that of the scheme. */
  port?: number;
  /** Replaces the path prefix of the route; the path at which the app mounts the router stays before it. Default: the path stays. */
  prefix?: string;
  /** Replaces the whole path that the client sees, also the path at which the app mounts the router. Default: the path stays. */
  fullPath?: string;
  /** Status of the response. Default 302. */
  status?: 301 | 302 | 303 | 307 | 308;
}

/** A response that the gateway makes itself. */
export interface FixedResponse {
  /** Status of the response. Default 200. */
  status?: number;
  /** Headers of the response. Default: none; with a body, `Content-Type: text/plain; charset=utf-8`. */
  headers?: Readonly<Record<string, string>>;
  /** Body of the response. Default: none. */
  body?: string;
}

/** Checks of {@link RedirectOptions}. */
export const redirectCheck: Check = group<RedirectOptions, object>(
  {},
  {
    scheme: optional(oneOf('http', 'https')),
    hostname: optional(text(/^(?:[\w.~-]+|\[[\da-f:.]+\])$/i, 'must be a hostname without port')),
    port: optional(integer(1, 65_535)),
    prefix: optional(pathCheck),
    fullPath: optional(pathCheck),
    status: optional(oneOf(301, 302, 303, 307, 308)),
  },
  {},
  (one) => [
    ...(Object.keys(without(one, 'status')).length === 0 ? ['must change scheme, hostname, port or path'] : []),
    ...onePath(one),
  ],
);

/** Checks of {@link FixedResponse}. */
export const respondCheck: Check = group<FixedResponse, object>(
  {},
  { status: optional(integer(200, 599)), headers: optional(responseHeaders), body: optional(anyText) },
);

const DEFAULT_PORTS: Readonly<Record<string, number>> = { http: 80, https: 443 };

/** Redirects requests. `prefix` is the path prefix of the route. */
export function redirects(redirect: RedirectOptions, prefix: string): Middleware {
  return function expresswayRedirect(req: IncomingMessage, res: ServerResponse): void {
    const exchange = exchangeOf(req, res);
    exchange.isDeclared = true;
    const scheme = redirect.scheme ?? exchange.scheme;
    // The port of the request belongs to its scheme and host. If one of them changes, the port does not apply.
    const [, asked = '', ownPort] = /^(\[[^\]]*\]|[^:]*)(?::(\d*))?$/.exec(exchange.host) ?? [];
    const keepsPort = redirect.scheme === undefined && redirect.hostname === undefined;
    const port = redirect.port ?? (keepsPort && ownPort ? Number(ownPort) : DEFAULT_PORTS[scheme]);
    const host = redirect.hostname ?? asked;
    const authority = port === undefined || port === DEFAULT_PORTS[scheme] ? host : `${host}:${port}`;
    // Express has removed the path at which the router is mounted.
    const mount = redirect.fullPath === undefined ? (exchange.req.baseUrl ?? '') : '';
    // `*`, the target of `OPTIONS` for a whole server, is no path.
    const path = req.url?.startsWith('/') ? req.url : '/';
    const target = mount + rewriteTarget(path, prefix, redirect);
    // Without a host (HTTP/1.0), the URL is relative. Two slashes in front would name a host.
    const location = host === '' ? target.replace(/^[/\\]+/, '/') : `${scheme}://${authority}${target}`;
    leaveUnread(res);
    res.writeHead(redirect.status ?? 302, { Location: location, 'Content-Length': 0 }).end();
  };
}

/** Responds without a backend. */
export function responds({ status = 200, headers = {}, body = '' }: FixedResponse): Middleware {
  const content = Buffer.from(body);
  return function expresswayRespond(req: IncomingMessage, res: ServerResponse): void {
    exchangeOf(req, res).isDeclared = true;
    const bodyless = status === 204 || status === 304;
    if (!bodyless) res.setHeader('Content-Length', content.length);
    if (content.length > 0) res.setHeader('Content-Type', 'text/plain; charset=utf-8');
    for (const [name, value] of Object.entries(headers)) res.setHeader(name, value);
    res.statusCode = status;
    leaveUnread(res);
    res.end(bodyless ? undefined : content);
  };
}
