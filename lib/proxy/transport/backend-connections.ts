import { isIP, type Socket } from 'node:net';
import { type buildConnector, Client, type Dispatcher, errors } from 'undici';
import { HeaderSpelling } from '../response/header-spelling.ts';
import { BoundConnections } from './bound-connections.ts';
import { isClosedByPeer, KeepAliveTime } from './keep-alive-time.ts';
import { RecentPeak } from './recent-peak.ts';

/** undici closes a connection that was free for 4 s, or 2 s before the time that the backend announced. */
const STALE_MS = 1_000;

/** A connection that was free for so long is not missed. */
const IDLE_MS = 10_000;

export interface BackendConnectionsOptions {
  /** Which backend it is, among all that share `bound`. Default: its origin. */
  readonly identity?: string;
  readonly origin: string;
  readonly connect: buildConnector.connector;
  /**
   * The name, or the address, that a certificate must be for. undici would take it from the `Host` field of each
   * request: the client would choose what the certificate is checked for, and a request for another host would find
   * every connection closed. Without it, that is how it is.
   */
  readonly serverName?: string | undefined;
  /** Those that belong to one client each, at all origins. */
  readonly bound?: BoundConnections<Connection>;
  /** Whether a connection is used for more than one request. Default true. */
  readonly keepAlive?: boolean;
}

/** The connection that a request is on. */
export interface RequestConnection {
  /** Whether it has brought a response before. */
  readonly isReused: boolean;
  /** Closes it when the request is over: no other one is sent on it. */
  retire(): void;
  /** Keeps it for this client until one of the two connections ends. */
  bindTo(client: Socket): void;
}

/** One connection, or the place for one. */
export class Connection extends Client implements RequestConnection {
  isFree = false;
  isDropped = false;
  isBound = false;
  /** `Date.now()` when it became free; 0 until its first response on this socket. */
  freeSince = 0;
  readonly #owner: ConnectionOwner;

  constructor(origin: URL, options: Client.Options, owner: ConnectionOwner) {
    super(origin, options);
    this.#owner = owner;
  }

  get isReused(): boolean {
    return this.freeSince > 0;
  }

  retire(): void {
    this.#owner.drop(this);
  }

  bindTo(client: Socket): void {
    this.#owner.bind(this, client);
  }
}

interface ConnectionOwner {
  drop(connection: Connection): void;
  bind(connection: Connection, client: Socket): void;
}

/**
 * The connections to one backend, with one request at a time on each: a slow answer must not hold up another request.
 * The one that was free last is taken first, so that those which nobody needs any more time out; those that were needed
 * not long ago are used before they do (docs/decisions/0032). (undici's `Pool` looks through all of them for each
 * request, and has a queue of 16 KiB for requests that wait, which they never do here.)
 */
export class BackendConnections implements ConnectionOwner {
  readonly keepAlive: boolean;
  readonly #identity: string;
  readonly #origin: URL;
  readonly #options: Client.Options;
  /** The same for all requests, whatever it is: a change of it costs the connection. */
  readonly #serverName: string | undefined;
  /** Of the names of its response headers. */
  readonly spelling = new HeaderSpelling();
  readonly #all = new Set<Connection>();
  /** Whichever has been free longest comes first. */
  readonly #free: Connection[] = [];
  readonly #bound: BoundConnections<Connection>;
  readonly #mostInUse = new RecentPeak();
  readonly #keepAliveTime = new KeepAliveTime();
  #isChecking = false;
  #closed = false;

