import type { Socket } from 'node:net';
import { GatewayError } from '../../core/errors.ts';
import { BackendConnections, type Connection } from './backend-connections.ts';
import { type BackendTlsOptions, connectorTls } from './backend-tls.ts';
import { BoundConnections } from './bound-connections.ts';
import type { Connections } from './connections.ts';
import { RemovedError } from './failure.ts';
import { correctHeads, failsAtReset } from './http-version.ts';
import { Http2Connections } from './http2-connections.ts';
import { buildConnector, type Connector } from './undici.ts';
import { deliverUnreadResponse } from './unread-response.ts';

export interface ConnectionOptions {
  /** Timeout for connecting, in milliseconds. */
  readonly connectTimeoutMs: number;
  /** TLS to backends. Default: the system's certificate authorities, and no certificate of the gateway's own. */
  readonly tls?: BackendTlsOptions;
  /** Protocol of the backends. Default `http1`. */
  readonly protocol?: BackendProtocol;
  /** Whether to forget backends that got no request for a while. Default: they stay until `remove()`. */
  readonly forgetIdle?: boolean;
}

/** `http2`: over TLS by ALPN, else with prior knowledge ("h2c"). */
export type BackendProtocol = 'http1' | 'http2';

/** Number of known backends from which on idle ones are forgotten. */
const FORGET_FROM = 100;

const kBytesRead = Symbol('expressway.bytesRead');

/** Bytes that a connection had received before this error ended it. More than 0 means that it had carried a response before. */
export function bytesReadBefore(error: Error): number {
  const own = (error as { [kBytesRead]?: number })[kBytesRead];
  // undici's own SocketError describes the socket.
  return own ?? (error as { socket?: { bytesRead?: number } }).socket?.bytesRead ?? 0;
}

/** The target of connections, and the name that its certificate must have. */
export interface Destination {
  /**
   * Destinations with the same identity share connections. Two destinations with one address and different certificate names have different
   * identities.
   */
  readonly identity: string;
  readonly origin: string;
  /** Name that a certificate must be for. Default: the name in the `Host` header of a request. */
  readonly serverName?: string;
  /** Whether a connection is used for more than one request. Default true. */
  readonly keepAlive?: boolean;
}

/** The connections to all backends. */
export class AllConnections {
  /** Connections by identity. */
  readonly #current = new Map<string, Connections>();
  /** Connections to backends that left, until their requests have ended. */
  readonly #leaving = new Map<Connections, { readonly identity: string; readonly closed: Promise<void> }>();
  readonly #bound = new BoundConnections<Connection>();
  readonly #connectTimeoutMs: number;
  readonly #protocol: BackendProtocol;
  #connect: Connector;
  /** The name that every certificate must be for, if the option `serverName` was given. */
  #serverName: string | undefined;
  #forgetFrom: number;

  constructor({ connectTimeoutMs, tls = {}, protocol = 'http1', forgetIdle = false }: ConnectionOptions) {
    assertNode();
    this.#forgetFrom = forgetIdle ? FORGET_FROM : Number.POSITIVE_INFINITY;
    this.#connectTimeoutMs = connectTimeoutMs;
    this.#protocol = protocol;
    this.#serverName = tls.serverName;
    this.#connect = backendConnector(tls, connectTimeoutMs, protocol);
  }

  get isHttp2(): boolean {
    return this.#protocol === 'http2';
  }

