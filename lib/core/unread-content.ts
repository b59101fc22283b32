import type { IncomingMessage, ServerResponse } from 'node:http';
import { declaredLength } from './declared-length.ts';
import { LINGER_MS, lastAnswer, linger } from './last-answer.ts';

/** Bytes that cost less to read and drop than a new connection does: as many as Go's server takes. */
const SHORT_REST = 262_144;

/** Whether the rest of a request's content is short, or there is none, when so much of it was read. */
export function endsSoon(req: IncomingMessage, bytesRead = 0): boolean {
  return req.complete || declaredLength(req) - bytesRead <= SHORT_REST;
}

/**
 * For an answer to a request whose content nobody wants. Node would read all of it, however long, to keep the connection
 * (RFC 9112 §9.3). A short rest is read, if it comes within `LINGER_MS`; else the connection ends with the answer.
 * To be called before the head of the answer is out.
 */
export function leaveUnread(res: ServerResponse): void {
  const { req } = res;
  // HTTP/2 ends streams, and lets nobody send more than was asked for.
  if (req.complete || req.httpVersionMajor === 2) return;
  if (!endsSoon(req)) {
    lastAnswer(res);
  } else if (declaredLength(req) > 0) {
    res.once('finish', () => {
      if (!req.complete) setTimeout(endUnlessComplete, LINGER_MS, req).unref();
    });
  }
}

function endUnlessComplete(req: IncomingMessage): void {
  if (!req.complete) linger(req.socket);
}
