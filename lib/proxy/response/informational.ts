import { type ServerResponse, STATUS_CODES, validateHeaderName, validateHeaderValue } from 'node:http';
import { isHopByHop, namedInConnection } from '../request/hop-by-hop.ts';
import { ProtocolError } from '../transport/failure.ts';
import type { HeaderSpelling } from './header-spelling.ts';
import type { ResponseFields } from './response-head.ts';

/** Informational answers that one request may have: an endless row of them would hold the client for ever. */
export const MOST_INFORMATIONAL = 10;

/** Framing has no place in a 1xx answer (RFC 9110 §8.6, RFC 9112 §6.1). */
const FRAMING = new Set(['content-length', 'transfer-encoding']);

type Line = readonly [name: string, value: string];

type Writable = ServerResponse & {
  /** Since Node 26. */
  writeInformation?(status: number, lines: readonly Line[]): void;
  /** What Node's own 1xx methods write with: behind the answers that are still to come before this one. */
  _writeRaw?(data: string, encoding: BufferEncoding): void;
};

/**
 * Passes a 1xx answer on (RFC 9110 §15.2), cleaned like any other. A client of HTTP/1.0 has no notion of them and gets
 * none.
 *
 * @param count How many there were, with this one.
 * @throws {ProtocolError} for one too many, and for 100 and 101 that nobody asked for; when a value may not go into a
 * field (the caller blames the backend).
 */
export function passInformational(
  res: Writable,
  status: number,
  fields: ResponseFields,
  count: number,
  spelling?: HeaderSpelling,
): void {
  if (status < 102) throw new ProtocolError(`the backend sent the status ${status}`);
  if (count > MOST_INFORMATIONAL) throw new ProtocolError('the backend sent too many informational answers');
  if (res.req.httpVersion === '1.0' || res.headersSent || res.destroyed) return;
  const named = namedInConnection(fields.connection);
  const lines: Line[] = [];
  for (const name in fields) {
    if (isHopByHop(name) || FRAMING.has(name) || named.has(name)) continue;
    for (const value of [fields[name] ?? []].flat()) lines.push([spelling?.of(name) ?? name, value]);
  }
  if (res.writeInformation !== undefined) res.writeInformation(status, lines);
  else res._writeRaw?.(rawHead(status, lines), 'latin1');
}

function rawHead(status: number, lines: readonly Line[]): string {
  let head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'unknown'}\r\n`;
  for (const [name, value] of lines) {
    validateHeaderName(name);
    validateHeaderValue(name, value);
    head += `${name}: ${value}\r\n`;
  }
  return `${head}\r\n`;
}
