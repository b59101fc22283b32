import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { markEnded } from '../core/broken-off.ts';
import { resetConnection } from '../core/connection.ts';
import { exchangeOf } from '../core/exchange.ts';
import { isEventStream } from '../core/http.ts';
import { responseOn } from '../ingress/connection-responses.ts';
import { sessionOn } from '../ingress/http2/client-session.ts';

/** Connections that were still open at the deadline, by the way in which they were ended. */
export interface OpenAtDeadline {
  /** Requests without a complete response: their connections were reset. */
  readonly requests: number;
  /** Event streams: they were ended properly, and their clients connect again. */
  readonly streams: number;
  /** Upgraded connections, such as WebSockets: they were closed (FIN), without a close frame of their own protocol. */
  readonly upgrades: number;
}

const SHUT_DOWN = Object.freeze({ kind: 'rejected', cause: 'gateway_shutdown' });

/** RFC 9112 §7.1, with no trailers. */
const LAST_CHUNK = '0\r\n\r\n';

/** Ends connections in a way that never makes a cut response look complete. */
export function endAtDeadline(connections: Iterable<Socket>): OpenAtDeadline {
  const left = { requests: 0, streams: 0, upgrades: 0 };
  for (const socket of connections) {
    // Its streams are among the connections, and their last bytes travel over it.
    if (sessionOn(socket) !== undefined) continue;
    const res = responseOn(socket);
    markEnded(socket);
    if (isUpgraded(socket)) {
      left.upgrades += 1;
      // Without bytes, which could land in the middle of a message of the upgraded protocol.
      socket.end();
    } else if (res === undefined) {
      socket.destroy();
    } else if (isOpenEventStream(res)) {
      left.streams += 1;
      // An event stream has no defined end, so this end does not look like a complete response. Not with the response's own end(): the app
      // may still write to it, and would get an error.
      socket.end(res.chunkedEncoding ? LAST_CHUNK : '');
    } else {
      left.requests += 1;
      // First, or the closed connection would look like a client that left.
      exchangeOf(res.req, res).settle(SHUT_DOWN);
      // A response that ends with its connection (RFC 9112 §8) would look complete after a normal close.
      resetConnection(socket);
    }
  }
  return left;
}

/** Whether the HTTP server has handed over a connection (upgrade): it removes its parser then. */
export function isUpgraded(socket: Socket): boolean {
  return (socket as { parser?: unknown }).parser === null;
}

function isOpenEventStream(res: ServerResponse): boolean {
  // Not getHeader(), which lacks headers that were passed to writeHead().
  const head = (res as { _header?: string | null })._header ?? '';
  return res.headersSent && !res.writableEnded && isEventStream(/\r\ncontent-type: *([^\r]*)/i.exec(head)?.[1]);
}
