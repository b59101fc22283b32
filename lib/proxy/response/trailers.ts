import type { ServerResponse } from 'node:http';
import { acceptsTrailers } from '../../core/http.ts';
import { isHopByHop, namedInConnection } from '../request/hop-by-hop.ts';
import type { HeaderSpelling } from './header-spelling.ts';
import type { ResponseFields } from './response-head.ts';

/**
 * Headers that must not be trailers (RFC 9110 §6.5.1). A recipient that merges them into the head would frame, route, authenticate,
 * cache or read the message in another way.
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
 * Passes a backend's trailers on to clients that send `TE: trailers` (RFC 9110 §10.1.4), and to no others. They are never merged into
 * the head.
 *
 * @param connection The `Connection` header of the response head.
 * @throws {TypeError} of Node for a value that is not valid in a header. The backend is to blame.
 */
export function addTrailers(
  res: ServerResponse,
  trailers: ResponseFields,
  connection: ResponseFields[string],
  spelling?: HeaderSpelling,
): void {
  // Hardly any response has trailers.
  if (isEmpty(trailers)) return;
  const passed: [string, string][] = [];
  const named = namedInConnection(connection);
  for (const name in trailers) {
    const value = trailers[name];
    if (value === undefined || isHopByHop(name) || named.has(name)) continue;
    if (FORBIDDEN.has(name) || FORBIDDEN_STARTS.test(name)) continue;
    const spelled = spelling?.of(name) ?? name;
    for (const line of [value].flat()) passed.push([spelled, line]);
  }
  if (passed.length === 0 || !acceptsTrailers(res.req)) return;
  // Otherwise Node would send a response with an empty body with a length, not in chunks.
  if (!res.headersSent) res.flushHeaders();
  // Node drops them if the response is not in chunks.
  res.addTrailers(passed);
}

/**
 * Whether a connection must not be used again after these trailers. llhttp obeys `Connection: close` among them, undici does not: the
 * next response would be rejected as bytes behind the last one. `Connection` is not allowed there at all (RFC 9110 §6.5.1), so its
 * value does not matter.
 */
export function endsConnection(trailers: ResponseFields): boolean {
  return trailers.connection !== undefined || trailers['proxy-connection'] !== undefined;
}

function isEmpty(fields: ResponseFields): boolean {
  for (const _name in fields) return false;
  return true;
}
