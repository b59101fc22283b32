import type { IncomingMessage, ServerResponse } from 'node:http';
import { LINGER_MS, lastResponse, linger } from './last-response.ts';

/**
 * How long the client said that the body of its request is (RFC 9112 §6.3): 0 for none, `Infinity` where only the end of
 * the chunks tells. Read from `rawHeaders`: what is on the wire does not change when a middleware edits `req.headers`.
 */
export function declaredLength({ rawHeaders, headers }: IncomingMessage): number {
  // A request that no HTTP/1 parser has read, such as one made by a test, has nothing else.
  if (!rawHeaders?.length) return headers['transfer-encoding'] ? Infinity : Number(headers['content-length'] ?? 0);
  let length = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    if (name.length === 14 && name.toLowerCase() === 'content-length') length = Number(rawHeaders[i + 1]);
    else if (name.length === 17 && name.toLowerCase() === 'transfer-encoding') return Infinity;
  }
  return length;
}

/** Bytes that cost less to read and drop than a new connection does: as many as Go's server takes. */
const SHORT_REST = 262_144;

/** Whether the rest of a request's content is short, or there is none, when so much of it was read. */
export function endsSoon(req: IncomingMessage, bytesRead = 0): boolean {
  return req.complete || declaredLength(req) - bytesRead <= SHORT_REST;
}

/**
 * For a response to a request whose content is not wanted. Node would read all of it, however long, to keep the connection
 * (RFC 9112 §9.3). A short rest is read, if it comes within `LINGER_MS`; else the connection ends with the response.
 * Call it before the head of the response is out.
 */
export function leaveUnread(res: ServerResponse): void {
  const { req } = res;
  // HTTP/2 ends streams, and lets no client send more than was asked for.
  if (req.complete || req.httpVersionMajor === 2) return;
  if (!endsSoon(req)) {
    lastResponse(res);
  } else if (declaredLength(req) > 0) {
    res.once('finish', () => {
      if (!req.complete) setTimeout(endUnlessComplete, LINGER_MS, req).unref();
    });
  }
}

function endUnlessComplete(req: IncomingMessage): void {
  if (!req.complete) linger(req.socket);
}
