import type { ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
import { HOP_BY_HOP, namedInConnection } from '../request/hop-by-hop.ts';
import { ProtocolError } from '../transport/failure.ts';
import { sendHeadExactly } from './exact-head.ts';
import type { HeaderSpelling } from './header-spelling.ts';

/** A backend's field section as undici parsed it: names in lower case, repeated lines as arrays. */
export type ResponseFields = Readonly<Record<string, string | string[] | undefined>>;

/**
 * Lists in which members of the app's and of the backend's stand side by side, and cookies, each by itself. Of each, a member
 * that is missing does harm (a cache that does not know `Vary: Origin` gives one origin's response to another), and one more
 * does none. Lists in which a member takes the place of another, or allows more, are not among them: docs/decisions/0042.
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

/** All that are not set as they are: one look for each field. */
const SPECIAL = new Set([...HOP_BY_HOP, ...JOINED, 'content-length']);

/** What a reason phrase may be (RFC 9112 §4). Node would throw for anything else, later, when nobody is there to catch it. */
const REASON_PHRASE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** RFC 9110 §15; informational ones have gone their own way by then. */
const GREATEST_STATUS = 599;

/**
 * Refuses what undici takes for the head of a final answer, and is none that can be passed on: a status that is not valid
 * (RFC 9110 §15), and a coding besides `chunked`, which undici takes off. Content in a further coding would reach the
 * client without the name of that coding.
 *
 * @throws {ProtocolError}
 */
export function checkResponseHead(status: number, { 'transfer-encoding': coding }: ResponseFields): void {
  if (status > GREATEST_STATUS) throw new ProtocolError(`the backend sent the status ${status}`);
  if (coding === undefined || coding === 'chunked') return;
  if (typeof coding === 'string' && coding.toLowerCase() === 'chunked') return;
  throw new ProtocolError(`the content of the answer has the transfer coding ${coding}`);
}

/**
 * Whether a response is the 408 with which servers close idle connections (RFC 9110 §15.5.9). It may cross a request that was sent
 * at the same moment.
 */
export function closesIdleConnection(status: number, { connection }: ResponseFields): boolean {
  return status === 408 && /(?:^|,)[\t ]*close[\t ]*(?:,|$)/i.test(String(connection));
}

/**
 * Puts a backend's head on the client's response. Fields that the app set before are replaced by the
 * backend's of the same name, save for those that are joined.
 *
 * @param spelling Of the names. In lower case without it.
 * @throws when the backend sent a value that may not go into a field (the caller blames the backend); the response is as
 * it was then.
 */
export function applyResponseHead(
  res: ServerResponse,
  status: number,
  statusMessage: string | undefined,
  fields: ResponseFields,
  spelling?: HeaderSpelling,
): void {
  try {
    applyFields(res, status, fields, spelling);
  } catch (error) {
    removeResponseHead(res, fields);
    throw error;
  }
  res.statusCode = status;
  if (statusMessage && REASON_PHRASE.test(statusMessage)) res.statusMessage = statusMessage;
  sendHeadExactly(res, statusMessage === '');
}

function applyFields(
  res: ServerResponse,
  status: number,
  fields: ResponseFields,
  spelling: HeaderSpelling | undefined,
): void {
  const named = namedInConnection(fields.connection);
  const joined: string[] = [];
  // Express says so of its own answers only.
  if (res.hasHeader('x-powered-by')) res.removeHeader('x-powered-by');
  for (const name in fields) {
    const value = fields[name];
    if (value === undefined || (named.size > 0 && named.has(name))) continue;
    if (SPECIAL.has(name)) {
      // RFC 9110 §8.6.
      if (HOP_BY_HOP.has(name) || (status === 204 && name === 'content-length')) continue;
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

/** Takes a backend's fields off again, so that the gateway, or another backend, can answer. */
export function removeResponseHead(res: ServerResponse, fields: ResponseFields): void {
  for (const name in fields) {
    if (JOINED.has(name)) unjoin(res, name, [fields[name] ?? []].flat());
    else res.removeHeader(name);
  }
  res.statusMessage = '';
  sendHeadExactly(res);
}

/** Leaves what the app had set; the backend's lines were put behind it, if it came to that. */
function unjoin(res: ServerResponse, name: string, lines: readonly string[]): void {
  const all = [res.getHeader(name) ?? []].flat().map(String);
  const kept = all.slice(0, -lines.length);
  if (lines.length === 0 || all.slice(-lines.length).join('\n') !== lines.join('\n')) return;
  if (kept.length > 0) res.setHeader(name, kept);
  else res.removeHeader(name);
}

/**
 * undici makes the list of raw fields while the connection still waits for an answer. On one that waits long the list
 * is old for the garbage collector by then, and so would keep every field it is given beyond its time: with a
 * thousand backends that was 4 % of the gateway's CPU time.
 */
export function forgetRawFields({ rawHeaders }: Dispatcher.DispatchController): void {
  if (Array.isArray(rawHeaders)) rawHeaders.length = 0;
}
