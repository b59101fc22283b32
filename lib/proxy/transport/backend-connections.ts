import type { Socket } from 'node:net';
import type { Dispatcher } from 'undici';
import { HeaderSpelling } from '../response/header-spelling.ts';
import { proofOf } from './backend-tls.ts';
import { BoundConnections } from './bound-connections.ts';
import type { Connections, RequestConnection, ResponseHandler } from './connections.ts';
import { KeptConnections } from './kept-connections.ts';
import { Client, type ClientOptions, type Connector, errors } from './undici.ts';

/** Milliseconds after which a backend with idle connections may be forgotten. */
const IDLE_MS = 10_000;

export interface BackendConnectionsOptions {
  /** Which backend it is, among all that share `bound`. Default: its origin. */
  readonly identity?: string;
  readonly origin: string;
  readonly connect: Connector;
  /**
   * The name, or the address, that a certificate must be for. Without it, undici takes it from the `Host` header of each
   * request: then the client chooses the name, and a request for another host closes the connection.
   */
  readonly serverName?: string | undefined;
  /** The connections that belong to one client each, to all backends. */
  readonly bound?: BoundConnections<Connection>;
  /** Whether a connection is used for more than one request. Default true. */
  readonly keepAlive?: boolean;
}

/** One connection, which may still have to be opened. */
export class Connection extends Client implements RequestConnection {
  isFree = false;
  isDropped = false;
  isBound = false;
  /** `Date.now()` when it became free; 0 until its first response on this socket. */
  freeSince = 0;
  readonly #owner: ConnectionOwner;

  constructor(origin: URL, options: ClientOptions, owner: ConnectionOwner) {
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
 * The connections to one backend, with one request at a time on each: a slow response must not hold up another request.
 * undici's `Pool` is not used because it searches all connections for each request, and has a queue of 16 KiB for waiting requests, of
 * which there are none here.
 */
export class BackendConnections implements Connections, ConnectionOwner {
  readonly keepAlive: boolean;
  readonly #identity: string;
  readonly #origin: URL;
  readonly #options: ClientOptions;
  /** The same for all requests, because a connection with another name must be closed. */
  readonly #serverName: string | undefined;
  /** Spelling of the backend's header names. */
  readonly spelling = new HeaderSpelling();
  readonly #all = new Set<Connection>();
  readonly #free = new KeptConnections<Connection>((connection) => this.drop(connection));
  readonly #bound: BoundConnections<Connection>;
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
      // The watchdog does both at a lower cost, and does not cut event streams.
      headersTimeout: 0,
      bodyTimeout: 0,
    };
  }

  dispatch(
    options: Dispatcher.DispatchOptions,
    handler: ResponseHandler,
    client?: Socket,
  ): RequestConnection | undefined {
    if (this.#closed) {
      handler.onResponseError(null, new errors.ClientClosedError());
      return undefined;
    }
    if (this.#serverName !== undefined) Object.assign(options, { servername: this.#serverName });
    const own = client && this.#bound.find(client, this.#identity);
    const connection = own?.isFree === true ? own : (this.#free.take(this.#all.size) ?? this.#open());
    connection.isFree = false;
    this.#free.observe(this.#inUse);
    const takesMore = connection.dispatch(options, handler);
    // No `drain` follows a request that undici rejects.
    if (takesMore || connection.stats.size === 0) this.#release(connection);
    return connection;
  }

  bind(connection: Connection, client: Socket): void {
    // undici rejected the request, and the connection is free again.
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

  get isIdle(): boolean {
    if (this.#inUse > 0) return false;
    return this.#free.isIdleSince(Date.now() - IDLE_MS);
  }

  /** Upgraded connections do not belong to these. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#all].map((connection) => connection.close()));
  }

  async destroy(error: Error): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#all].map((connection) => connection.destroy(error)));
  }

  get #inUse(): number {
    return this.#all.size - this.#free.length;
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
    if (!connection.isBound) this.#free.add(connection);
  }

  #disconnected(connection: Connection, error: NodeJS.ErrnoException): void {
    if (!connection.isFree || connection.isDropped) return;
    this.#free.ended(connection, error);
    // Otherwise the objects of closed connections would pile up.
    this.#free.remove(connection);
    this.drop(connection);
  }
}

/** undici reads the origin of the URL for each request, and a URL builds that string each time. */
function withOrigin(url: URL): URL {
  return Object.defineProperty(url, 'origin', { value: url.origin });
}

/** Without a server name, undici would take that of `Host`. */
function connectAs(serverName: string, connect: Connector): Connector {
  const { servername = '' } = proofOf(serverName);
  return (target, callback) => connect({ ...target, servername }, callback);
}
