/** undici closes a connection that was free for 4 s, or 2 s before the time that the backend announced. */
const STALE_MS = 1_000;

/** The parts of a connection that are used here. */
interface Keepable {
  readonly isFree: boolean;
  readonly stats: { readonly connected: boolean };
  /** `Date.now()` when it became free; 0 until its first response on this socket. */
  readonly freeSince: number;
}

/**
 * The free connections to one backend. A request gets the one that became free last, so that unneeded connections time out. Connections that
 * were needed a short while ago are used before they time out (docs/decisions/0032).
 */
export class KeptConnections<C extends Keepable> {
  /** Free connections; that which has been free longest comes first. */
  readonly #free: C[] = [];
  readonly #drop: (connection: C) => void;
  readonly #mostInUse = new RecentPeak();
  readonly #keepAliveTime = new KeepAliveTime();
  #isChecking = false;

  /** @param drop Closes a connection that is not used again. */
  constructor(drop: (connection: C) => void) {
    this.#drop = drop;
  }

  get length(): number {
    return this.#free.length;
  }

  /** @param inUse Number of connections in use now. */
  observe(inUse: number): void {
    this.#mostInUse.observe(inUse);
  }

  add(connection: C): void {
    this.#free.push(connection);
  }

  remove(connection: C): void {
    const index = this.#free.lastIndexOf(connection);
    if (index !== -1) this.#free.splice(index, 1);
  }

  /** Learns from the end of a free connection how long the backend keeps connections. */
  ended({ freeSince }: C, error: NodeJS.ErrnoException): void {
    // A connection that has carried no response yet says nothing about that time.
    if (isClosedByPeer(error) && freeSince > 0) {
      this.#keepAliveTime.closedAfter(Date.now() - freeSince);
    }
  }

  /** Whether none of them was used after this time. */
  isIdleSince(time: number): boolean {
    return this.#free.every(({ stats, freeSince }) => !stats.connected || freeSince < time);
  }

  /**
   * @param total Number of all connections, including those in use.
   * @returns a connection for a request, or `undefined` if a new one should be opened.
   */
  take(total: number): C | undefined {
    const longest = this.#free[0];
    if (longest !== undefined && this.#keepAliveTime.isKnown) return this.#takeLasting(longest);
    // With at most one connection, there is no need to read the clock.
    if (longest === undefined || this.#free.length === 1) return this.#free.pop();
    const now = Date.now();
    if (now - longest.freeSince < STALE_MS) return this.#free.pop();
    if (!longest.stats.connected) {
      // The backend closed it after its last response: only the object is left.
      this.#free.shift();
      this.#drop(longest);
    } else if (total <= this.#mostInUse.of(total - this.#free.length, now)) return this.#free.shift();
    return this.#free.pop();
  }

  /** The connection that became free last, unless the backend may be closing it now. In that case all others are even older. */
  #takeLasting(longest: C): C | undefined {
    const now = Date.now();
    if (this.#keepAliveTime.isContradictedBy(now - longest.freeSince)) this.#checkWhetherOpen(longest);
    const last = this.#free.pop() as C;
    if (!last.stats.connected || this.#keepAliveTime.allows(now - last.freeSince)) return last;
    // A new connection replaces it. The oldest one stays, to show when the backend closes it.
    if (last === longest) this.#free.push(last);
    else this.#drop(last);
    return undefined;
  }

  /** Waits for two turns of the event loop: the end of a connection may not have been read yet. */
  #checkWhetherOpen(connection: C): void {
    if (this.#isChecking) return;
    this.#isChecking = true;
    const { freeSince } = connection;
    const check = () => {
      this.#isChecking = false;
      if (connection.isFree && connection.freeSince === freeSince && connection.stats.connected) {
        this.#keepAliveTime.outlived();
      }
    };
    setImmediate(() => setImmediate(check));
  }
}

/** How long a peak is remembered, in milliseconds: at least so long, at most twice as long. */
const WINDOW_MS = 30_000;

/** The highest count of the recent past. */
export class RecentPeak {
  #now = 0;
  #before = 0;
  #since = Date.now();

  /** Notes the present count. */
  observe(count: number): void {
    if (count > this.#now) this.#now = count;
  }

  /** @param present The count at this moment: a new window begins with it. */
  of(present: number, now: number): number {
    const age = now - this.#since;
    // If the wall clock is set back, the window must not become longer.
    if (age >= WINDOW_MS || age < 0) {
      this.#before = age < 2 * WINDOW_MS ? this.#now : 0;
      this.#now = present;
      this.#since = now;
    }
    return Math.max(this.#now, this.#before);
  }
}

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
