import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

/** Milliseconds for which a client that has its response may go on sending: by then it has read the response. */
export const LINGER_MS = 2_000;

/** Bytes that are read from it meanwhile. A client that sends more without reading its response loses the connection later. */
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
  // Too late to say so; Node ends the connection by this when the response is out.
  else Object.assign(res, { _last: true });
  const { socket } = res.req;
  // What Node calls when the last response of a connection is written.
  if (socket) Object.assign(socket, { [kLast]: res, destroySoon: () => linger(socket) });
}

/**
 * Whether another request had the last response on this one's connection. Node has read on by then: what came in the same
 * packet is in the app already, and must not be acted upon (RFC 9112 §9.6).
 */
export function isAfterLastResponse(req: IncomingMessage, res: ServerResponse): boolean {
  const last = (req.socket as { [kLast]?: ServerResponse } | undefined)?.[kLast];
  return last !== undefined && last !== res;
}

/**
 * Ends our side, and reads on for a moment before the other side is cut off. What is too much is left unread, and the
 * connection open until then all the same: a reset would overtake the response.
 */
export function linger(socket: Duplex): void {
  if (socket.destroyed) return;
  socket.end();
  let left = LINGER_BYTES;
  socket.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left > 0) return;
    socket.pause();
    // Node's HTTP server asks for more after each piece that a request has taken.
    socket.resume = () => socket;
  });
  socket.resume();
  const timer = setTimeout(() => socket.destroy(), LINGER_MS).unref();
  socket.once('close', () => clearTimeout(timer));
}
