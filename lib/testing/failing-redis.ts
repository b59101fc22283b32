import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';

/** Commands that set up a connection. A Redis that is loading or cannot save still replies to them. */
const SET_UP: Readonly<Record<string, (args: readonly string[]) => string>> = {
  // With the requested protocol version: a client closes the connection if it gets another one.
  hello: ([version = '2']) =>
    `${version === '3' ? '%3' : '*6'}\r\n+server\r\n+redis\r\n+version\r\n+7.0.0\r\n+proto\r\n:${version}\r\n`,
  auth: () => '+OK\r\n',
  client: () => '+OK\r\n',
  select: () => '+OK\r\n',
};

/** A server that speaks enough RESP for clients to connect. All other commands get an error. */
export class FailingRedis {
  /** Text of the error, like `LOADING Redis is loading the dataset in memory`. */
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

  /** @returns the bytes of an incomplete command. */
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

/** Complete commands of a client, and the bytes of an incomplete one. */
export interface SentCommands {
  readonly commands: readonly (readonly string[])[];
  readonly rest: Buffer;
}

interface Element<T> {
  readonly value: T;
  /** Index of the next element. */
  readonly end: number;
}

/** The element is incomplete. */
const PART = Symbol('part');
type PartOr<T> = typeof PART | Element<T> | undefined;

/** Parses the commands of clients, which are arrays of bulk strings (RESP). Returns `undefined` for other bytes. */
export function takeCommands(bytes: Buffer): SentCommands | undefined {
  const commands: (readonly string[])[] = [];
  let from = 0;
  while (from < bytes.length) {
    const command = commandAt(bytes, from);
    if (command === undefined) return undefined;
    if (command === PART) break;
    commands.push(command.value);
    from = command.end;
  }
  return { commands, rest: bytes.subarray(from) };
}

function commandAt(bytes: Buffer, from: number): PartOr<readonly string[]> {
  const count = numberAt(bytes, from, '*');
  if (count === undefined || count === PART) return count;
  const parts: string[] = [];
  let at = count.end;
  while (parts.length < count.value) {
    const length = numberAt(bytes, at, '$');
    if (length === undefined || length === PART) return length;
    const end = length.end + length.value;
    // A line end follows the string.
    if (bytes.length < end + 2) return PART;
    parts.push(bytes.toString('utf8', length.end, end));
    at = end + 2;
  }
  return { value: parts, end: at };
}

function numberAt(bytes: Buffer, from: number, mark: '*' | '$'): PartOr<number> {
  if (from < bytes.length && bytes[from] !== mark.charCodeAt(0)) return undefined;
  const end = bytes.indexOf('\r\n', from);
  if (end === -1) return PART;
  const digits = bytes.toString('latin1', from + 1, end);
  return /^\d{1,9}$/.test(digits) ? { value: Number(digits), end: end + 2 } : undefined;
}
