import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { resetConnection } from '../core/connection.ts';
import { isEventStream } from '../core/http.ts';
import { responseOn } from '../ingress/connection-responses.ts';
import { sessionOn } from '../ingress/http2/client-session.ts';

/** What was still open when the time was up, and how it was ended. */
export interface OpenAtDeadline {
  /** Requests without a complete response: their connections were reset. */
  readonly requests: number;
  /** Event streams: they were given an orderly end, and their clients connect again. */
  readonly streams: number;
  /** Upgraded connections, such as WebSockets: they were closed (FIN), without a word in their own protocol. */
  readonly upgrades: number;
}

/** RFC 9112 §7.1, with no trailers. */
const LAST_CHUNK = '0\r\n\r\n';

/** Ends connections in the way that leaves no client with something cut that looks whole. */
export function endAtDeadline(connections: Iterable<Socket>): OpenAtDeadline {
  const left = { requests: 0, streams: 0, upgrades: 0 };
  for (const socket of connections) {
    // Its streams are among the connections, and their ends have to get through.
    if (sessionOn(socket) !== undefined) continue;
    const res = responseOn(socket);
    if (isUpgraded(socket)) {
      left.upgrades += 1;
      // Only who speaks the protocol could say more: bytes of ours might fall into the middle of a message.
      socket.end();
    } else if (res === undefined) {
      socket.destroy();
    } else if (isOpenEventStream(res)) {
      left.streams += 1;
      // An event stream has no end of its own, so that this one claims nothing. Not by the response's own end(): the app
      // may be writing to it still, and would fail.
      socket.end(res.chunkedEncoding ? LAST_CHUNK : '');
    } else {
      left.requests += 1;
      // An orderly end would make a response look complete that only the end of the connection ends (RFC 9112 §8).
      resetConnection(socket);
    }
  }
  return left;
}

/** Whether the HTTP server has let go of a connection: it takes its parser away then. */
export function isUpgraded(socket: Socket): boolean {
  return (socket as { parser?: unknown }).parser === null;
}

function isOpenEventStream(res: ServerResponse): boolean {
  // Not getHeader(): fields that were given to writeHead() alone are not in it.
  const head = (res as { _header?: string | null })._header ?? '';
  return res.headersSent && !res.writableEnded && isEventStream(/\r\ncontent-type: *([^\r]*)/i.exec(head)?.[1]);
}
