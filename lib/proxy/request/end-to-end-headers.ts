import type { IncomingMessage } from 'node:http';
import { GatewayError } from '../../core/errors.ts';
import type { Exchange } from '../../core/exchange.ts';
import type { HeaderNames } from '../../core/header-names.ts';
import { HOP_BY_HOP, isWritten, namedInConnection } from './hop-by-hop.ts';

/**
 * Headers that are never forwarded as the client sent them. The proxy writes the framing of the body itself. Node has already sent
 * `100 Continue`, and undici rejects `Expect`. `Proxy` becomes the variable HTTP_PROXY, which many HTTP clients obey (CVE-2016-5385).
 */
export const NEVER_FORWARDED: readonly string[] = [...HOP_BY_HOP, 'content-length', 'expect', 'proxy'];

/** Node cannot put this header into `req.headers`. It is forwarded all the same (RFC 9110 §5.1). */
const LOST_BY_NODE = '__proto__';

/** How the headers of a request are passed on. */
export interface EndToEndRules {
  readonly names: HeaderNames;
  /** Whether the peer's identity headers are believed. */
  readonly peerTrusted: boolean;
  /** Whether names keep the spelling of the client; otherwise they are in lower case. */
  readonly keepsCase: boolean;
  /** Headers that the caller writes itself, in canonical spelling. */
  readonly written: ReadonlySet<string> | undefined;
  /** Headers that a middleware wrote, in lower case, whatever the client sent under their names. */
  readonly own?: ReadonlySet<string> | undefined;
}

/**
 * Appends the headers of a request that are meant for the backend. They come from `req.headers`, because middlewares write headers for
 * backends there, such as a user's id. If Node joined several lines into one value, the backend gets the original lines in their order
 * (RFC 9110 §5.3).
 *
 * Names compare case-insensitively, and the last writer wins. A client can neither remove a header that a middleware wrote, by
 * naming it in `Connection`, nor send its own value beside it in a spelling that applications confuse with it.
 *
 * @throws {GatewayError} ERR_EXPRESSWAY_REQUEST_HEAD for a value that is not text.
 */
export function pushEndToEndHeaders(fields: string[], req: IncomingMessage, rules: EndToEndRules): void {
  const { length } = fields;
  if (namedInConnection(req.headers.connection).size === 0 && pushAsReceived(fields, req, rules)) return;
  fields.length = length;
  pushEdited(fields, req, rules);
}

/**
 * The fast path of most requests: one line for each header, in the order of `req.headers`, none of which needs a closer look.
 *
 * @returns whether this was such a request; otherwise the appended headers are not valid.
 */
function pushAsReceived(fields: string[], { headers, rawHeaders }: IncomingMessage, rules: EndToEndRules): boolean {
  const { names, peerTrusted, keepsCase, written, own } = rules;
  const end = rawHeaders.length;
  let at = 0;
  let isEdited = false;
  let isAmbiguous = false;
  for (const name in headers) {
    const value = headers[name];
    const facts = names.of(at < end ? (rawHeaders[at] as string) : name);
    if (facts.lowerCase !== name || typeof value !== 'string') return false;
    const isOwn = value !== rawHeaders[at + 1] || own?.has(name) === true;
    isEdited ||= isOwn;
    isAmbiguous ||= !facts.isCanonical;
    at += 2;
    if (facts.isDropped || (facts.isIdentity && !isOwn && (facts.isUnproven || !peerTrusted))) continue;
    if (written?.has(facts.canonical) !== true) fields.push(keepsCase ? facts.spelling : name, value);
  }
  return at >= end && !(isEdited && isAmbiguous);
}

/** A header as it is in `req.headers`. */
interface Current {
  readonly name: string;
  readonly value: unknown;
  /** Whether a middleware wrote it. */
  readonly isOwn: boolean;
}

