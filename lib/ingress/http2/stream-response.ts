import { createHash } from 'node:crypto';
import type { OutgoingHttpHeaders } from 'node:http2';
import { BadResponse } from './response-reader.ts';

/** RFC 6455 §1.3. */
const WEBSOCKET_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** The head of a response, for HTTP/2. */
export interface StreamFields {
  readonly fields: OutgoingHttpHeaders;
  readonly hasTrailers: boolean;
  /** `Sec-WebSocket-Accept`: no response to an extended CONNECT has it (RFC 8441 §5). */
  readonly accept: string | undefined;
}

const SPACE = 32;
const TAB = 9;
/** Headers that are not passed on: those that HTTP/2 forbids (RFC 9113 §8.2.2), and `Sec-WebSocket-Accept`. */
const DROPPED = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'sec-websocket-accept',
]);

/** Without a prototype: a header may be named `constructor` or `__proto__`. */
const noFields = (): OutgoingHttpHeaders => Object.create(null);

/** @param lines The status line, and one line for each field. */
export function responseFields(status: number, lines: readonly string[]): StreamFields {
  const fields = noFields();
  fields[':status'] = status;
  let hasTrailers = false;
  let accept: string | undefined;
  for (let i = 1; i < lines.length; i += 1) {
    const line = lines[i] as string;
    const colon = line.indexOf(':');
    if (colon < 1) continue;
    const name = line.slice(0, colon).toLowerCase();
    const value = valueIn(line, colon);
    if (DROPPED.has(name)) {
      if (name === 'sec-websocket-accept') accept = value;
      continue;
    }
    if (name === 'trailer') hasTrailers = true;
    add(fields, name, value);
  }
  return { fields, hasTrailers, accept };
}

/** Trailers, without those that HTTP/2 forbids. */
export function trailerFields(lines: readonly string[]): OutgoingHttpHeaders {
  const fields = noFields();
  for (const line of lines) {
    const colon = line.indexOf(':');
    if (colon < 1) continue;
    const name = line.slice(0, colon).toLowerCase();
    if (!DROPPED.has(name)) add(fields, name, valueIn(line, colon));
  }
  return fields;
}

/** Without the white space around it, which HTTP/2 does not allow (RFC 9113 §8.2.1). `trim()` would take more than that. */
function valueIn(line: string, colon: number): string {
  let start = colon + 1;
  let end = line.length;
  while (start < end && isBlank(line.charCodeAt(start))) start += 1;
  while (end > start && isBlank(line.charCodeAt(end - 1))) end -= 1;
  return line.slice(start, end);
}

const isBlank = (code: number): boolean => code === SPACE || code === TAB;

const REPEATED = /^Header field "(.+)" must only have a single value$/;

/**
 * Sends headers with a method of a stream. Node 22 refuses some that are repeated, such as `ETag`. Their first value is sent then, which counts
 * in `node:http`, too.
 */
export function sendFields(fields: OutgoingHttpHeaders, send: (fields: OutgoingHttpHeaders) => void): void {
  for (;;) {
    try {
      send(fields);
      return;
    } catch (error) {
      const name = REPEATED.exec((error as Error).message)?.[1] ?? '';
      const values = fields[name];
      if (!Array.isArray(values)) throw error;
      fields[name] = values[0];
    }
  }
}

function add(fields: OutgoingHttpHeaders, name: string, value: string): void {
  const before = fields[name];
  if (before === undefined) fields[name] = value;
  else if (Array.isArray(before)) before.push(value);
  else fields[name] = [String(before), value];
}

/**
 * RFC 6455 §4.1: the sender of the key, here the gateway, checks that the backend speaks WebSocket.
 *
 * @throws {BadResponse} when it does not.
 */
export function checkAccept(accept: string | undefined, key: string | undefined): void {
  if (key === undefined) return;
  const wanted = createHash('sha1').update(`${key}${WEBSOCKET_GUID}`).digest('base64');
  if (accept !== wanted)
    throw new BadResponse('The response switches to WebSocket without the right Sec-WebSocket-Accept.');
}
