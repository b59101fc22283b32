import { isClosedByPeer, KeepAliveTime } from './keep-alive-time.ts';

/** undici closes a connection that was free for 4 s, or 2 s before the time that the backend announced. */
const STALE_MS = 1_000;

/** What is used of a connection. */
interface Keepable {
  readonly isFree: boolean;
  readonly stats: { readonly connected: boolean };
  /** `Date.now()` when it became free; 0 until its first response on this socket. */
  readonly freeSince: number;
}

/**
 * The connections to one backend that are free for a request. The one that became free last is taken first, so that those which
 * are not needed any more time out. Those that were needed not long ago are used before they time out (docs/decisions/0032).
 */
export class KeptConnections<C extends Keepable> {
  /** The one that has been free longest comes first. */
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

  /** So many connections are in use now. */
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
  ended({ freeSince }: C, error: NodeJS.ErrnoException | undefined): void {
    // A connection that has brought no response yet says nothing.
    if (error !== undefined && isClosedByPeer(error) && freeSince > 0) {
      this.#keepAliveTime.closedAfter(Date.now() - freeSince);
    }
  }

  /** Whether none of them was used after this time. */
  isIdleSince(time: number): boolean {
    return this.#free.every(({ stats, freeSince }) => !stats.connected || freeSince < time);
  }

  /**
   * @param total How many connections there are, those in use included.
   * @returns one that is free no more, or `undefined` where a new one should be opened.
   */
  take(total: number): C | undefined {
    const longest = this.#free[0];
    if (longest !== undefined && this.#keepAliveTime.isKnown) return this.#takeLasting(longest);
    // With one or none there is no choice, and no need for the time.
    if (longest === undefined || this.#free.length === 1) return this.#free.pop();
    const now = Date.now();
    if (now - longest.freeSince < STALE_MS) return this.#free.pop();
    if (!longest.stats.connected) {
      // The backend closed it behind its last response: only the object is left.
      this.#free.shift();
      this.#drop(longest);
    } else if (total <= this.#mostInUse.of(total - this.#free.length, now)) return this.#free.shift();
    return this.#free.pop();
  }

  /** The one that became free last, unless the backend may be closing it at this moment. Then all others are older still. */
  #takeLasting(longest: C): C | undefined {
    const now = Date.now();
    if (this.#keepAliveTime.isContradictedBy(now - longest.freeSince)) this.#checkWhetherOpen(longest);
    const last = this.#free.pop() as C;
    if (!last.stats.connected || this.#keepAliveTime.allows(now - last.freeSince)) return last;
    // A new one takes its place. The oldest stays, to show when the backend closes.
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

  /** The count is this at present. */
  observe(count: number): void {
    if (count > this.#now) this.#now = count;
  }

  /** @param present The count at this moment: a new window begins with it. */
  of(present: number, now: number): number {
    const age = now - this.#since;
    // A wall clock that is set back must not make a window an hour longer.
    if (age >= WINDOW_MS || age < 0) {
      this.#before = age < 2 * WINDOW_MS ? this.#now : 0;
      this.#now = present;
      this.#since = now;
    }
    return Math.max(this.#now, this.#before);
  }
}
