import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** A name for a server that can be moved, silenced and cut off: connections that exist stay where they are. */
export class TcpRelay {
  readonly #server: Server;
  readonly #pairs = new Map<Socket, Socket>();
  #port: number;
  #host: string;
  #ownPort = 0;
  #held = false;

  constructor(port: number, host = '127.0.0.1') {
    this.#port = port;
    this.#host = host;
    this.#server = createServer((near) => this.#join(near));
  }

  /** On a free port; on the one that it had, if it listened before. */
  async listen(): Promise<number> {
    if (!this.#server.listening) {
      this.#server.listen(this.#ownPort, '127.0.0.1');
      await once(this.#server, 'listening');
      this.#ownPort = (this.#server.address() as AddressInfo).port;
    }
    return this.#ownPort;
  }

  /** New connections go there from now on. */
  moveTo(port: number, host = '127.0.0.1'): void {
    this.#port = port;
    this.#host = host;
  }

  /** No byte passes, in either direction; connections stay, and new ones are accepted. */
  hold(): void {
    this.#held = true;
    for (const [near, far] of this.#pairs) {
      near.unpipe(far);
      far.unpipe(near);
      near.pause();
      far.pause();
    }
  }

  /** What was held goes on its way, as from a process that is continued. */
  release(): void {
    if (!this.#held) return;
    this.#held = false;
    for (const [near, far] of this.#pairs) pipeBoth(near, far);
  }

  /** Resets all connections; new ones are accepted. */
  cut(): void {
    for (const [near, far] of this.#pairs) {
      near.resetAndDestroy();
      far.destroy();
    }
  }

  /** Resets all connections, and refuses new ones until `listen()`. */
  async refuse(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.cut();
    await closed;
  }

  close(): void {
    for (const [near, far] of this.#pairs) {
      near.destroy();
      far.destroy();
    }
    this.#server.close();
  }

  #join(near: Socket): void {
    const far = connect(this.#port, this.#host);
    this.#pairs.set(near, far);
    near.on('error', () => far.destroy()).on('close', () => this.#parted(near, far));
    far.on('error', () => near.destroy()).on('close', () => this.#parted(near, far));
    if (!this.#held) pipeBoth(near, far);
  }

  #parted(near: Socket, far: Socket): void {
    // What the client sent before it left still goes on.
    if (near.destroyed) far.destroySoon();
    if (near.destroyed && far.destroyed) this.#pairs.delete(near);
  }
}

function pipeBoth(near: Socket, far: Socket): void {
  near.pipe(far);
  far.pipe(near);
}
