import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { takeCommands } from './redis-commands.ts';

/** What clients send to set a connection up. A Redis that is loading, or cannot save, still answers these. */
const SET_UP: Readonly<Record<string, (args: readonly string[]) => string>> = {
  // With the protocol that is asked for: a client closes the connection over another one.
  hello: ([version = '2']) =>
    `${version === '3' ? '%3' : '*6'}\r\n+server\r\n+redis\r\n+version\r\n+7.0.0\r\n+proto\r\n:${version}\r\n`,
  auth: () => '+OK\r\n',
  client: () => '+OK\r\n',
  select: () => '+OK\r\n',
};

/** Speaks so much of RESP that a client connects to it; all other commands get an error. */
export class FailingRedis {
  /** What the error says, like `LOADING Redis is loading the dataset in memory`. */
  message = '';
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor() {
    this.#server = createServer((socket) => this.#serve(socket));
  }

  /** @returns its port */
  async listen(): Promise<number> {
    if (!this.#server.listening) {
      this.#server.listen(0, '127.0.0.1');
      await once(this.#server, 'listening');
    }
    return (this.#server.address() as AddressInfo).port;
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }

  #serve(socket: Socket): void {
    let unread: Buffer = Buffer.alloc(0);
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      unread = this.#answer(Buffer.concat([unread, chunk]), socket);
    });
  }

  /** @returns what is not answered yet */
  #answer(bytes: Buffer, socket: Socket): Buffer {
    const sent = takeCommands(bytes);
    if (sent === undefined) {
      socket.end('-ERR Protocol error: expected an array of bulk strings\r\n');
      return Buffer.alloc(0);
    }
    for (const [name = '', ...args] of sent.commands) {
      const known = SET_UP[name.toLowerCase()];
      socket.write(known === undefined ? `-${this.message}\r\n` : known(args));
    }
    return sent.rest;
  }
}
