import type { ServerResponse } from 'node:http';
import { STATUS_CODES, validateHeaderName, validateHeaderValue } from '../../core/node-http.ts';
import { isHopByHop, namedInConnection } from '../request/hop-by-hop.ts';
import { ProtocolError } from '../transport/failure.ts';
import type { HeaderSpelling } from './header-spelling.ts';
import type { ResponseFields } from './response-head.ts';

/** Informational responses that one request may get. An endless series of them would hold the client for ever. */
export const MOST_INFORMATIONAL = 10;

type Line = readonly [name: string, value: string];

type Writable = ServerResponse & {
  /** Since Node 26. */
  writeInformation?(status: number, lines: readonly Line[]): void;
  /** Node's own 1xx methods use it. It waits for earlier responses on the connection. */
  _writeRaw?(data: string, encoding: BufferEncoding): void;
};

/**
 * Passes a 1xx response on (RFC 9110 §15.2), without hop-by-hop headers. Clients of HTTP/1.0 do not know 1xx and get none.
 *
 * @param count Number of 1xx responses to this request so far, this one included.
 * @throws {ProtocolError} for one too many, and for a 100 or 101 without a request for it.
 * @throws {TypeError} of Node for a value that is not valid in a header. The backend is to blame.
 */
export function passInformational(
  res: Writable,
  status: number,
  fields: ResponseFields,
  count: number,
  spelling?: HeaderSpelling,
): void {
  if (status < 102) throw new ProtocolError(`the backend sent the status ${status}`);
  if (count > MOST_INFORMATIONAL) throw new ProtocolError('the backend sent too many informational responses');
  if (res.req.httpVersion === '1.0' || res.headersSent || res.destroyed) return;
  const named = namedInConnection(fields.connection);
  const lines: Line[] = [];
  for (const name in fields) {
    // A 1xx response has no body, and so no length (RFC 9110 §8.6).
    if (isHopByHop(name) || name === 'content-length' || named.has(name)) continue;
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
