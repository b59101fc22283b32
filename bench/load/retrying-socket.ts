import { connect, type Socket } from 'node:net';

const BUFFER_BYTES = 65_536;
const RETRY_MS = 20;

/** What all connections of one load count together. */
export interface Tally {
  requests: number;
  errors: number;
  firstError: string | undefined;
  /** Makes nonces unique over all connections. */
  sent: number;
}

export interface SocketUser {
  /** A connection has begun. */
  connected(): void;
  /** The first so many bytes of the buffer, until it returns. What it throws is why the connection has failed. */
  received(buffer: Buffer, bytes: number): void;
  /** More may be written, after a `write()` that said no. */
  drained?(): void;
}

/** A connection to the gateway that is opened anew whenever it fails, which counts as an error. */
export class RetryingSocket {
  readonly #port: number;
  readonly #tally: Tally;
  readonly #user: SocketUser;
  // One buffer for the life of the connection: Node would else make a new one per read.
  readonly #buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  #socket: Socket | undefined;
  #retry: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(port: number, tally: Tally, user: SocketUser) {
    this.#port = port;
    this.#tally = tally;
    this.#user = user;
    this.#open();
  }

  /** Whether more may be written at once. */
  write(content: string | Buffer): boolean {
    return this.#socket?.write(content, 'latin1') === true;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#socket?.destroy();
  }

  #open(): void {
    const callback = (bytes: number): boolean => {
      try {
        this.#user.received(this.#buffer, bytes);
      } catch (error) {
        this.#failed((error as Error).message);
      }
      return true;
    };
    const onread = { buffer: this.#buffer, callback };
    const socket = connect({ port: this.#port, host: '127.0.0.1', noDelay: true, onread });
    this.#socket = socket;
    socket.once('connect', () => this.#user.connected());
    if (this.#user.drained !== undefined) socket.on('drain', () => this.#user.drained?.());
    socket.once('error', (error) => this.#failed(error.message));
    socket.once('end', () => this.#failed('connection closed by the gateway'));
  }

  #failed(why: string): void {
    if (this.#closed) return;
    this.#tally.errors++;
    this.#tally.firstError ??= why;
    this.#socket?.destroy();
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#open(), RETRY_MS);
  }
}
