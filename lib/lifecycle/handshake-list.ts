import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { Server as TlsServer } from 'node:tls';

/**
 * The connections of a TLS server that have not agreed yet. Without TLS there are none.
 */
export class HandshakeList {
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
