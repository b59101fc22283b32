import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { Server as TlsServer } from 'node:tls';

/**
 * The connections of a TLS server that have not agreed yet. They are known by their remote end, because the secured
 * socket is another object. Without TLS there are none.
 */
export class HandshakeList {
  readonly #open = new Map<string, Socket>();

  /** @param connected Is given each connection as soon as it can carry a request. */
  constructor(server: Server, connected: (socket: Socket) => void) {
    if (!(server instanceof TlsServer)) {
      server.on('connection', connected);
      return;
    }
    server.on('connection', (socket: Socket) => this.#began(socket));
    server.on('secureConnection', (socket) => {
      this.#open.delete(remoteEnd(socket));
      connected(socket);
    });
  }

  /** Ends those that have not agreed by then. */
  endAfter(ms: number): void {
    if (this.#open.size > 0) setTimeout(() => this.destroyAll(), ms).unref();
  }

  destroyAll(): void {
    for (const socket of this.#open.values()) socket.destroy();
  }

  #began(socket: Socket): void {
    const end = remoteEnd(socket);
    this.#open.set(end, socket);
    socket.once('close', () => {
      if (this.#open.get(end) === socket) this.#open.delete(end);
    });
  }
}

function remoteEnd({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}
