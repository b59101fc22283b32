import type { OutgoingHttpHeader, ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
import { HOP_BY_HOP, namedInConnection } from '../request/hop-by-hop.ts';
import { ProtocolError } from '../transport/failure.ts';
import { rawHeaderNames, sendHeadExactly } from './exact-head.ts';
import type { HeaderSpelling } from './header-spelling.ts';

/** A backend's headers as undici parsed them: names in lower case, repeated lines as arrays. */
export type ResponseFields = Readonly<Record<string, string | string[] | undefined>>;

/**
 * Headers of which the client gets the values of both the app and the backend. For each of them, a missing value does harm (a cache
 * that does not know `Vary: Origin` gives one origin's response to another), and an additional one does none. Headers in which one
 * value replaces another, or allows more, are not among them: docs/decisions/0042.
 */
const JOINED = new Set([
  'accept-ch',
  'access-control-expose-headers',
  'cache-status',
  'clear-site-data',
  'critical-ch',
  'link',
  'proxy-status',
  'ratelimit',
  'ratelimit-policy',
  'server-timing',
  'set-cookie',
  'vary',
]);

/** Headers that the app had set under names that a backend uses as well. */
export type OwnFields = readonly (readonly [name: string, value: OutgoingHttpHeader])[];

/** Headers that are not simply copied: one lookup for each header. */
const SPECIAL = new Set([...HOP_BY_HOP, ...JOINED, 'content-length']);

/** A valid reason phrase (RFC 9112 §4). For any other, Node would throw later, where the exception is not caught. */
const REASON_PHRASE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** RFC 9110 §15. */
const GREATEST_STATUS = 599;

/**
 * Rejects heads that undici accepts, but that cannot be passed on: a status that is not valid (RFC 9110 §15), a length too large to
 * count, and a transfer coding other than `chunked`. undici decodes `chunked`; a body in a further coding would reach the client without
 * the name of that coding.
 *
 * @throws {ProtocolError}
 */
export function checkResponseHead(
  status: number,
  { 'transfer-encoding': coding, 'content-length': length }: ResponseFields,
): void {
  if (status > GREATEST_STATUS) throw new ProtocolError(`the backend sent the status ${status}`);
  if (length !== undefined && Number(length) > Number.MAX_SAFE_INTEGER)
    throw new ProtocolError(`the backend sent the Content-Length ${length}`);
  if (coding === undefined || coding === 'chunked') return;
  if (typeof coding === 'string' && coding.toLowerCase() === 'chunked') return;
  throw new ProtocolError(`the body of the response has the transfer coding ${coding}`);
}

/**
 * Whether a response is the 408 with which servers close idle connections (RFC 9110 §15.5.9). It may cross a request that was sent
 * at the same moment.
 */
export function closesIdleConnection(status: number, { connection }: ResponseFields): boolean {
  return status === 408 && /(?:^|,)[\t ]*close[\t ]*(?:,|$)/i.test(String(connection));
}

/**
 * Puts a backend's head on the client's response. The backend's headers replace those that the app set under the same name, except
 * for those that are joined.
 *
 * @param spelling Of the header names. Without it they are in lower case.
 * @returns what `removeResponseHead()` needs.
 * @throws {TypeError} of Node for a value that is not valid in a header. The backend is to blame, and the response is as it was.
 */
export function applyResponseHead(
  res: ServerResponse,
  status: number,
  statusMessage: string | undefined,
  fields: ResponseFields,
  spelling?: HeaderSpelling,
): OwnFields {
  const own = ownFields(res, fields);
  try {
    applyFields(res, status, fields, spelling);
  } catch (error) {
    removeResponseHead(res, fields, own);
    throw error;
  }
  res.statusCode = status;
  if (statusMessage && REASON_PHRASE.test(statusMessage)) res.statusMessage = statusMessage;
  sendHeadExactly(res, statusMessage === '');
  return own;
}

function ownFields(res: ServerResponse, fields: ResponseFields): OwnFields {
  const own: [string, OutgoingHttpHeader][] = [];
  for (const name in fields) {
    const value = fields[name] === undefined ? undefined : res.getHeader(name);
    if (value === undefined) continue;
    const spelling = rawHeaderNames(res).find((one) => one.toLowerCase() === name) ?? name;
    // Node adds further lines to the same array.
    own.push([spelling, Array.isArray(value) ? [...value] : value]);
  }
  return own;
}

function applyFields(
  res: ServerResponse,
  status: number,
  fields: ResponseFields,
  spelling: HeaderSpelling | undefined,
): void {
  const named = namedInConnection(fields.connection);
  const joined: string[] = [];
  // Express sets it for its own responses only.
  if (res.hasHeader('x-powered-by')) res.removeHeader('x-powered-by');
  // That of a middleware is not the length of this body.
  if (fields['content-length'] === undefined && res.hasHeader('content-length')) res.removeHeader('content-length');
  for (const name in fields) {
    const value = fields[name];
    if (value === undefined || (named.size > 0 && named.has(name))) continue;
    if (SPECIAL.has(name)) {
      if (HOP_BY_HOP.has(name) || (name === 'content-length' && hasWrongLength(res, status))) continue;
      if (JOINED.has(name)) {
        joined.push(name);
        continue;
      }
    }
    res.setHeader(spelling === undefined ? name : spelling.of(name), value);
  }
  if (joined.length === 0) return;
  spelling?.again();
  for (const name of joined) res.appendHeader(spelling?.of(name) ?? name, fields[name] as string | string[]);
}

/**
 * Whether the backend's `Content-Length` is not that of the body for the client: 204 has none (RFC 9110 §8.6), and neither has the
 * response to HEAD. Where a middleware made a HEAD request of another one, the client would take the next response on the connection
 * for the body (response smuggling). Beside the `Transfer-Encoding` of a middleware, servers would read one of the two (RFC 9112 §6.3).
 */
function hasWrongLength(res: ServerResponse & { readonly _hasBody?: boolean }, status: number): boolean {
  // Node sets `_hasBody` by the method that the client sent.
  return status === 204 || (res.req.method === 'HEAD' && res._hasBody === true) || res.hasHeader('transfer-encoding');
}

/** Removes a backend's headers and restores those of the app, so that the gateway or another backend can respond. */
export function removeResponseHead(res: ServerResponse, fields: ResponseFields, own: OwnFields): void {
  for (const name in fields) res.removeHeader(name);
  for (const [name, value] of own) res.setHeader(name, value);
  res.statusMessage = '';
  sendHeadExactly(res);
}

/**
 * Empties undici's list of raw headers. undici creates the list while the connection waits for a response. After a long wait the
 * garbage collector takes the list for an old object, and keeps all that it refers to: with a thousand backends that was 4 % of the
 * gateway's CPU time.
 */
export function forgetRawFields({ rawHeaders }: Dispatcher.DispatchController): void {
  if (Array.isArray(rawHeaders)) rawHeaders.length = 0;
}
