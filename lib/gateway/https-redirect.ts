import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { exchangeOf } from '../core/exchange.ts';
import type { Middleware } from '../core/http.ts';
import { createServer } from '../core/node-http.ts';
import { leaveUnread } from '../core/unread-content.ts';
import { type AcmeStore, challengeName } from './acme/acme-store.ts';

/** A host name or an IP address, as in `Host` (RFC 9110 §7.2), with or without a port. */
const HOST = /^((?:[a-z\d_-]+\.)*[a-z\d_-]+\.?|\[[\da-f:.]+\])(?::\d{0,5})?$/i;
/** The token is base64url, which makes it a safe name. */
const CHALLENGE = /^\/\.well-known\/acme-challenge\/([\w-]{1,128})$/;
const BEYOND_ASCII = /[^\x21-\x7e]/g;
const HTTPS_PORT = 443;

/** Name of the route of its requests in access log, metrics and on the status page. */
const REDIRECT_ROUTE = 'redirect to https';

/** Most connections. Each serves one response. */
export const REDIRECT_CONNECTIONS = 128;
/** Most connections of one address, so that a single slow client cannot use all of them. */
const CONNECTIONS_PER_ADDRESS = 32;
const HEAD_TIMEOUT_MS = 5_000;

/** Bounds of a server that only redirects. Its other bounds are those of the gateway. */
export const REDIRECT_BOUNDS = Object.freeze({
  maxConnections: REDIRECT_CONNECTIONS,
  maxConnectionsPerAddress: CONNECTIONS_PER_ADDRESS,
  headTimeoutMs: HEAD_TIMEOUT_MS,
});

/**
 * Makes a server for plain HTTP that redirects clients to the same host, path and query over https. The status is 308, so the method
 * stays (RFC 9110 §15.4.9). No other part of a request affects the target.
 *
 * @param observe Records each request, under {@link REDIRECT_ROUTE}.
 * @param port Returns the port for the URL.
 * @param challenges Stores the challenges that an authority may request (http-01, RFC 8555 §8.3).
 */
export function httpsRedirect(observe: Middleware, port: () => number, challenges?: AcmeStore): Server {
  const redirect = (req: IncomingMessage, res: ServerResponse): void => {
    const location = locationFor(req, port());
    if (location === undefined) respond(res, 400, 'A valid Host and a path are needed.\n');
    else respond(res, 308, `${location}\n`, location);
  };
  const handle = (req: IncomingMessage, res: ServerResponse): void => {
    const [, token] = CHALLENGE.exec(req.url ?? '') ?? [];
    if (challenges === undefined || token === undefined) {
      redirect(req, res);
      return;
    }
    challenges.read(challengeName(token)).then(
      (proof) => (proof === undefined ? redirect(req, res) : respond(res, 200, proof)),
      (error) => respond(res, 503, `The challenge cannot be read: ${error.code ?? 'no connection to Redis'}.\n`),
    );
  };
  return createServer((req, res) => {
    exchangeOf(req, res).route = REDIRECT_ROUTE;
    observe(req, res, () => handle(req, res));
  });
}

function locationFor(req: IncomingMessage, port: number): string | undefined {
  const { url = '', headersDistinct } = req;
  const [host = '', ...others] = headersDistinct.host ?? [];
  const [, name] = HOST.exec(host) ?? [];
  // A target in absolute form has its own host.
  if (name === undefined || others.length > 0 || !url.startsWith('/')) return undefined;
  const target = url.replace(BEYOND_ASCII, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`);
  return `https://${name}${port === HTTPS_PORT ? '' : `:${port}`}${target}`;
}

function respond(res: ServerResponse, status: number, content: string, location?: string): void {
  res.shouldKeepAlive = false;
  leaveUnread(res);
  res.writeHead(status, {
    ...(location === undefined ? {} : { Location: location }),
    'Content-Type': 'text/plain',
    'Content-Length': Buffer.byteLength(content),
  });
  res.end(content);
}