  /** Applies to new connections. Requests in progress end on the old ones, which then close. */
  setTls(tls: BackendTlsOptions): void {
    this.#serverName = tls.serverName;
    this.#connect = backendConnector(tls, this.#connectTimeoutMs, this.#protocol);
    for (const [identity, { isSecure }] of [...this.#current]) if (isSecure) this.remove(identity);
  }

  to({ identity, origin, serverName, keepAlive = true }: Destination): Connections {
    let connections = this.#current.get(identity);
    if (connections?.keepAlive !== keepAlive) {
      // The configuration changed: connections of the old one are not used again.
      this.remove(identity);
      if (this.#current.size >= this.#forgetFrom) this.#forgetIdle();
      const options = {
        identity,
        origin,
        connect: this.#connect,
        serverName: this.#serverName ?? serverName,
        keepAlive,
      };
      connections =
        this.#protocol === 'http2'
          ? new Http2Connections({ ...options, connectTimeoutMs: this.#connectTimeoutMs })
          : new BackendConnections({ ...options, bound: this.#bound });
      this.#current.set(identity, connections);
    }
    return connections;
  }

  /**
   * The identity of the backend at which this client authenticated its connection (NTLM, Negotiate): no other backend knows who
   * sends its requests.
   */
  boundTo(client: Socket): string | undefined {
    return this.#bound.backendOf(client);
  }

  /**
   * Closes the connections to a backend that left the pool, after their running requests. Upgraded connections do not belong to them.
   */
  remove(identity: string): void {
    const connections = this.#current.get(identity);
    if (connections === undefined) return;
    this.#current.delete(identity);
    const closed = connections.close().finally(() => this.#leaving.delete(connections));
    this.#leaving.set(connections, { identity, closed });
  }

  /** The next search comes when there are twice as many backends as now, because each search checks all of them. */
  #forgetIdle(): void {
    for (const [identity, connections] of this.#current) if (connections.isIdle) this.remove(identity);
    this.#forgetFrom = Math.max(FORGET_FROM, 2 * this.#current.size);
  }

  /** Ends the requests on old connections to a backend that left. If it came back, its new connections stay. */
  cut(identity: string): void {
    for (const [connections, leaving] of this.#leaving) {
      if (leaving.identity === identity) void connections.destroy(new RemovedError('the backend was removed'));
    }
  }

  /** Resolves when the running requests have ended, and each connection that is being opened is open or has failed. */
  async close(): Promise<void> {
    for (const identity of [...this.#current.keys()]) this.remove(identity);
    await Promise.all([...this.#leaving.values()].map(({ closed }) => closed));
  }

  /** Call it after `close()`, when no request runs: it no longer waits for connections that are being opened. */
  destroy(): void {
    for (const connections of this.#leaving.keys()) void connections.destroy(new Error('the proxy is closed'));
  }
}

/** Throws on Bun, whose sockets lack methods that undici needs: requests would fail with an error that does not name the cause. */
function assertNode(): void {
  if (process.versions.bun === undefined) return;
  throw new GatewayError('ERR_EXPRESSWAY_RUNTIME', 'the proxy does not run on Bun: run the app with Node');
}

/** Makes connections to backends, with better error reports than undici's own connector. */
export function backendConnector(
  tls: BackendTlsOptions,
  connectTimeoutMs: number,
  protocol: BackendProtocol,
): Connector {
  const isHttp2 = protocol === 'http2';
  const connect = buildConnector({
    ...connectorTls(tls),
    timeout: connectTimeoutMs,
    allowH2: isHttp2,
    preferH2: isHttp2,
  });
  if (isHttp2) return connect;
  return (target, callback) => {
    connect(target, (error, socket) => {
      if (error !== null) {
        callback(error, null);
        return;
      }
      deliverUnreadResponse(socket);
      // Before undici's listener, which passes the error on without the facts of the socket.
      socket.on('error', (broken: NodeJS.ErrnoException) => {
        Object.assign(broken, { [kBytesRead]: socket.bytesRead });
        if (broken.code === 'ECONNRESET' && !failsAtReset(socket)) hideReset(socket, broken);
        else if (isTlsError(broken)) keepError(socket, broken);
      });
      callback(null, socket);
      // The socket has its parser now, and no response yet.
      correctHeads(socket);
    });
  };
}

/**
 * An error of TLS after the handshake. With TLS 1.3, a backend refuses the gateway's certificate only then. The code of a `DOMException`, with
 * which an aborted or late check ends its connection, is a number.
 */
const isTlsError = ({ code }: NodeJS.ErrnoException): boolean => String(code).startsWith('ERR_SSL_');

/** Closes the socket with this error later. Node leaves it open, and undici would call its end "other side closed". */
function keepError(socket: Socket, error: Error): void {
  const { destroy } = socket;
  socket.destroy = () => destroy.call(socket, error);
}

/** Gives a reset another code until the socket is closed, so that an undici with another parser treats it like any other error. */
function hideReset(socket: Socket, error: NodeJS.ErrnoException): void {
  error.code = 'RESET';
  // Before undici's own listener, which passes the error on.
  socket.prependOnceListener('close', () => {
    error.code = 'ECONNRESET';
  });
}
