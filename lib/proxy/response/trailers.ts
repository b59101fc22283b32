import type { ServerResponse } from 'node:http';
import { isHopByHop, namedInConnection } from '../request/hop-by-hop.ts';
import type { HeaderSpelling } from './header-spelling.ts';
import type { ResponseFields } from './response-head.ts';

/**
 * Fields that may not come behind the content (RFC 9110 §6.5.1): whoever merges them with the head would frame, route,
 * authenticate, cache or read the message in another way than it was.
 */
const FORBIDDEN = new Set([
  'age',
  'authorization',
  'cache-control',
  'content-encoding',
  'content-length',
  'content-range',
  'content-type',
  'cookie',
  'date',
  'expect',
  'expires',
  'forwarded',
  'host',
  'location',
  'max-forwards',
  'pragma',
  'proxy-status',
  'range',
  'ratelimit',
  'ratelimit-policy',
  'retry-after',
  'set-cookie',
  'vary',
  'via',
  'warning',
  'www-authenticate',
]);

const FORBIDDEN_STARTS = /^(?:access-control-|if-|x-forwarded-)/;

/**
 * Passes a backend's trailers on, behind the content, to a client that says `TE: trailers` (RFC 9110 §10.1.4); anybody
 * else gets none. They are never merged into the head.
 *
 * @param connection What the head's own `Connection` named.
 * @throws when the backend sent a value that may not go into a field (the caller blames the backend).
 */
export function addTrailers(
  res: ServerResponse,
  trailers: ResponseFields,
  connection: ResponseFields[string],
  spelling?: HeaderSpelling,
): void {
  // Hardly any answer has some.
  if (isEmpty(trailers)) return;
  const passed: [string, string | string[]][] = [];
  const named = namedInConnection(connection);
  for (const name in trailers) {
    const value = trailers[name];
    if (value === undefined || isHopByHop(name) || named.has(name)) continue;
    if (!FORBIDDEN.has(name) && !FORBIDDEN_STARTS.test(name)) passed.push([spelling?.of(name) ?? name, value]);
  }
  if (passed.length === 0 || !acceptsTrailers(res)) return;
  // With its content empty and its head held back, the answer would get a length instead.
  if (!res.headersSent) res.flushHeaders();
  // Node leaves them out of an answer that is not chunked. Its types know no repeated lines.
  res.addTrailers(passed as unknown as readonly [string, string][]);
}

/**
 * Whether a connection must not be used again after these trailers. llhttp obeys a `Connection: close` among them, undici
 * does not: the next answer would be refused as bytes behind the last one. There is no such field there
 * (RFC 9110 §6.5.1), so what else it says does not matter.
 */
export function endConnection(trailers: ResponseFields): boolean {
  return trailers.connection !== undefined || trailers['proxy-connection'] !== undefined;
}

function acceptsTrailers({ req }: ServerResponse): boolean {
  return /(?:^|,)[ \t]*trailers[ \t]*(?:,|$)/i.test(String(req.headers.te)) && req.httpVersion !== '1.0';
}

function isEmpty(fields: ResponseFields): boolean {
  for (const _name in fields) return false;
  return true;
}
