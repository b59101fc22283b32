import type { IncomingMessage, ServerResponse } from 'node:http';
import { LINGER_MS, lastResponse, linger } from './last-response.ts';

/**
 * Length of the request body as the client announced it (RFC 9112 §6.3): 0 for none, `Infinity` for chunks. It is read from `rawHeaders`,
 * because the bytes on the connection do not change when a middleware edits `req.headers`.
 */
export function declaredLength({ rawHeaders, headers }: IncomingMessage): number {
  // A request that did not come from an HTTP/1 parser, such as one in a test, has only these.
  if (!rawHeaders?.length) return headers['transfer-encoding'] ? Infinity : Number(headers['content-length'] ?? 0);
  let length = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    if (name.length === 14 && name.toLowerCase() === 'content-length') length = Number(rawHeaders[i + 1]);
    else if (name.length === 17 && name.toLowerCase() === 'transfer-encoding') return Infinity;
  }
  return length;
}

/** Bytes that cost less to read and drop than a new connection costs. Go's server uses the same number. */
const SHORT_REST = 262_144;

/** Whether the rest of the request body is short, or there is none, after so many bytes were read. */
export function endsSoon(req: IncomingMessage, bytesRead = 0): boolean {
  return req.complete || declaredLength(req) - bytesRead <= SHORT_REST;
}

/**
 * Prepares a response to a request whose body is not wanted. Node would read all of the body, of any length, to keep the connection
 * (RFC 9112 §9.3). Here a short rest is read if it comes within `LINGER_MS`; otherwise the connection ends with the response. So does one
 * whose client asks for that, as nginx does by default. Call it before the head of the response is sent.
 */
export function leaveUnread(res: ServerResponse): void {
  const { req } = res;
  // HTTP/2 ends streams instead, and flow control limits what a client may send.
  if (req.complete || req.httpVersionMajor === 2 || declaredLength(req) === 0) return;
  if (!endsSoon(req) || !res.shouldKeepAlive) {
    lastResponse(res);
    return;
  }
  res.once('finish', () => {
    if (!req.complete) setTimeout(endUnlessComplete, LINGER_MS, req).unref();
  });
}

function endUnlessComplete(req: IncomingMessage): void {
  if (!req.complete) linger(req.socket);
}
