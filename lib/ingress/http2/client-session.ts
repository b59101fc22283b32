import type { Server } from 'node:http';
import {
  constants,
  performServerHandshake,
  type SecureServerSessionOptions,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { RejectionCause } from '../../core/outcome.ts';
import type { ClientAddress } from './client-socket.ts';
import { isGone, whenOver } from './failed-connection.ts';
import type { Http2ServerSettings } from './http2-server-options.ts';
import { StreamConnection, type StreamOwner } from './stream-connection.ts';
import { MalformedRequest, readStreamRequest, type StreamRequest } from './stream-request.ts';

const { NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_FLAG_END_STREAM, NGHTTP2_NO_ERROR } = constants;

/** RFC 9113 §6.8: a GOAWAY with this number announces the end, and still accepts every stream that is on its way. */
const EVERY_STREAM = 2 ** 31 - 1;
/** Flow control windows of one stream and of all: the values of Envoy's guide for edge proxies. */
const STREAM_WINDOW_BYTES = 65_536;
const CONNECTION_WINDOW_BYTES = 1_048_576;
/** Bytes of the headers of a request, plus 32 for each (RFC 9113 §6.5.2). The HTTP/1.1 parser rejects far shorter ones with a response. */
const MOST_HEADER_BYTES = 65_536;
/** High, because a browser sends each cookie as a separate field. The limit of bytes bounds the number anyway. */
const MOST_HEADERS = 2_000;
/** PING and SETTINGS frames that a client may send within 10 seconds. */
const MOST_CONTROL_FRAMES = 10_000;
const WINDOW_MS = 10_000;
/**
 * RST_STREAM frames that nghttp2 accepts, at once and in each second. Its defaults, 1 000 and 33, would end a busy connection of a proxy
 * with all its streams. This class detects attacks by resets itself.
 */
const MOST_RESET_FRAMES = 10_000;
const ANY_NUMBER = 2 ** 31 - 1;
/** The share of streams from which resets count as an attack. A proxy for many clients resets many streams, but a small share of all. */
const RESET_SHARE = 0.5;
/** Milliseconds after the GOAWAY in which a client may still open streams, because it may not have read the GOAWAY yet. */
const LEAVE_MS = 1_000;
/** Milliseconds after the GOAWAY until the server closes a connection without streams. */
const GONE_MS = 5_000;
/** Error numbers of nghttp2 for too many acknowledgements, and for too many streams (a callback of Node failed). */
const FLOODS: ReadonlySet<number> = new Set([-904, -902]);
/** Unused connections in memory that a session keeps for its next streams. */
const KEPT_CONNECTIONS = 4;

const kSession = Symbol('expressway.clientSession');

type WithSession = Socket & { [kSession]?: ClientSession };

/** The HTTP/2 session on a connection, if it has one. */
export function sessionOn(socket: Socket): ClientSession | undefined {
  return (socket as WithSession)[kSession];
}

/** The server of a session, as the session uses it. */
export interface SessionHost {
  readonly server: Server;
  readonly settings: Http2ServerSettings;
  /** Takes a connection in memory like one that was accepted. */
  accept(connection: StreamConnection): void;
  refused(cause: RejectionCause, address: string | undefined): void;
  forget(session: ClientSession): void;
}

/** One HTTP/2 connection of a client, whose streams become HTTP/1.1 requests to the same server. */
export class ClientSession implements StreamOwner {
  readonly #host: SessionHost;
  readonly #socket: TLSSocket;
  readonly #address: ClientAddress;
  readonly #session: ServerHttp2Session;
  /** Connections without a request. */
  readonly #idle: StreamConnection[] = [];
  /** Streams in progress. */
  #open = 0;
  #total = 0;
  /** `Date.now()` when its last stream ended, or when the GOAWAY was sent. */
  #since = Date.now();
  #isLeaving = false;
  // Counts of the present window of 10 seconds.
  #windowEndsAt = 0;
  #streams = 0;
  #resets = 0;
  #controlFrames = 0;

  constructor(host: SessionHost, socket: TLSSocket) {
    this.#host = host;
    this.#socket = socket;
    const { remoteAddress, remoteFamily, remotePort, localAddress, localFamily, localPort } = socket;
    this.#address = { remoteAddress, remoteFamily, remotePort, localAddress, localFamily, localPort };
    const { maxConcurrentStreams, maxResets } = host.settings;
    const mostResets = maxResets > 0 ? MOST_RESET_FRAMES : ANY_NUMBER;
    const options: SecureServerSessionOptions & { strictSingleValueFields: boolean } = {
      maxHeaderListPairs: MOST_HEADERS,
      streamResetBurst: mostResets,
      streamResetRate: mostResets,
      // In MB. Node refuses streams beyond it, so the data in flight of all streams must fit.
      maxSessionMemory: 10 + Math.ceil(maxConcurrentStreams / 4),
      // A response with repeated fields reaches the client, as over HTTP/1.1.
      strictSingleValueFields: false,
      settings: {
        maxConcurrentStreams,
        maxHeaderListSize: MOST_HEADER_BYTES,
        initialWindowSize: STREAM_WINDOW_BYTES,
        enableConnectProtocol: host.server.listenerCount('upgrade') > 0,
      },
    };
    const session = performServerHandshake(socket, options);
    this.#session = session;
    whenOver(session, () => this.#over());
    (socket as WithSession)[kSession] = this;
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
    session.on('stream', (stream, _fields, flags, raw) => this.#began(stream, flags, raw as readonly string[]));
    session.on('error', (error) => this.#failed(error));
    session.on('ping', () => this.#countControlFrame());
    session.on('remoteSettings', () => this.#countControlFrame());
    session.once('close', () => this.#closed());
    // Node reports a client that renegotiates (RFC 9113 §9.2.1), and keeps its connection.
    socket.on('error', () => this.destroy());
  }

  get openStreams(): number {
    return this.#open;
  }

  /** Ends the session if it is idle or has to leave. Called once a second. */
  look(now: number): void {
    if (this.#open > 0) {
      if (isGone(this.#socket)) this.destroy();
      return;
    }
    for (const connection of this.#idle.splice(KEPT_CONNECTIONS)) connection.destroy();
    // Otherwise a clock that was set back would delay the end.
    this.#since = Math.min(this.#since, now);
    const quietMs = now - this.#since;
    const { headersTimeout, keepAliveTimeout, listening } = this.#host.server;
    const mostMs = this.#total > 0 || headersTimeout === 0 ? keepAliveTimeout : headersTimeout;
    if (this.#isLeaving) {
      if (quietMs >= GONE_MS) this.destroy();
    } else if (!listening || (mostMs > 0 && quietMs >= mostMs)) {
      this.leave(LEAVE_MS);
    }
  }

  /**
   * Ends the connection without harm to its streams. A GOAWAY tells the client to open no more streams. Streams in progress, and those
   * that the client opens before it has read the GOAWAY, are still served (RFC 9113 §6.8).
   */
  leave(graceMs: number): void {
    if (this.#isLeaving || this.#session.destroyed) return;
    this.#isLeaving = true;
    this.#since = Date.now();
    this.#session.goaway(NGHTTP2_NO_ERROR, EVERY_STREAM);
    const timer = setTimeout(() => this.#session.close(), graceMs).unref();
    this.#session.once('close', () => clearTimeout(timer));
  }

  /** Ends the connection with all that is on it. */
  destroy(): void {
    this.#session.destroy();
    this.#socket.destroy();
  }

  ended(): void {
    this.#open -= 1;
    if (this.#open === 0) this.#since = Date.now();
  }

  release(connection: StreamConnection): void {
    this.#idle.push(connection);
  }

  reset(): void {
    this.#resets += 1;
    const { maxResets } = this.#host.settings;
    if (maxResets > 0 && this.#resets > maxResets && this.#resets >= this.#streams * RESET_SHARE) this.#calm();
  }

  #began(stream: ServerHttp2Stream, flags: number, raw: readonly string[]): void {
    this.#renewWindow();
    this.#streams += 1;
    this.#total += 1;
    // `close` handles streams with errors, too.
    stream.on('error', () => {});
    if (stream.closed || stream.destroyed) {
      this.reset();
      return;
    }
    this.#open += 1;
    const { maxRequestsPerSocket } = this.#host.server;
    if (maxRequestsPerSocket !== null && maxRequestsPerSocket > 0 && this.#total >= maxRequestsPerSocket)
      this.leave(LEAVE_MS);
    let request: StreamRequest;
    try {
      request = readStreamRequest(raw, (flags & NGHTTP2_FLAG_END_STREAM) !== 0);
    } catch (error) {
      if (!(error instanceof MalformedRequest)) throw error;
      this.#connection().refuse(stream, error);
      return;
    }
    this.#connection().carry(stream, request);
  }

  /** A free connection in memory, or a new one. */
  #connection(): StreamConnection {
    const last = this.#idle.at(-1);
    if (last?.isFree === true) {
      this.#idle.pop();
      return last;
    }
    const connection = new StreamConnection(this.#socket, this.#address, this);
    connection.once('close', () => {
      const index = this.#idle.indexOf(connection);
      if (index !== -1) this.#idle.splice(index, 1);
    });
    this.#host.accept(connection);
    return connection;
  }

  #renewWindow(): void {
    const now = Date.now();
    if (now < this.#windowEndsAt && now > this.#windowEndsAt - 2 * WINDOW_MS) return;
    this.#windowEndsAt = now + WINDOW_MS;
    this.#streams = 0;
    this.#resets = 0;
    this.#controlFrames = 0;
  }

  #countControlFrame(): void {
    this.#renewWindow();
    this.#controlFrames += 1;
    if (this.#controlFrames > MOST_CONTROL_FRAMES) this.#calm();
  }

  /** Ends the connection of a client that sends too many resets or control frames. */
  #calm(): void {
    if (this.#session.destroyed) return;
    this.#host.refused('client_overload', this.#address.remoteAddress);
    this.#session.destroy(
      new Error('The client resets too many streams or sends too many control frames.'),
      NGHTTP2_ENHANCE_YOUR_CALM,
    );
  }

  /** nghttp2 neither reads nor writes any more: the client broke the protocol, or the last stream has ended after a GOAWAY. */
  #over(): void {
    // Streams may still come in the moment that leave() gives.
    if (!this.#isLeaving || this.#session.closed) this.#session.destroy();
  }

  /** Reports why the session failed. Its streams are closed by Node, and report that themselves. */
  #failed({ code, errno }: NodeJS.ErrnoException): void {
    const isFlood = code?.startsWith('ERR_HTTP2_TOO_MANY') || FLOODS.has(errno ?? 0);
    if (isFlood) this.#host.refused('client_overload', this.#address.remoteAddress);
    else if (code === 'ERR_HTTP2_ERROR') this.#host.refused('bad_request', this.#address.remoteAddress);
  }

  #closed(): void {
    for (const connection of [...this.#idle]) connection.destroy();
    this.#host.forget(this);
  }
}
