import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { IncomingMessage } from 'node:http';

/** Headers that are never forwarded, whether `Connection` names them or not (RFC 9110 §7.6.1). */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
]);

/** `Connection` cannot remove these: without them the message would be framed or routed in another way. */
const NEVER_STRIPPED = new Set(['content-length', 'host', 'date', 'max-forwards']);

const NOTHING: ReadonlySet<string> = new Set();

export function isHopByHop(lowerCaseName: string): boolean {
  return HOP_BY_HOP.has(lowerCaseName);
}

/** The headers that a `Connection` header names, in lower case. */
export function namedInConnection(connection: string | readonly string[] | undefined): ReadonlySet<string> {
  if (connection === undefined || connection === 'keep-alive' || connection === 'close') return NOTHING;
  const names = new Set<string>();
  for (const token of String(connection).toLowerCase().split(',')) {
    const name = token.trim();
    if (name !== '' && !NEVER_STRIPPED.has(name)) names.add(name);
  }
  return names;
}

const kWatched = Symbol('expressway.watchedHeaders');

type Watched = IncomingMessage & { [kWatched]?: true };

/**
 * Watches the headers that a client names in `Connection`, to learn whether a middleware writes one of them later, even with the
 * value that the client sent. A client must not be able to remove a header of the app. Call it before any middleware.
 */
export function watchNamed(req: Watched): void {
  const { headers } = req;
  const named = namedInConnection(headers.connection);
  if (named.size === 0 || req[kWatched]) return;
  req[kWatched] = true;
  for (const name of named) {
    const received = Object.hasOwn(headers, name) ? headers[name] : undefined;
    if (received === undefined) continue;
    Object.defineProperty(headers, name, {
      configurable: true,
      enumerable: true,
      get: () => received,
      set: (value) =>
        Object.defineProperty(headers, name, { configurable: true, enumerable: true, writable: true, value }),
    });
  }
}

/** Whether a middleware has written a watched header. */
export function isWritten(req: Watched, name: string): boolean {
  return req[kWatched] === true && Object.getOwnPropertyDescriptor(req.headers, name)?.get === undefined;
}

/** Node publishes it before a server passes a request to its listeners. */
const REQUEST_START = 'http.server.request.start';

const onRequestStart = (message: unknown): void => watchNamed((message as { request: Watched }).request);

/** Watches the requests of all servers of the process. Further calls have no effect. */
export function watchRequests(): void {
  unsubscribe(REQUEST_START, onRequestStart);
  subscribe(REQUEST_START, onRequestStart);
}
