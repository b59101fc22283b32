import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { kHttp2 } from './connection.ts';

const kEnded = Symbol('expressway.endedByServer');

type Marked = Duplex & { [kEnded]?: true; readonly [kHttp2]?: boolean; readonly timeout?: number };

/** Marks a connection that the server ends, because of its client or in order to stop: the app has not broken off the response on it. */
export function markEnded(socket: Duplex): void {
  (socket as Marked)[kEnded] = true;
}

/**
 * Whether the app has broken off a response whose connection is closed, by `res.destroy()`, `pipeline()`, or an error that reached Express after
 * the head. Otherwise the client has ended the connection, or it failed. In doubt it was the client, which is to blame for nothing.
 */
export function isBrokenOff(req: IncomingMessage, res: ServerResponse): boolean {
  const socket = req.socket as Marked | null | undefined;
  if (socket?.destroyed !== true || socket[kEnded] === true || socket.readableEnded) return false;
  // Whatever else ends a stream of HTTP/2 marks its connection.
  if (socket[kHttp2] === true) return true;
  const { errored } = socket;
  // Node passes an error of the app on to the connection. Errors of the connection itself reach neither request nor response.
  if (errored != null) return errored === res.errored || errored === req.errored;
  // With a timeout of the server or the app, Node destroys silent connections in just this way.
  return !((socket.timeout ?? 0) > 0);
}
