import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Server as TlsServer } from 'node:tls';
import { linger } from '../core/last-response.ts';
import { responseOn } from '../ingress/connection-responses.ts';
import { sessionOn } from '../ingress/http2/client-session.ts';
import { endAtDeadline, isUpgraded, type OpenAtDeadline } from './open-at-deadline.ts';

/** Turns of the event loop that are waited for connections that the kernel has made already. */
const MOST_TURNS = 100;

export interface DrainTimes {
  /** Milliseconds for which a connection without a request may stay silent. */
  readonly idleGraceMs: number;
  /** Milliseconds until what is left is ended. */
  readonly timeoutMs: number;
  /** Milliseconds that the other end gets then to read the last of it. */
  readonly flushMs: number;
}

/**
 * Ends a server without harming the requests that it has taken. Make it before connections come. Until the drain it costs
 * a request nothing, and a connection an entry in a set.
 */
export class ConnectionDrain {
  readonly #server: Server;
  readonly #connections = new Set<Socket>();
  readonly #handshakes: HandshakeList;
  #idleGraceMs: number | undefined;
  #accepted = 0;

  constructor(server: Server) {
    this.#server = server;
    this.#handshakes = new HandshakeList(server, (socket) => this.#connected(socket));
    server.on('connection', () => {
      this.#accepted += 1;
    });
  }

  /**
   * Stops accepting, has responses announce the end of their connection, closes connections that stay idle, and ends what
   * is left after `timeoutMs`.
   *
   * @returns what that was.
   */
  async run({ idleGraceMs, timeoutMs, flushMs }: DrainTimes): Promise<OpenAtDeadline> {
    let left: OpenAtDeadline = { requests: 0, streams: 0, upgrades: 0 };
    let flush: NodeJS.Timeout | undefined;
    const deadline = setTimeout(() => {
      left = endAtDeadline(this.#connections);
      flush = setTimeout(() => this.#destroyAll(), flushMs).unref();
    }, timeoutMs).unref();
    await this.#acceptWaiting();
    this.#idleGraceMs = idleGraceMs;
    // In front of the app, which may have answered by the time that a listener behind it is called.
    this.#server.prependListener('request', this.#onRequest);
    const drained = this.#stopAccepting();
    for (const socket of this.#connections) this.#look(socket);
    this.#handshakes.endAfter(idleGraceMs);
    await drained;
    clearTimeout(deadline);
    clearTimeout(flush);
    this.#server.off('request', this.#onRequest);
    return left;
  }

  /** Connections that wait in the accept queue of the kernel would be reset together with the listening socket. */
  async #acceptWaiting(): Promise<void> {
    if (!this.#server.listening) return;
    // Two, because the first may end before input was looked for.
    for (let turn = 0, quiet = 0; turn < MOST_TURNS && quiet < 2; turn += 1) {
      const before = this.#accepted;
      await new Promise((resolve) => setImmediate(resolve));
      quiet = this.#accepted === before ? quiet + 1 : 0;
    }
  }

  /** Resolves when no connection is left. */
  #stopAccepting(): Promise<void> {
    const server = this.#server;
    return new Promise((resolve) => {
      // Node's close() would destroy whatever it takes for idle: also a connection on which a request is just arriving,
      // and one whose response has ended but still waits to be written.
      const own = Object.getOwnPropertyDescriptor(server, 'closeIdleConnections');
      server.closeIdleConnections = () => {};
      // The error of a server that never listened: it is as closed as can be.
      server.close(() => resolve());
      Reflect.deleteProperty(server, 'closeIdleConnections');
      // That of a server with HTTP/2.
      if (own !== undefined) Object.defineProperty(server, 'closeIdleConnections', own);
    });
  }

  #connected(socket: Socket): void {
    this.#connections.add(socket);
    socket.once('close', () => this.#connections.delete(socket));
    if (this.#idleGraceMs !== undefined) this.#look(socket);
  }

  readonly #onRequest = ({ socket }: IncomingMessage, res: ServerResponse): void => {
    announceClose(res);
    if (responseOn(socket) === res) this.#look(socket);
  };

  /** Sees to the end of one connection, as it stands. */
  #look(socket: Socket): void {
    const session = sessionOn(socket);
    if (session !== undefined) {
      session.leave(this.#idleGraceMs ?? 0);
      return;
    }
    if (socket.writableEnded || isUpgraded(socket)) return;
    const res = responseOn(socket);
    if (res === undefined) {
      this.#endWhenSilent(socket);
      return;
    }
    announceClose(res);
    res.once('close', () => {
      // Unread content is still coming: it must not be taken for the next request.
      if (!res.req.complete) linger(socket);
      else this.#look(socket);
    });
  }

  #endWhenSilent(socket: Socket): void {
    const { bytesRead } = socket;
    const timer = setTimeout(() => {
      // Timers come before input: what has arrived by now is read first.
      setImmediate(() => {
        // More bytes than before are a request that is on its way in, or was answered since: that one saw to the end.
        if (socket.bytesRead === bytesRead && responseOn(socket) === undefined) socket.destroySoon();
      });
    }, this.#idleGraceMs).unref();
    socket.once('close', () => clearTimeout(timer));
  }

  #destroyAll(): void {
    for (const socket of this.#connections) socket.destroy();
    this.#handshakes.destroyAll();
    // Those that came before anybody counted them.
    this.#server.closeAllConnections();
  }
}

/** Node writes `Connection: close` then, and closes after the response, unless the app has set the field itself. */
function announceClose(res: ServerResponse): void {
  if (!res.headersSent) res.shouldKeepAlive = false;
}

/**
 * The connections of a TLS server that have not agreed yet. Without TLS there are none.
 */
class HandshakeList {
  readonly #open = new Set<Socket>();

  /** @param connected Is given each connection as soon as it can carry a request. */
  constructor(server: Server, connected: (socket: Socket) => void) {
    if (!(server instanceof TlsServer)) {
      server.on('connection', connected);
      return;
    }
    server.on('connection', (socket: Socket) => this.#began(socket));
    server.on('secureConnection', (socket) => {
      // Node keeps there what it has secured: to look for it by its address would mix up those that have none.
      this.#open.delete((socket as { _parent?: Socket })._parent as Socket);
      connected(socket);
    });
  }

  /** Ends those that have not agreed by then. */
  endAfter(ms: number): void {
    if (this.#open.size > 0) setTimeout(() => this.destroyAll(), ms).unref();
  }

  destroyAll(): void {
    for (const socket of this.#open) socket.destroy();
  }

  #began(socket: Socket): void {
    this.#open.add(socket);
    socket.once('close', () => this.#open.delete(socket));
  }
}
