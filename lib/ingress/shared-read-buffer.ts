import type { Socket } from 'node:net';

/** As much as Node reads at a time. */
const READ_BYTES = 65_536;

/** The properties that `net.connect({ onread })` sets on a socket; a server has no option for them. */
interface Keys {
  readonly buffer: symbol;
  readonly callback: symbol;
}

type Read = (this: Socket, bytes: number, buffer: Buffer) => boolean;
type Readable = Socket & { _handle?: { useUserBuffer?(buffer: Buffer): void } | null } & Record<symbol, Buffer | Read>;

/**
 * One buffer for the reads of all connections of a server. Otherwise Node allocates 64 KiB for each read of a socket with a `data` listener,
 * which costs more than the listener does. The next read of any connection overwrites the bytes: copy those that you keep.
 */
export class SharedReadBuffer {
  readonly #buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  readonly #read: Read;
  #keys: Keys | undefined;

  /** @param read Gets the bytes of each read, in place of `data`, with the socket as `this`. */
  constructor(read: (this: Socket, chunk: Buffer) => boolean) {
    this.#read = function readShared(bytes, buffer) {
      return read.call(this, buffer.subarray(0, bytes));
    };
  }

  /** Other sockets, such as those of TLS and of HTTP/2 streams, and those of a changed Node version keep their `data` events. */
  use(socket: Socket): void {
    const handle = (socket as Readable)._handle;
    if ('encrypted' in socket || typeof handle?.useUserBuffer !== 'function') return;
    this.#keys ??= keysOf(socket);
    if (this.#keys === undefined) return;
    handle.useUserBuffer(this.#buffer);
    (socket as Readable)[this.#keys.buffer] = this.#buffer;
    (socket as Readable)[this.#keys.callback] = this.#read;
  }

  /** Whether bytes are in this buffer, so that the next read overwrites them. */
  has(bytes: Buffer): boolean {
    return bytes.buffer === this.#buffer.buffer;
  }
}

function keysOf(socket: Socket): Keys | undefined {
  const symbols = Object.getOwnPropertySymbols(socket);
  const named = (name: string) => symbols.find(({ description }) => description === name);
  const [buffer, callback] = [named('kBuffer'), named('kBufferCb')];
  return buffer === undefined || callback === undefined ? undefined : { buffer, callback };
}
