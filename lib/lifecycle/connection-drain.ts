import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Server as TlsServer } from 'node:tls';
import { markEnded } from '../core/broken-off.ts';
import { linger } from '../core/last-response.ts';
import { responseOn } from '../ingress/connection-responses.ts';
import { sessionOn } from '../ingress/http2/client-session.ts';
import { endAtDeadline, isUpgraded, type OpenAtDeadline } from './open-at-deadline.ts';

/** Turns of the event loop in which connections from the kernel's queue are still accepted. */
const MOST_TURNS = 100;

export interface DrainTimes {
  /** Milliseconds that a connection without a request gets to send one. */
  readonly idleGraceMs: number;
  /** Milliseconds until the connections that are left are ended. */
  readonly timeoutMs: number;
  /** Milliseconds that the client gets then to read the rest. */
  readonly flushMs: number;
}

/**
 * Stops a server without cutting the requests that it has accepted. Create it before connections come. Until the drain it costs a request
 * nothing, and a connection one entry in a set.
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
   * Stops accepting connections, adds `Connection: close` to responses, closes idle connections, and ends the connections that are left
   * after `timeoutMs`.
   *
   * @returns the connections that were ended.
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
    // Before the app's listener: after it, the response may already be out.
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

  /** Closing the listening socket would reset the connections in the kernel's accept queue. So those are accepted first. */
  async #acceptWaiting(): Promise<void> {
    if (!this.#server.listening) return;
    // Two turns, because the first may end before the event loop polls.
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
      // Node's close() destroys all connections that it takes for idle. That includes one on which a request is just arriving, and one whose
      // response has ended but is not written yet.
      const own = Object.getOwnPropertyDescriptor(server, 'closeIdleConnections');
      server.closeIdleConnections = () => {};
      // The error comes from a server that never listened. It counts as closed.
      server.close(() => resolve());
      Reflect.deleteProperty(server, 'closeIdleConnections');
      // `http2Server()` has replaced this function: it closes idle HTTP/2 sessions.
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

  /** Ends one connection, or arranges for its end, depending on its state. */
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
      // The rest of the request body is still coming. It must not be taken for the next request.
      if (!res.req.complete) linger(socket);
      else this.#look(socket);
    });
  }

  #endWhenSilent(socket: Socket): void {
    const { bytesRead } = socket;
    const timer = setTimeout(() => {
      // The event loop runs timers before it polls, so input that has arrived is read first.
      setImmediate(() => {
        // More bytes than before mean that a request is arriving or was served since. That request ends the connection.
        if (socket.bytesRead === bytesRead && responseOn(socket) === undefined) socket.destroySoon();
      });
    }, this.#idleGraceMs).unref();
    socket.once('close', () => clearTimeout(timer));
  }

  #destroyAll(): void {
    for (const socket of this.#connections) {
      markEnded(socket);
      socket.destroy();
    }
    this.#handshakes.destroyAll();
    // Connections from before this object was created.
    this.#server.closeAllConnections();
  }
}

/** Makes Node write `Connection: close` and close after the response, unless the app has set that header itself. */
function announceClose(res: ServerResponse): void {
  if (!res.headersSent) res.shouldKeepAlive = false;
}

/**
 * Connections in their TLS handshake. Without TLS there are none.
 */
class HandshakeList {
  readonly #open = new Set<Socket>();

  /** @param connected Gets each connection as soon as it can carry a request. */
  constructor(server: Server, connected: (socket: Socket) => void) {
    if (!(server instanceof TlsServer)) {
      server.on('connection', connected);
      return;
    }
    server.on('connection', (socket: Socket) => this.#began(socket));
    server.on('secureConnection', (socket) => {
      // Node keeps the underlying socket in `_parent`. A search by address would confuse connections without one.
      this.#open.delete((socket as { _parent?: Socket })._parent as Socket);
      connected(socket);
    });
  }

  /** Ends connections whose handshake is not complete. */
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
