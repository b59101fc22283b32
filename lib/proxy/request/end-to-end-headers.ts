import type { IncomingMessage } from 'node:http';
import { GatewayError } from '../../core/errors.ts';
import type { HeaderNames } from './header-names.ts';
import { HOP_BY_HOP, isWritten, namedInConnection } from './hop-by-hop.ts';

/**
 * Headers that never go out as they came. Framing follows the body that is sent. Node has answered 100 Continue already, and
 * undici refuses `Expect`. `Proxy` becomes HTTP_PROXY, which many HTTP clients obey (CVE-2016-5385).
 */
export const NEVER_FORWARDED: readonly string[] = [
  ...HOP_BY_HOP,
  'content-length',
  'transfer-encoding',
  'expect',
  'proxy',
];

/** Node has no place for it in `req.headers`. RFC 9110 §5.1 has no exception for it. */
const LOST_BY_NODE = '__proto__';

/** How the headers of a request are passed on. */
export interface EndToEndRules {
  readonly names: HeaderNames;
  /** Whether the peer may say who the client is. */
  readonly peerTrusted: boolean;
  /** Whether names go out in the spelling in which they came, not in lower case. */
  readonly keepsCase: boolean;
  /** Headers that the caller writes, in canonical spelling. */
  readonly written: ReadonlySet<string> | undefined;
}

/**
 * Appends the headers of a request that are meant for the backend. `req.headers` is the source, because
 * middlewares write there what backends should learn (a user's id, say); lines that Node joined into one
 * value go out as the lines that came in, in their order (RFC 9110 §5.3).
 *
 * Names compare case-insensitively, and the last writer wins. What a middleware wrote is for no client to take away by
 * naming it in `Connection`, and for none to send beside it in a spelling that applications cannot tell from it.
 *
 * @throws {GatewayError} ERR_EXPRESSWAY_REQUEST_HEAD for a value that is no text.
 */
export function pushEndToEndFields(fields: string[], req: IncomingMessage, rules: EndToEndRules): void {
  const { length } = fields;
  if (namedInConnection(req.headers.connection).size === 0 && pushAsReceived(fields, req, rules)) return;
  fields.length = length;
  pushEdited(fields, req, rules);
}

/**
 * The way of most requests: one line for each header, in the order of `req.headers`, and nothing about them that needs a
 * second look. Says whether that was so.
 */
function pushAsReceived(fields: string[], { headers, rawHeaders }: IncomingMessage, rules: EndToEndRules): boolean {
  const { names, peerTrusted, keepsCase, written } = rules;
  const end = rawHeaders?.length ?? 0;
  let at = 0;
  let isEdited = false;
  let isAmbiguous = false;
  for (const name in headers) {
    const value = headers[name];
    const facts = names.of(at < end ? (rawHeaders[at] as string) : name);
    if (facts.lowerCase !== name || typeof value !== 'string') return false;
    const isOwn = at >= end || value !== rawHeaders[at + 1];
    isEdited ||= isOwn;
    isAmbiguous ||= !facts.isCanonical;
    at += 2;
    if (facts.isDropped || (facts.isIdentity && !peerTrusted && !isOwn)) continue;
    if (written?.has(facts.canonical) !== true) fields.push(keepsCase ? facts.spelling : name, value);
  }
  return at >= end && !(isEdited && isAmbiguous);
}

/** A header as it is in `req.headers` now. */
interface Current {
  readonly name: string;
  readonly value: unknown;
  /** Whether a middleware wrote it. */
  readonly isOwn: boolean;
}

function pushEdited(fields: string[], req: IncomingMessage, rules: EndToEndRules): void {
  const { names, peerTrusted, keepsCase, written } = rules;
  const lines = receivedLines(req.rawHeaders ?? []);
  const named = namedInConnection(lines.get('connection')?.values);
  const current = currentFields(req, lines, named);
  // What a middleware wrote or deleted is its own in every spelling.
  const own = new Set<string>();
  for (const [name, { isOwn }] of current) if (isOwn) own.add(names.of(name).canonical);
  for (const name of lines.keys()) if (!current.has(name)) own.add(names.of(name).canonical);
  for (const [lowerCase, { name, value, isOwn }] of current) {
    const facts = names.of(name);
    if (facts.isDropped || written?.has(facts.canonical) === true) continue;
    if (isOwn) {
      pushValues(fields, name, value);
    } else if (!named.has(lowerCase) && !(facts.isIdentity && !peerTrusted) && !own.has(facts.canonical)) {
      pushLines(fields, lowerCase, value, lines.get(lowerCase) as Lines, keepsCase);
    }
  }
}

/** By their names in lower case; of several spellings, the one that was written last. */
function currentFields(
  req: IncomingMessage,
  lines: ReadonlyMap<string, Lines>,
  named: ReadonlySet<string>,
): Map<string, Current> {
  const headers: Record<string, unknown> = req.headers;
  const current = new Map<string, Current>();
  for (const name in headers) {
    const lowerCase = name.toLowerCase();
    const value = headers[name];
    current.delete(lowerCase);
    if (value === undefined) continue;
    const received = name === lowerCase ? lines.get(name)?.values : undefined;
    const isOwn = received === undefined || !isAsReceived(value, received) || (named.has(name) && isWritten(req, name));
    current.set(lowerCase, { name, value, isOwn });
  }
  const lost = lines.get(LOST_BY_NODE);
  if (lost !== undefined && !current.has(LOST_BY_NODE)) {
    current.set(LOST_BY_NODE, { name: LOST_BY_NODE, value: lost.values.join(', '), isOwn: false });
  }
  return current;
}

/** Whether a value is what Node made of these lines: of some fields it takes the first only, cookies it joins in a way of their own. */
function isAsReceived(value: unknown, lines: readonly string[]): boolean {
  if (Array.isArray(value)) return value.length === lines.length && value.every((line, index) => line === lines[index]);
  return value === lines[0] || value === lines.join(', ') || value === lines.join('; ');
}

/** The lines as they came, if they are what the value was joined from. */
function pushLines(fields: string[], name: string, value: unknown, lines: Lines, keepsCase: boolean): void {
  const { spellings, values } = lines;
  const nameOf = (index: number) => (keepsCase ? (spellings[index] as string) : name);
  if (typeof value === 'string' && value !== values.join(', ')) fields.push(nameOf(0), value);
  else for (const [index, line] of values.entries()) fields.push(nameOf(index), line);
}

/** The lines in which a client sent one header. */
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
