/** A connection that stays open for this many times the estimate shows that the estimate is too low. */
const SPREAD = 4;
/** Added to that, in milliseconds, for clocks and event loops that are late. */
const LATENESS_MS = 10;
/** With more than this left, in milliseconds, a request reaches the backend before the backend closes. */
const MARGIN_MS = 1_000;

/** Whether the backend closed a connection, and not undici: undici closes it after its idle time, or for bytes without a request. */
export function isClosedByPeer({ code, message }: NodeJS.ErrnoException): boolean {
  return code === 'ECONNRESET' || (code === 'UND_ERR_SOCKET' && message !== 'bad response');
}

/**
 * How long a backend keeps an idle connection, learned from the connections that it closes. A request that is sent when the backend
 * is about to close is lost, and only some methods may be repeated. So no connection is used in the second half of that time, or
 * in the last second of a long one.
 */
export class KeepAliveTime {
  /** Shortest idle time, in milliseconds, after which the backend closed a connection. */
  #shortest = Number.POSITIVE_INFINITY;

  /** Whether the time is known. Until then, every connection may be used. */
  get isKnown(): boolean {
    return this.#shortest < Number.POSITIVE_INFINITY;
  }

  /** The backend closed a connection that was idle for this long. */
  closedAfter(idleMs: number): void {
    this.#shortest = Math.min(this.#shortest, Math.max(0, idleMs));
  }

  /** Whether a connection that has been idle for this long may carry a request. */
  allows(idleMs: number): boolean {
    return idleMs < Math.max(this.#shortest / 2, this.#shortest - MARGIN_MS);
  }

  /** Whether a connection that is still open after this time contradicts the estimate: see `outlived()`. */
  isContradictedBy(idleMs: number): boolean {
    return idleMs > SPREAD * this.#shortest + LATENESS_MS;
  }

  /** Raises the estimate, which a restart makes too low: then a backend closes all its connections, however short they were idle. */
  outlived(): void {
    this.#shortest = Math.max(1, 2 * this.#shortest);
  }
}