function pushEdited(fields: string[], req: IncomingMessage, rules: EndToEndRules): void {
  const { names, peerTrusted, keepsCase, written } = rules;
  const lines = receivedLines(req.rawHeaders);
  const named = namedInConnection(lines.get('connection')?.values);
  const current = currentFields(req, lines, named, rules.own);
  // Headers that a middleware wrote or deleted, in every spelling.
  const own = new Set<string>();
  for (const [name, { isOwn }] of current) if (isOwn) own.add(names.of(name).canonical);
  for (const name of lines.keys()) if (!current.has(name)) own.add(names.of(name).canonical);
  for (const [lowerCase, { name, value, isOwn }] of current) {
    const facts = names.of(name);
    if (facts.isDropped || written?.has(facts.canonical) === true) continue;
    if (isOwn) {
      pushValues(fields, name, value);
    } else if (
      !named.has(lowerCase) &&
      !own.has(facts.canonical) &&
      !(facts.isIdentity && (facts.isUnproven || !peerTrusted))
    ) {
      pushLines(fields, lowerCase, value, lines.get(lowerCase) as Lines, keepsCase);
    }
  }
}

/** The headers by their names in lower case; of several spellings, the one that was written last. */
function currentFields(
  req: IncomingMessage,
  lines: ReadonlyMap<string, Lines>,
  named: ReadonlySet<string>,
  written: ReadonlySet<string> | undefined,
): Map<string, Current> {
  const headers: Record<string, unknown> = req.headers;
  const current = new Map<string, Current>();
  for (const name in headers) {
    const lowerCase = name.toLowerCase();
    const value = headers[name];
    current.delete(lowerCase);
    if (value === undefined) continue;
    const received = lines.get(name)?.values;
    const isOwn =
      received === undefined ||
      !isAsReceived(value, received) ||
      (named.has(name) && isWritten(req, name)) ||
      written?.has(lowerCase) === true;
    current.set(lowerCase, { name, value, isOwn });
  }
  const lost = lines.get(LOST_BY_NODE);
  if (lost !== undefined && !current.has(LOST_BY_NODE)) {
    current.set(LOST_BY_NODE, { name: LOST_BY_NODE, value: lost.values.join(', '), isOwn: false });
  }
  return current;
}

/** Whether a header is the client's: no middleware wrote it. If one wrote the very text that the client sent, it must be in `writtenHeaders`. */
export function isOfClient({ req, writtenHeaders }: Exchange, name: string): boolean {
  const lines = req.headersDistinct[name];
  if (lines === undefined || !isAsReceived(req.headers[name], lines) || writtenHeaders?.has(name)) return false;
  return !namedInConnection(req.headers.connection).has(name) || !isWritten(req, name);
}

/** Whether Node made a value of these lines. It keeps only the first line of some headers, and joins cookies by a semicolon. */
function isAsReceived(value: unknown, lines: readonly string[]): boolean {
  if (Array.isArray(value)) return value.length === lines.length && value.every((line, index) => line === lines[index]);
  return value === lines[0] || value === lines.join(', ') || value === lines.join('; ');
}

/** Appends the lines as they came, if the value was joined from them. */
function pushLines(fields: string[], name: string, value: unknown, lines: Lines, keepsCase: boolean): void {
  const { spellings, values } = lines;
  const nameOf = (index: number) => (keepsCase ? (spellings[index] as string) : name);
  if (typeof value === 'string' && value !== values.join(', ')) fields.push(nameOf(0), value);
  else for (const [index, line] of values.entries()) fields.push(nameOf(index), line);
}

/** The lines of one header, as the client sent them. */
interface Lines {
  readonly spellings: string[];
  readonly values: string[];
}

function receivedLines(rawHeaders: readonly string[]): Map<string, Lines> {
  const lines = new Map<string, Lines>();
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const spelling = rawHeaders[i] as string;
    const name = spelling.toLowerCase();
    const { spellings, values } = lines.get(name) ?? { spellings: [], values: [] };
    if (spellings.length === 0) lines.set(name, { spellings, values });
    spellings.push(spelling);
    values.push(rawHeaders[i + 1] as string);
  }
  return lines;
}

/** Appends the length of the body. undici itself adds the framing of an empty body, and of a body in chunks. */
export function pushFraming(fields: string[], bodyLength: number): void {
  if (bodyLength > 0 && bodyLength < Infinity) fields.push('content-length', String(bodyLength));
}

/** Appends a header that a middleware set, as a list or one value. */
function pushValues(fields: string[], name: string, value: unknown): void {
  if (!Array.isArray(value)) fields.push(name, fieldText(name, value));
  else for (const line of value) fields.push(name, fieldText(name, line));
}

/**
 * The value of a header as text. A middleware may have set a number or a boolean.
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
