import { type ClientHttp2Session, connect, type SecureClientSessionOptions } from 'node:http2';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { proofOf } from './backend-tls.ts';
import type { RequestConnection } from './connections.ts';
import type { Http2Request } from './http2-request.ts';
import type { Connector } from './undici.ts';

/** Limit of the requests in progress on one connection. The backend may set a lower limit. */
const MOST_STREAMS = 100;
/** Content that a backend may send ahead, for one request and for all of a connection. */
const STREAM_WINDOW_BYTES = 65_536;
const CONNECTION_WINDOW_BYTES = 1_048_576;
const MOST_HEADERS = 1_000;

const sessionOptions: SecureClientSessionOptions = {
  maxHeaderListPairs: MOST_HEADERS,
  settings: { enablePush: false, initialWindowSize: STREAM_WINDOW_BYTES },
};

export interface Http2ConnectionOptions {
  readonly origin: URL;
  readonly connect: Connector;
  /** Milliseconds in which the backend must send its settings on a new connection. */
  readonly connectTimeoutMs: number;
  /** The name that a certificate must be for. */
  readonly serverName: string | undefined;
}

/** One HTTP/2 connection. It sends requests after it has got the backend's settings, which prove that the backend speaks HTTP/2. */
export class Http2Connection implements RequestConnection {
  readonly isReused = false;
  readonly ended: Promise<void>;
  readonly #sendElsewhere: (request: Http2Request) => void;
  #socket: Socket | undefined;
  #session: ClientHttp2Session | undefined;
  /** Requests that wait for the settings. */
  #waiting: Http2Request[] | undefined = [];
  #inProgress = new Set<Http2Request>();
  #most = MOST_STREAMS;
  /** Whether it takes no further request. */
  #isLeaving = false;
  #hasResponded = false;
  #error: Error | undefined;
  #late: NodeJS.Timeout | undefined;
  #end: () => void = () => {};

  /** @param sendElsewhere Gets the requests above the backend's limit for one connection. */
  constructor(options: Http2ConnectionOptions, sendElsewhere: (request: Http2Request) => void) {
    const { origin, connect: open, connectTimeoutMs, serverName } = options;
    this.#sendElsewhere = sendElsewhere;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    const { protocol, port } = origin;
    const hostname = origin.hostname.replace(/^\[(.*)\]$/, '$1');
    const proof = serverName === undefined ? {} : proofOf(serverName);
    open({ hostname, protocol, port, ...proof }, (failure, socket) => {
      if (failure !== null) this.#failed(failure);
      else if (this.#error !== undefined) socket.destroy();
      else this.#connected(origin, socket, connectTimeoutMs);
    });
  }

  /** Requests in progress. */
  get #inUse(): number {
    return this.#inProgress.size + (this.#waiting?.length ?? 0);
  }

  get hasRoom(): boolean {
    return !this.#isLeaving && this.#session?.destroyed !== true && this.#inUse < this.#most;
  }

  send(request: Http2Request): void {
    if (this.#waiting === undefined) this.#begin(request);
    else this.#waiting.push(request);
  }

  /** Sends no further request. The connection closes after those in progress. */
  retire(): void {
    this.#isLeaving = true;
    // Not earlier: the GOAWAY could overtake the head of a request.
    if (this.#inUse > 0) return;
    this.#session?.destroy();
    // Node itself would wait for the backend to close its side.
    setImmediate(() => this.#socket?.destroy());
  }

  /** NTLM and Negotiate authenticate connections, which HTTP/2 does not provide for. */
  bindTo(): void {}

  destroy(error: Error): void {
    this.#session?.destroy(error);
    this.#socket?.destroy();
    this.#failed(error);
  }

  #connected(origin: URL, socket: Socket, timeoutMs: number): void {
    this.#socket = socket;
    if (origin.protocol === 'https:' && (socket as TLSSocket).alpnProtocol !== 'h2') {
      this.destroy(Object.assign(new Error('the backend does not offer HTTP/2'), { code: 'ERR_TLS_ALPN' }));
      return;
    }
    // A busy process first reads the bytes that have arrived, so that it does not blame the backend.
    this.#late = setTimeout(() => setImmediate(() => this.#noSettings()), timeoutMs).unref();
    const session = connect(origin, { ...sessionOptions, createConnection: () => socket });
    this.#session = session;
    // Node ends the session at an error of TLS without an event, and leaves the socket open.
    socket.once('error', (error) => {
      this.#error ??= error;
      socket.destroy();
    });
    session.once('connect', () => {
      // It may have ended in the meantime.
      if (!session.destroyed) session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
    });
    session.on('remoteSettings', ({ maxConcurrentStreams = MOST_STREAMS }) => {
      this.#most = Math.min(maxConcurrentStreams, MOST_STREAMS);
      this.#begins();
    });
    session.on('goaway', (_code, lastStreamId) => {
      for (const request of this.#inProgress) request.goneAway(lastStreamId);
      this.retire();
    });
    session.on('error', (error) => {
      this.#error ??= error;
    });
    session.once('close', () => this.#failed(this.#error ?? new Error('the backend closed the connection')));
  }

  #noSettings(): void {
    if (this.#waiting === undefined) return;
    this.destroy(Object.assign(new Error('the backend sent no HTTP/2 settings in time'), { code: 'ETIMEDOUT' }));
  }

  #begins(): void {
    const waiting = this.#waiting;
    if (waiting === undefined) return;
    clearTimeout(this.#late);
    this.#waiting = undefined;
    this.#session?.unref();
    // At least one, because a backend that allows none would cause new connections without end.
    for (const [index, request] of waiting.entries()) {
      if (index === 0 || this.#inProgress.size < this.#most) this.#begin(request);
      else this.#sendElsewhere(request);
    }
    // All requests may have ended in the meantime.
    if (this.#isLeaving) this.retire();
  }

  #begin(request: Http2Request): void {
    const session = this.#session as ClientHttp2Session;
    const { bytesRead } = this.#socket as Socket;
    const stream = request.begin(session, this.#hasResponded);
    if (stream === undefined) return;
    if (this.#inProgress.size === 0) session.ref();
    this.#inProgress.add(request);
    stream.once('response', () => {
      this.#hasResponded = true;
    });
    stream.once('close', () => {
      this.#inProgress.delete(request);
      if (this.#inProgress.size === 0) session.unref();
      // If the backend was silent until the request was aborted, the connection may be dead.
      const isSilent = request.aborted && this.#socket?.bytesRead === bytesRead;
      if (isSilent || this.#isLeaving) this.retire();
    });
  }

  #failed(error: Error): void {
    clearTimeout(this.#late);
    this.#error ??= error;
    this.#isLeaving = true;
    const waiting = this.#waiting ?? [];
    this.#waiting = [];
    for (const request of waiting) request.fail(error);
    this.#end();
  }
}
