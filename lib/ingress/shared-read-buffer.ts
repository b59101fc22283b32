import type { Socket } from 'node:net';

/** As much as Node reads at a time. */
const READ_BYTES = 65_536;

/** Reads of so many bytes are not copied for a reader that keeps them. */
const BULK_BYTES = READ_BYTES / 4;

/** What `net.connect({ onread })` sets on a socket; a server has no option for it. */
interface Keys {
  readonly buffer: symbol;
  readonly callback: symbol;
  readonly next: symbol;
}

type Read = (this: Socket, bytes: number, buffer: Buffer) => boolean;
/** Gives the buffer for the next read, if it is another one. */
type Next = () => Buffer | undefined;
type Readable = Socket & { _handle?: { useUserBuffer?(buffer: Buffer): void } | null } & Record<
    symbol,
    Buffer | Read | Next
  >;

/**
 * One buffer into which all connections of a server are read. Otherwise Node allocates 64 KiB for each read of a socket with a `data`
 * listener, which costs more than the listener does.
 */
export class SharedReadBuffer {
  readonly #buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  readonly #read: Read;
  /** Where reads of bulk data go to buffers of their own. */
  readonly #next: Next | undefined;
  #keys: Keys | undefined;

  /**
   * @param read Gets the bytes of each read, in place of `data`, with the socket as `this`.
   * @param keeps Whether `read` may keep them. Otherwise they are gone with the next read of any connection.
   */
  constructor(read: (this: Socket, chunk: Buffer) => boolean, keeps = false) {
    const shared = this.#buffer;
    let next: Buffer | undefined;
    if (keeps) this.#next = () => next;
    this.#read = keeps
      ? function readToKeep(bytes, buffer) {
          const isBulk = bytes >= BULK_BYTES;
          const isShared = buffer === shared;
          const chunk = buffer.subarray(0, bytes);
          if (isBulk) next = Buffer.allocUnsafeSlow(READ_BYTES);
          else next = isShared ? undefined : shared;
          return read.call(this, isBulk && !isShared ? chunk : Buffer.from(chunk));
        }
      : function readShared(bytes, buffer) {
          return read.call(this, buffer.subarray(0, bytes));
        };
  }

  /** Not for sockets of another kind, like those of TLS and of HTTP/2 streams, nor where Node has changed: those keep `data`. */
  use(socket: Socket): void {
    const handle = (socket as Readable)._handle;
    if ('encrypted' in socket || typeof handle?.useUserBuffer !== 'function') return;
    this.#keys ??= keysOf(socket);
    if (this.#keys === undefined) return;
    handle.useUserBuffer(this.#buffer);
    (socket as Readable)[this.#keys.buffer] = this.#buffer;
    (socket as Readable)[this.#keys.callback] = this.#read;
    if (this.#next !== undefined) (socket as Readable)[this.#keys.next] = this.#next;
  }

  /** Whether bytes are in this buffer, and so not there for long. */
  has(bytes: Buffer): boolean {
    return bytes.buffer === this.#buffer.buffer;
  }
}

function keysOf(socket: Socket): Keys | undefined {
  const symbols = Object.getOwnPropertySymbols(socket);
  const named = (name: string) => symbols.find(({ description }) => description === name);
  const [buffer, callback, next] = [named('kBuffer'), named('kBufferCb'), named('kBufferGen')];
  return buffer === undefined || callback === undefined || next === undefined ? undefined : { buffer, callback, next };
}
