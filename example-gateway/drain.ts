import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { Server as TlsServer } from 'node:https';
import { Server as NetServer, type Socket } from 'node:net';

/** How long the other end of a tunnel may take to read the last of it. */
const FLUSH_MS = 500;

/** Ends a server without harming the requests that it has taken. Make it before the server gets its other listeners. */
export class Drain {
  readonly #server: Server;
  /** The answers under way on each connection. */
  readonly #connections = new Map<Socket, Set<ServerResponse>>();
  /** Under TLS, those that have not agreed yet, by their remote end: the secured socket is another object. */
  readonly #handshakes = new Map<string, Socket>();
  /** Connections that left HTTP: they have no answer that could end them. */
  readonly #upgraded = new WeakSet<object>();
  #draining = false;

  constructor(server: Server) {
    this.#server = server;
    if (server instanceof TlsServer) {
      server.on('connection', (socket) => this.#handshaking(socket as Socket));
      server.on('secureConnection', (socket) => this.#secured(socket));
    } else {
      server.on('connection', (socket) => this.#connected(socket));
    }
    server.on('request', (req, res) => this.#requested(req, res));
    server.on('upgrade', (req) => this.#upgraded.add(req.socket));
  }

  /**
   * Stops accepting, closes idle connections at once and busy ones after their answers, and cuts what is
   * left after `timeoutMs`.
   *
   * @returns how many connections were cut.
   */
  async run(timeoutMs: number): Promise<number> {
    this.#draining = true;
    let cut = 0;
    const drained = new Promise<void>((resolve) => {
      // http's own close() also destroys connections whose answer has ended but still waits to be
      // written: a slow reader would lose the rest of it.
      NetServer.prototype.close.call(this.#server, () => resolve());
    });
    for (const socket of this.#handshakes.values()) socket.destroy();
    for (const [socket, answers] of this.#connections) {
      for (const res of answers) announceClose(res);
      this.#endIfIdle(socket);
    }
    const deadline = setTimeout(() => {
      cut = this.#connections.size;
      for (const socket of this.#connections.keys()) {
        // A tunnel has no framing that a reset would break: it gets what it was sent, and an orderly end.
        if (this.#upgraded.has(socket)) socket.destroySoon();
        else socket.destroy();
      }
      setTimeout(() => {
        for (const socket of this.#connections.keys()) socket.destroy();
      }, FLUSH_MS).unref();
    }, timeoutMs);
    await drained;
    clearTimeout(deadline);
    return cut;
  }

  #handshaking(socket: Socket): void {
    const end = remoteEnd(socket);
    this.#handshakes.set(end, socket);
    socket.once('close', () => {
      if (this.#handshakes.get(end) === socket) this.#handshakes.delete(end);
    });
  }

  #secured(socket: Socket): void {
    this.#handshakes.delete(remoteEnd(socket));
    this.#connected(socket);
  }

  #connected(socket: Socket): void {
    this.#connections.set(socket, new Set());
    socket.once('close', () => this.#connections.delete(socket));
  }

  #requested(req: IncomingMessage, res: ServerResponse): void {
    const { socket } = req;
    const answers = this.#connections.get(socket);
    if (answers === undefined) return;
    answers.add(res);
    if (this.#draining) announceClose(res);
    res.once('close', () => {
      answers.delete(res);
      if (this.#draining) this.#endIfIdle(socket);
    });
  }

  #endIfIdle(socket: Socket): void {
    if (this.#connections.get(socket)?.size === 0 && !this.#upgraded.has(socket)) socket.destroySoon();
  }
}

function remoteEnd({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

function announceClose(res: ServerResponse): void {
  if (!res.headersSent) res.setHeader('Connection', 'close');
}
