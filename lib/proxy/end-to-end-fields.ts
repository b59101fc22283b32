import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { GatewayError } from '../core/errors.ts';
import { HOP_BY_HOP, namedInConnection } from './hop-by-hop.ts';

/** Framing follows the body that is sent: it is not taken from `req.headers`, and no application may find it under another name. */
const FRAMING = ['content-length', 'transfer-encoding'];

/**
 * The names that never go out, and those that the caller leaves out or writes itself. One set, for one look per field.
 * With each come its spellings with underscores: CGI, WSGI and PHP know fields as variables like `HTTP_X_FORWARDED_FOR`,
 * and cannot tell the two apart.
 */
export function droppedFields(...others: readonly Iterable<string>[]): ReadonlySet<string> {
  // Node has answered 100 Continue already, and undici refuses the field. `Proxy` becomes HTTP_PROXY, which many HTTP
  // clients obey (CVE-2016-5385).
  const names = [...HOP_BY_HOP, 'expect', 'proxy', ...others.flatMap((some) => [...some])];
  return new Set([...names, ...FRAMING].flatMap(withAliases));
}

/** A name, and all others that have underscores in place of some of its hyphens. */
export function withAliases(name: string): string[] {
  const [head = '', ...rest] = name.split('-');
  let spellings = [head];
  for (const part of rest) spellings = spellings.flatMap((start) => [`${start}-${part}`, `${start}_${part}`]);
  return spellings;
}

/**
 * Appends the fields of a request that are meant for the backend. `req.headers` is the source, because
 * middlewares write there what backends should learn (a user's id, say); lines that Node joined into one
 * value go out as the lines that came in, in their order (RFC 9110 §5.3).
 *
 * @param dropped Names, in lower case, that do not go out: made with {@link droppedFields}.
 * @throws {GatewayError} ERR_EXPRESSWAY_REQUEST_HEAD for a value that is no text.
 */
export function pushEndToEndFields(fields: string[], req: IncomingMessage, dropped: ReadonlySet<string>): void {
  const { headers, rawHeaders } = req;
  const named = namedInConnection(headers.connection);
  for (const name in headers) {
    const value = headers[name];
    if (value === undefined || dropped.has(name)) continue;
    if (named.size > 0 && named.has(name) && isAsReceived(name, req)) continue;
    if (typeof value !== 'string') pushValues(fields, name, value);
    else if (value.includes(', ')) pushLines(fields, name, headers, rawHeaders);
    else fields.push(name, value);
  }
}

/** Tells a backend how long a body is. undici does so itself where there is none, and where it must be chunked. */
export function pushFraming(fields: string[], bodyLength: number): void {
  if (bodyLength > 0 && bodyLength < Infinity) fields.push('content-length', String(bodyLength));
}

/** What a middleware set: a list, or one value. */
function pushValues(fields: string[], name: string, value: unknown): void {
  if (!Array.isArray(value)) fields.push(name, fieldText(name, value));
  else for (const line of value) fields.push(name, fieldText(name, line));
}

/**
 * The value of a header as text. The client's are; a middleware may have set a number or a boolean.
 *
 * @throws {GatewayError} ERR_EXPRESSWAY_REQUEST_HEAD
 */
export function fieldText(name: string, value: unknown): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint') return String(value);
  const type = value === null ? 'null' : typeof value;
  throw new GatewayError(
    'ERR_EXPRESSWAY_REQUEST_HEAD',
    `A middleware set req.headers[${JSON.stringify(name)}] to a value of type ${type}; ` +
      'it must be a string, a number, a boolean or an array of them',
  );
}

/**
 * Whether a field is the client's own. One that a middleware wrote since (a user's id, say) is not for the client to
 * take away by naming it in `Connection`.
 */
function isAsReceived(name: string, { headers, rawHeaders }: IncomingMessage): boolean {
  const lines = receivedLines(name, rawHeaders);
  // Of some fields Node takes the first line only; cookies it joins in a way of their own (RFC 9110 §5.3).
  return [lines[0], lines.join(', '), lines.join('; ')].includes(String(headers[name]));
}

/** The lines as they came, if they are what the value was joined from; else somebody changed it since. */
function pushLines(fields: string[], name: string, headers: IncomingHttpHeaders, rawHeaders: readonly string[]): void {
  const value = headers[name] as string;
  const lines = receivedLines(name, rawHeaders);
  if (lines.length > 1 && lines.join(', ') === value) for (const line of lines) fields.push(name, line);
  else fields.push(name, value);
}

function receivedLines(name: string, rawHeaders: readonly string[]): string[] {
  const lines: string[] = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if ((rawHeaders[i] as string).toLowerCase() === name) lines.push(rawHeaders[i + 1] as string);
  }
  return lines;
}