  constructor(options: BackendConnectionsOptions) {
    const {
      origin,
      identity = origin,
      connect,
      serverName,
      bound = new BoundConnections(),
      keepAlive = true,
    } = options;
    this.#identity = identity;
    this.keepAlive = keepAlive;
    this.#bound = bound;
    this.#origin = withOrigin(new URL(origin));
    if (serverName !== undefined && origin.startsWith('https:')) {
      this.#serverName = serverName.replace(/^\[(.*)\]$/, '$1');
    }
    this.#options = {
      connect: this.#serverName === undefined ? connect : connectAs(this.#serverName, connect),
      // With 0, undici asks the backend to close, and closes behind each response.
      pipelining: keepAlive ? 1 : 0,
      allowH2: false,
      // The watchdog sees to both, more cheaply and without cutting event streams.
      headersTimeout: 0,
      bodyTimeout: 0,
    };
  }

  /**
   * @param client Whose request it is.
   * @returns nothing when they are closed; the handler is told so.
   */
  dispatch(
    options: Dispatcher.DispatchOptions,
    handler: Dispatcher.DispatchHandler,
    client: Socket,
  ): RequestConnection | undefined {
    if (this.#closed) {
      handler.onResponseError?.(null as unknown as Dispatcher.DispatchController, new errors.ClientClosedError());
      return undefined;
    }
    if (this.#serverName !== undefined) Object.assign(options, { servername: this.#serverName });
    const own = this.#bound.find(client, this.#identity);
    const connection = own?.isFree === true ? own : (this.#takeFree() ?? this.#open());
    connection.isFree = false;
    this.#mostInUse.observe(this.#inUse);
    const takesMore = connection.dispatch(options, handler);
    // A request that undici refuses leaves nothing behind that would be followed by a `drain`.
    if (takesMore || connection.stats.size === 0) this.#release(connection);
    return connection;
  }

  bind(connection: Connection, client: Socket): void {
    // A request that undici refused has left its connection as it was.
    if (connection.isFree) return;
    connection.isBound = true;
    this.#bound.bind(client, this.#identity, connection);
  }

  drop(connection: Connection): void {
    connection.isDropped = true;
    if (this.#all.delete(connection) && !connection.destroyed) void connection.close();
  }

  get isSecure(): boolean {
    return this.#origin.protocol === 'https:';
  }

  /** Whether nothing runs here, and no connection is left that was used a short while ago. */
  get isIdle(): boolean {
    if (this.#inUse > 0) return false;
    const since = Date.now() - IDLE_MS;
    return this.#free.every(({ stats, freeSince }) => !stats.connected || freeSince < since);
  }

  /** Lets running requests end. Upgraded connections are no longer among these. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#all].map((connection) => connection.close()));
  }

  /** Ends running requests with this error. */
  async destroy(error: Error): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#all].map((connection) => connection.destroy(error)));
  }

  get #inUse(): number {
    return this.#all.size - this.#free.length;
  }

  #takeFree(): Connection | undefined {
    const longest = this.#free[0];
    if (longest !== undefined && this.#keepAliveTime.isKnown) return this.#takeLasting(longest);
    // With one or none there is nothing to choose, and no need for the time.
    if (longest === undefined || this.#free.length === 1) return this.#free.pop();
    const now = Date.now();
    if (now - longest.freeSince < STALE_MS) return this.#free.pop();
    // The backend closed it behind its last answer: only the place is left.
    if (!longest.stats.connected) this.#disconnected(longest);
    else if (this.#all.size <= this.#mostInUse.of(this.#inUse, now)) return this.#free.shift();
    return this.#free.pop();
  }

  /** The one that was free last, unless the backend may be closing it at this moment; then all others are older still. */
  #takeLasting(longest: Connection): Connection | undefined {
    const now = Date.now();
    if (this.#keepAliveTime.isContradictedBy(now - longest.freeSince)) this.#checkWhetherOpen(longest);
    const last = this.#free.pop() as Connection;
    if (!last.stats.connected || this.#keepAliveTime.allows(now - last.freeSince)) return last;
    // Another one will take its place. The oldest stays: it tells when the backend closes.
    if (last === longest) this.#free.push(last);
    else this.drop(last);
    return undefined;
  }

  /** In the next turn of the event loop but one: the news of a closed connection may still wait to be read. */
  #checkWhetherOpen(connection: Connection): void {
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

  #open(): Connection {
    const connection = new Connection(this.#origin, this.#options, this);
    this.#all.add(connection);
    connection.on('drain', () => this.#release(connection));
    connection.on('connect', () => {
      connection.freeSince = 0;
    });
    connection.on('disconnect', (_origin, _targets, error) => this.#disconnected(connection, error));
    connection.on('connectionError', () => this.drop(connection));
    return connection;
  }

  #release(connection: Connection): void {
    if (connection.isFree || connection.isDropped) return;
    connection.isFree = true;
    connection.freeSince = Date.now();
    if (!connection.isBound) this.#free.push(connection);
  }

  #disconnected(connection: Connection, error?: NodeJS.ErrnoException): void {
    if (!connection.isFree || connection.isDropped) return;
    // Not one that has brought no response yet.
    if (error !== undefined && isClosedByPeer(error) && connection.freeSince > 0) {
      this.#keepAliveTime.closedAfter(Date.now() - connection.freeSince);
    }
    // As many as ever ran at a time would pile up.
    if (!connection.isBound) this.#free.splice(this.#free.lastIndexOf(connection), 1);
    this.drop(connection);
  }
}

/** undici asks the URL for its origin on each request, and a URL puts that together each time. */
function withOrigin(url: URL): URL {
  return Object.defineProperty(url, 'origin', { value: url.origin });
}

/** An address is proved as such, and never sent as the name asked for (RFC 6066 §3). */
function connectAs(serverName: string, connect: buildConnector.connector): buildConnector.connector {
  const servername = isIP(serverName) ? '' : serverName;
  return (target, callback) => connect({ ...target, servername }, callback);
}
