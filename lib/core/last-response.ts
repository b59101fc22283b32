import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

/** Milliseconds for which a client may still send after its response, so that it has time to read the response. */
export const LINGER_MS = 2_000;

/** Bytes that are read from the client in that time. Further bytes stay unread until the connection is closed. */
const LINGER_BYTES = 262_144;

const kLast = Symbol('expressway.lastResponse');

/**
 * Makes a response the last one on its connection. The client reads it even if it is still sending: a connection closed
 * with unread bytes is reset, and the reset overtakes the response (RFC 9112 §9.6).
 */
export function lastResponse(res: ServerResponse): void {
  // HTTP/2 ends streams, not connections.
  if (res.req?.httpVersionMajor === 2) return;
  if (!res.headersSent) res.setHeader('Connection', 'close');
  // The head is out already. With this, Node ends the connection after the response.
  else Object.assign(res, { _last: true });
  const { socket } = res.req;
  // Node calls this when the last response of a connection is written.
  if (socket) Object.assign(socket, { [kLast]: res, destroySoon: () => linger(socket) });
}

/**
 * Whether the last response of this connection belongs to another request. Node may have read further requests from the same packet, and
 * the app must not act upon them (RFC 9112 §9.6).
 */
export function isAfterLastResponse(req: IncomingMessage, res: ServerResponse): boolean {
  const last = (req.socket as { [kLast]?: ServerResponse } | undefined)?.[kLast];
  return last !== undefined && last !== res;
}

/**
 * Ends our side of a connection, and reads for a moment before closing it. Further bytes stay unread, but the connection stays open for that
 * time, because a reset would overtake the response.
 */
export function linger(socket: Duplex): void {
  if (socket.destroyed) return;
  socket.end();
  let left = LINGER_BYTES;
  socket.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left > 0) return;
    socket.pause();
    // Node's HTTP server resumes reading after each chunk that a request has consumed.
    socket.resume = () => socket;
  });
  socket.resume();
  const timer = setTimeout(() => socket.destroy(), LINGER_MS).unref();
  socket.once('close', () => clearTimeout(timer));
}
