import type { Duplex } from 'node:stream';
import type { Watchdog, Watched } from '../watchdog.ts';

export interface TunnelTimeouts {
  /** Milliseconds without a byte in either direction; 0 for any time. */
  readonly idleTimeoutMs: number;
  /** Milliseconds without a byte once one side has closed. */
  readonly closeTimeoutMs: number;
}

/**
 * Joins the two connections of an upgraded exchange. Bytes pass both ways untouched, no faster than the other side takes
 * them. When one side closes, what it sent is flushed to the other, the end is passed on, and both are closed
 * (RFC 9110 §9.3.6): by the other side in its own time, or by us when it stays silent.
 */
export class Tunnel implements Watched {
  timeoutMs: number;
  silentSince = 0;
  place = -1;
  readonly #client: Duplex;
  readonly #backend: Duplex;
  readonly #closeTimeoutMs: number;
  readonly #watchdog: Watchdog;
  readonly #closed: () => void;
  #open = 2;
  #closing = false;

  /** @param closed Called once, when both sides are gone. */
  constructor(client: Duplex, backend: Duplex, timeouts: TunnelTimeouts, watchdog: Watchdog, closed: () => void) {
    this.#client = client;
    this.#backend = backend;
    this.timeoutMs = timeouts.idleTimeoutMs || Number.POSITIVE_INFINITY;
    this.#closeTimeoutMs = timeouts.closeTimeoutMs;
    this.#watchdog = watchdog;
    this.#closed = closed;
  }

  /**
   * @param head The first bytes for the client: that the protocol was switched.
   * @param sentEarly What the client sent before it knew.
   */
  open(head: string, sentEarly: Buffer): void {
    this.#watchdog.watch(this);
    // The backend may end first: what the client still sends goes to it all the same. undici makes sockets that would close.
    this.#backend.allowHalfOpen = true;
    this.#client.write(head, 'latin1');
    if (sentEarly.length > 0) this.#backend.write(sentEarly);
    this.#join(this.#client, this.#backend);
    this.#join(this.#backend, this.#client);
  }

  /** Ends both sides after what they have already been sent; the one that does not take it is cut off. */
  close(): void {
    for (const side of [this.#client, this.#backend]) {
      this.#end(side);
      if (side.writableFinished) side.destroy();
      else side.once('finish', () => side.destroy());
    }
  }

  expired(): void {
    // The first time there may be something left to flush, the second time nobody takes it.
    if (!this.#closing) {
      this.close();
      return;
    }
    this.#client.destroy();
    this.#backend.destroy();
  }

  #join(from: Duplex, to: Duplex): void {
    from.on('data', (chunk: Buffer) => {
      // What comes for a side that has closed is of use to nobody.
      if (to.writableEnded || to.destroyed) return;
      this.silentSince = 0;
      if (!to.write(chunk)) from.pause();
    });
    to.on('drain', () => {
      this.silentSince = 0;
      from.resume();
    });
    from.on('error', () => from.destroy());
    // Each of these events comes once. It may have come before the protocol was switched.
    if (from.readableEnded) this.#end(to);
    else from.once('end', () => this.#end(to));
    if (from.closed) process.nextTick(() => this.#gone(to));
    // Before the listeners of an app: one that throws keeps those behind it from being called.
    else from.prependOnceListener('close', () => this.#gone(to));
  }

  /** One side is closed. */
  #gone(other: Duplex): void {
    this.#end(other);
    // It may have been paused for a side that is gone: its end would never be seen.
    other.resume();
    this.#open -= 1;
    if (this.#open > 0) return;
    this.#watchdog.unwatch(this);
    this.#closed();
  }

  #end(side: Duplex): void {
    this.#closing = true;
    this.silentSince = 0;
    this.timeoutMs = Math.min(this.timeoutMs, this.#closeTimeoutMs);
    side.end();
  }
}
