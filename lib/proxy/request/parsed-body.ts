import type { IncomingMessage } from 'node:http';
import { declaredLength } from '../../core/unread-content.ts';

/** A request with the result of a body parser. */
type Parsed = IncomingMessage & { readonly body?: unknown };

/** Charsets that Node can write, each with Node's name. */
const ENCODINGS: ReadonlyMap<string, BufferEncoding> = new Map<string, BufferEncoding>([
  ['utf-8', 'utf8'],
  ['utf8', 'utf8'],
  ['us-ascii', 'ascii'],
  ['iso-8859-1', 'latin1'],
  ['latin1', 'latin1'],
  ['utf-16le', 'utf16le'],
]);

/**
 * For the option `body`: makes a body from the `req.body` of `express.json()`, `express.urlencoded()`, `express.text()` or `express.raw()`,
 * as `fixRequestBody` does for http-proxy-middleware. A Buffer and a text are sent as they are, text in the charset of the request (UTF-8 if
 * it names none). Of an object, the backend gets the same data but not the same bytes, so a signature over the bytes fails.
 *
 * @returns `undefined` for what cannot be sent as the client meant it, such as objects of other content types than JSON and forms, and text
 *   with characters that the charset lacks. Then the proxy rejects the request with 500.
 */
export function parsedBody(req: IncomingMessage): Uint8Array | string | undefined {
  const { body } = req as Parsed;
  if (body === undefined || body instanceof Uint8Array) return body;
  const { type, charset } = contentType(req);
  const encoding = ENCODINGS.get(charset);
  if (encoding === undefined) return undefined;
  const isJson = /^application\/(?:[^/]+\+)?json$/.test(type);
  if (typeof body === 'string') return isJson ? jsonText(req, body, encoding) : sameText(req, body, encoding);
  if (isJson) return encoded(JSON.stringify(body), encoding);
  return type === 'application/x-www-form-urlencoded' && typeof body === 'object' ? form(body, encoding) : undefined;
}

function contentType({ headers }: IncomingMessage): { readonly type: string; readonly charset: string } {
  const [type = '', ...parameters] = (headers['content-type'] ?? '')
    .toLowerCase()
    .split(';')
    .map((part) => part.trim());
  const charset = parameters.find((one) => one.startsWith('charset='));
  return { type, charset: charset?.slice(8).replaceAll('"', '') ?? 'utf-8' };
}

/** A text to send; `undefined` if the encoding lacks one of its characters. */
function encoded(text: string, encoding: BufferEncoding): Buffer | string | undefined {
  const bytes = Buffer.from(text, encoding);
  if (bytes.toString(encoding) !== text) return undefined;
  // The proxy sends a string as UTF-8.
  return encoding === 'utf8' || encoding === 'ascii' ? text : bytes;
}

/** A text as it was read. Parsers read bytes that are invalid in the charset as U+FFFD, and those bytes are lost. */
function sameText(req: IncomingMessage, text: string, encoding: BufferEncoding): Buffer | string | undefined {
  const same = encoded(text, encoding);
  const isSure = !text.includes('\ufffd') || Buffer.byteLength(text, encoding) === sentLength(req);
  return isSure ? same : undefined;
}

/**
 * A text of the type JSON is either the JSON itself, as `express.text()` reads it, or a string that `express.json({ strict: false })` parsed. The
 * length tells which: a string is shorter than its JSON.
 */
function jsonText(req: IncomingMessage, text: string, encoding: BufferEncoding): Buffer | string | undefined {
  const length = sentLength(req);
  const same = sameText(req, text, encoding);
  if (Buffer.byteLength(text, encoding) === length) return same;
  const value = fromJson(text);
  if (length === undefined) return typeof value === 'object' ? same : undefined;
  // Otherwise a middleware has changed the JSON, or the string contains JSON.
  return value === undefined ? encoded(JSON.stringify(text), encoding) : undefined;
}

/** How many bytes a parser got; `undefined` if that is unknown. */
function sentLength(req: IncomingMessage): number | undefined {
  const { 'content-encoding': coding = 'identity' } = req.headers;
  const length = declaredLength(req);
  return length === Infinity || coding.toLowerCase() !== 'identity' ? undefined : length;
}

function fromJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A form; `undefined` if it has characters that another charset than UTF-8 would encode in another way. */
function form(body: object | null, encoding: BufferEncoding): string | undefined {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(body ?? {})) pushPairs(pairs, name, value);
  const text = pairs.toString();
  return encoding === 'utf8' || !/%[89A-F]/.test(text) ? text : undefined;
}

/**
 * Writes objects in brackets and lists as repeated names, as `express.urlencoded()` reads them. A list of one has empty brackets, else it would
 * be read as a text.
 */
function pushPairs(pairs: URLSearchParams, name: string, value: unknown): void {
  if (Array.isArray(value)) {
    const isNested = value.some((one) => typeof one === 'object' && one !== null);
    for (const [index, one] of value.entries()) {
      pushPairs(pairs, isNested ? `${name}[${index}]` : value.length === 1 ? `${name}[]` : name, one);
    }
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, one] of Object.entries(value)) pushPairs(pairs, `${name}[${key}]`, one);
  } else {
    pairs.append(name, String(value ?? ''));
  }
}
