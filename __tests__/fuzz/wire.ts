import { connect, type Socket } from 'node:net';

/** How long anything may take before it counts as a hang. */
export const DEADLINE_MS = 3_000;

/** A client's connection: collects all that comes, and tells when it is over. */
export class Wire {
  readonly socket: Socket;
  received: Buffer = Buffer.alloc(0);
  /** The other side has ended the connection, in order. */
  ended = false;
  closed = false;
  #wake: (() => void) | undefined;

  constructor(port: number) {
    this.socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    this.socket.on('data', (chunk: Buffer) => {
      this.received = this.received.length === 0 ? chunk : Buffer.concat([this.received, chunk]);
      this.#wake?.();
    });
    this.socket.on('end', () => {
      this.ended = true;
      this.#wake?.();
    });
    this.socket.on('error', () => {});
    this.socket.on('close', () => {
      this.closed = true;
      this.#wake?.();
    });
  }

  get over(): boolean {
    return this.ended || this.closed;
  }

  async send(slices: readonly Buffer[]): Promise<void> {
    for (const [index, slice] of slices.entries()) {
      if (index > 0) await turns(2);
      if (!this.over && slice.length > 0) this.socket.write(slice);
    }
  }

  /** Waits until something holds; `false` when it does not in time. */
  async until(condition: () => boolean, withinMs = DEADLINE_MS): Promise<boolean> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#wake?.();
    }, withinMs);
    while (!condition() && !late) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    clearTimeout(timer);
    return condition();
  }

  /** Ends in order; `false` when the other side does not end too. */
  async end(): Promise<boolean> {
    this.socket.end();
    const over = await this.until(() => this.over);
    this.socket.destroy();
    return over;
  }
}

/** Lets what is ready happen. */
export async function turns(count: number): Promise<void> {
  for (let left = count; left > 0; left--) await new Promise((resolve) => setImmediate(resolve));
}
