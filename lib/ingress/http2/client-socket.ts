import { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { kHttp2 } from '../../core/connection.ts';

/** Addresses of both ends of a session's connection. They are copied, because Node forgets them when the connection closes. */
export interface ClientAddress {
  readonly remoteAddress: string | undefined;
  readonly remoteFamily: string | undefined;
  readonly remotePort: number | undefined;
  readonly localAddress: string | undefined;
  readonly localFamily: string | undefined;
  readonly localPort: number | undefined;
}

/** A connection in memory that looks like a TLS connection of a client. */
export abstract class ClientSocket extends Duplex {
  readonly encrypted = true;
  readonly [kHttp2] = true;
  /** The connection of the session. */
  readonly tlsSocket: TLSSocket;
  readonly #address: ClientAddress;

  constructor(tlsSocket: TLSSocket, address: ClientAddress) {
    super({ decodeStrings: false });
    this.tlsSocket = tlsSocket;
    this.#address = address;
  }

  get remoteAddress() {
    return this.#address.remoteAddress;
  }

  get remoteFamily() {
    return this.#address.remoteFamily;
  }

  get remotePort() {
    return this.#address.remotePort;
  }

  get localAddress() {
    return this.#address.localAddress;
  }

  get localFamily() {
    return this.#address.localFamily;
  }

  get localPort() {
    return this.#address.localPort;
  }

  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once('finish', () => this.destroy());
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  setTimeout(): this {
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }
}
