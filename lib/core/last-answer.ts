import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

/** How long a client that was answered may go on sending: by then it has read the answer. */
export const LINGER_MS = 2_000;

const kLast = Symbol('expressway.lastAnswer');

/**
 * Makes an answer the last one on its connection. The client reads it even if it is still sending: a connection closed
 * with unread bytes is reset, and the reset overtakes the answer (RFC 9112 §9.6).
 */
export function lastAnswer(res: ServerResponse): void {
  // HTTP/2 ends streams, not connections.
  if (res.req?.httpVersionMajor === 2) return;
  if (!res.headersSent) res.setHeader('Connection', 'close');
  // Too late to say so; Node ends the connection by this when the answer is out.
  else Object.assign(res, { _last: true });
  const { socket } = res.req;
  // What Node calls when the last answer of a connection is written.
  if (socket) Object.assign(socket, { [kLast]: res, destroySoon: () => linger(socket) });
}

/**
 * Whether another request had the last answer on this one's connection. Node has read on by then: what came in the same
 * packet is in the app already, and must not be acted upon (RFC 9112 §9.6).
 */
export function isAfterLastAnswer(req: IncomingMessage, res: ServerResponse): boolean {
  const last = (req.socket as { [kLast]?: ServerResponse } | undefined)?.[kLast];
  return last !== undefined && last !== res;
}

/** Ends our side, and reads on for a moment before the other side is cut off. */
export function linger(socket: Duplex): void {
  if (socket.destroyed) return;
  socket.end();
  socket.resume();
  const timer = setTimeout(() => socket.destroy(), LINGER_MS).unref();
  socket.once('close', () => clearTimeout(timer));
}
