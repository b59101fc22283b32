import type { Duplex } from 'node:stream';
import type { Watchdog, Watched } from '../watchdog.ts';

export interface TunnelTimeouts {
  /** Milliseconds without a byte in either direction; 0 for any time. */
  readonly idleTimeoutMs: number;
  /** Milliseconds without a byte while one side does not read the bytes of the other; 0 for any time. */
  readonly sendTimeoutMs: number;
  /** Milliseconds without a byte once one side has closed. */
  readonly closeTimeoutMs: number;
}

/**
 * Joins the two connections of an upgraded exchange. Bytes pass both ways unchanged, no faster than the other side reads them. When one side
 * closes, the other gets all bytes, and then the end (RFC 9110 §9.3.6). It may still send, until it ends or is silent for too long.
 */
export class Tunnel implements Watched {
  timeoutMs: number;
  silentSince = 0;
  index = 0;
  readonly #client: Duplex;
  readonly #backend: Duplex;
  readonly #timeouts: TunnelTimeouts;
  readonly #watchdog: Watchdog;
  readonly #closed: () => void;
  /** Sides that are paused. While a socket is not read, Node does not notice that its peer has left. */
  readonly #paused = new Set<Duplex>();
  #open = 2;
  #closing = false;

  /** @param closed Called once, when both connections are closed. */
  constructor(client: Duplex, backend: Duplex, timeouts: TunnelTimeouts, watchdog: Watchdog, closed: () => void) {
    this.#client = client;
    this.#backend = backend;
    this.#timeouts = timeouts;
    this.#watchdog = watchdog;
    this.#closed = closed;
    this.timeoutMs = this.#silenceMs();
  }

  /**
   * @param head The head of the 101 response, for the client.
   * @param sentEarly Bytes that the client sent before it got that head.
   */
  open(head: string, sentEarly: Buffer): void {
    this.#watchdog.watch(this);
    // A side that ends first still gets the bytes of the other one. By default, undici's sockets and those of TLS servers would close.
    this.#client.allowHalfOpen = true;
    this.#backend.allowHalfOpen = true;
    this.#client.write(head, 'latin1');
    if (sentEarly.length > 0) this.#backend.write(sentEarly);
    this.#join(this.#client, this.#backend);
    this.#join(this.#backend, this.#client);
  }

  /** Ends both sides when they have received everything. A side that does not read is cut off. */
  close(): void {
    for (const side of [this.#client, this.#backend]) {
      this.#end(side);
      if (side.writableFinished) side.destroy();
      else side.once('finish', () => side.destroy());
    }
  }

  /** Cuts off the backend if the client's connection is closed. */
  cutWithoutClient(): void {
    if (this.#client.destroyed) this.#backend.destroy();
  }

  expired(): void {
    // At the first call there may be bytes left to send. At the second one, the other side does not read them.
    if (!this.#closing) {
      this.close();
      return;
    }
    this.#client.destroy();
    this.#backend.destroy();
  }

  #join(from: Duplex, to: Duplex): void {
    from.on('data', (chunk: Buffer) => {
      // Bytes for a side that has closed are dropped.
      if (to.writableEnded || to.destroyed) return;
      this.silentSince = 0;
      if (to.write(chunk)) return;
      from.pause();
      this.#paused.add(from);
      this.timeoutMs = this.#silenceMs();
    });
    to.on('drain', () => {
      this.silentSince = 0;
      this.#paused.delete(from);
      this.timeoutMs = this.#silenceMs();
      from.resume();
    });
    from.on('error', () => from.destroy());
    // These events may have come before the protocol was switched.
    if (from.readableEnded) this.#end(to);
    else from.once('end', () => this.#end(to));
    if (from.closed) process.nextTick(() => this.#gone(to));
    // Before the listeners of the app: if one throws, later ones are not called.
    else from.prependOnceListener('close', () => this.#gone(to));
  }

  /** One side is closed. */
  #gone(other: Duplex): void {
    this.#end(other);
    // It may be paused because of the closed side. Then its end would never arrive.
    other.resume();
    this.#open -= 1;
    if (this.#open > 0) return;
    this.#watchdog.unwatch(this);
    this.#closed();
  }

  #end(side: Duplex): void {
    this.#closing = true;
    this.silentSince = 0;
    this.timeoutMs = this.#silenceMs();
    side.end();
  }

  /** Milliseconds for which both sides may be silent in the present state. */
  #silenceMs(): number {
    const { idleTimeoutMs, sendTimeoutMs, closeTimeoutMs } = this.#timeouts;
    const idleMs = idleTimeoutMs || Number.POSITIVE_INFINITY;
    const pausedMs = (this.#paused.size > 0 && sendTimeoutMs) || Number.POSITIVE_INFINITY;
    return Math.min(idleMs, pausedMs, this.#closing ? closeTimeoutMs : Number.POSITIVE_INFINITY);
  }
}
