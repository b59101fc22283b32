import { constants, type OutgoingHttpHeaders, type ServerStreamResponseOptions } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { markEnded } from '../../core/broken-off.ts';
import { responseOn, unreadOn } from '../connection-responses.ts';
import {
  breakOff,
  type CarriedStream,
  closeWhenSent,
  isEnded,
  listenTo,
  readFrom,
  type StreamListener,
} from './carried-stream.ts';
import { type ClientAddress, ClientSocket } from './client-socket.ts';
import { RequestContent } from './request-content.ts';
import { type ResponseFraming, ResponseReader, type ResponseSink } from './response-reader.ts';
import { MalformedRequest, type StreamRequest } from './stream-request.ts';
import { checkAccept, responseFields, sendFields, trailerFields } from './stream-response.ts';

const { HTTP_STATUS_RESET_CONTENT, NGHTTP2_NO_ERROR, NGHTTP2_PROTOCOL_ERROR } = constants;

/** Content of a malformed request. */
const UNREAD = new RequestContent('chunked', 0);

type Done = (error?: Error | null) => void;

/** One write of the app. */
interface Piece {
  readonly chunk: string | Buffer;
  readonly encoding: BufferEncoding;
}

/** The session that owns a connection. */
export interface StreamOwner {
  /** Called when a stream has closed. */
  ended(): void;
  /** Called when a stream was closed before its response was complete, and not by the app. */
  reset(): void;
  /** Called when the connection is free for the next stream. */
  release(connection: StreamConnection): void;
}

/**
 * A connection in memory that carries the requests of HTTP/2 streams to Node's HTTP/1.1 server, one after the other. To the app it
 * looks like a TLS connection of the same client.
 */
export class StreamConnection extends ClientSocket implements ResponseSink, StreamListener {
  /** Bytes of requests, as `net.Socket` counts them, like {@link bytesWritten}. */
  bytesRead = 0;
  readonly #owner: StreamOwner;
  readonly #reader = new ResponseReader(this);
  #stream: CarriedStream | undefined;
  #request: StreamRequest | undefined;
  /** Content of the request, if there is any. */
  #content: RequestContent | undefined;
  /** Whether both sides have switched to another protocol. */
  #isTunnel = false;
  #bytesTaken = 0;
  #bytesInWrite = 0;
  /** Callback of a write that waits for the stream. */
  #written: Done | undefined;
  #isWaiting = false;
  #isEndAwaited = false;
  /** The head of a response that must not have content, and has some. It is sent when that content has ended. */
  #bareHead: OutgoingHttpHeaders | undefined;

  constructor(tlsSocket: TLSSocket, address: ClientAddress, owner: StreamOwner) {
    super(tlsSocket, address);
    this.#owner = owner;
  }

  get #isRequestDone(): boolean {
    return this.#content === undefined || this.#content.isDone;
  }

  get bytesWritten(): number {
    return this.#bytesTaken + this.writableLength;
  }

  /** Whether the HTTP/1.1 server has finished the last request, so that the next one may come. */
  get isFree(): boolean {
    return this.#stream === undefined && this.writable && this.readableLength === 0 && responseOn(this) === undefined;
  }

  /** Gives the request of a stream to the HTTP/1.1 server. */
  carry(stream: CarriedStream, request: StreamRequest): void {
    this.#attach(stream, request);
    const { framing, head, length } = request;
    if (framing !== 'none') this.#content = new RequestContent(framing, length);
    if (framing === 'length' || framing === 'chunked') readFrom(stream);
    this.#give(head);
  }

  /** Makes the server reject a malformed request, without passing any of its bytes on. */
  refuse(stream: CarriedStream, error: MalformedRequest): void {
    this.#attach(stream, undefined);
    this.#content = UNREAD;
    this.emit('error', error);
  }

  #attach(stream: CarriedStream, request: StreamRequest | undefined): void {
    this.#stream = stream;
    this.#request = request;
    this.#content = undefined;
    this.#isEndAwaited = false;
    this.#bareHead = undefined;
    this.#reader.begin(request?.method ?? 'GET', request?.framing === 'tunnel');
    listenTo(stream, this);
  }

  #give(bytes: Buffer): boolean {
    this.bytesRead += bytes.length;
    return this.push(bytes);
  }

  // Events of the stream.

  contentCame(stream: CarriedStream, chunk: Buffer): void {
    const bytes = this.#orReset(() => this.#content?.part(chunk));
    if (bytes !== undefined && bytes.length > 0 && !this.#give(bytes)) stream.pause();
  }

  trailersCame(raw: readonly string[]): void {
    this.#orReset(() => this.#content?.trailers(raw));
  }

  contentEnded(stream: CarriedStream): void {
    // Node pushes an end after a reset, too.
    if (!isEnded(stream)) return;
    const bytes = this.#orReset(() => this.#content?.end());
    if (this.#isTunnel) this.push(null);
    else if (bytes !== undefined && bytes.length > 0) this.#give(bytes);
  }

  /** Calls a function of the content, and ends the stream if the content is malformed. */
  #orReset<T>(use: () => T): T | undefined {
    try {
      return use();
    } catch (error) {
      if (!(error instanceof MalformedRequest)) throw error;
      const stream = this.#stream;
      if (stream?.headersSent === true) breakOff(stream, false);
      else stream?.close(NGHTTP2_PROTOCOL_ERROR);
      return undefined;
    }
  }

  streamClosed(stream: CarriedStream): void {
    this.#owner.ended();
    if (this.#stream !== stream) return;
    this.#stream = undefined;
    // The app may not have read the last bytes yet.
    if (this.#isTunnel && stream.rstCode === NGHTTP2_NO_ERROR && isEnded(stream) && this.writableEnded) return;
    // Node closes a stream as soon as its end is sent, and then calls back no pending write.
    const isSent = this.#reader.isDone && (stream.rstCode === NGHTTP2_NO_ERROR || !this.#isWaiting);
    if (!isSent) this.#owner.reset();
    else this.#streamTook();
    if (isSent && this.#isRequestDone) {
      this.#owner.release(this);
    } else {
      markEnded(this);
      this.destroy();
    }
  }

  // Writes of the app.

  informational(status: number, lines: readonly string[]): void {
    const stream = this.#stream;
    if (stream === undefined || stream.closed || stream.headersSent) return;
    sendFields(responseFields(status, lines).fields, (fields) => stream.additionalHeaders(fields));
  }

  head(status: number, lines: readonly string[], framing: ResponseFraming): void {
    const stream = this.#stream;
    if (stream === undefined || stream.closed) return;
    const { fields, hasTrailers, accept } = responseFields(status, lines);
    if (framing === 'tunnel') {
      if (status === 101) {
        checkAccept(accept, this.#request?.webSocketKey);
        fields[':status'] = 200;
      }
      this.#isTunnel = true;
      readFrom(stream);
    } else if (this.#request?.framing === 'tunnel') {
      // RFC 9110 §9.3.6: each status from 200 to 299 would tell the client that its tunnel is open.
      if (status < 300) fields[':status'] = 502;
      // Discards bytes for a tunnel that was not opened.
      stream.resume();
    }
    if (status === HTTP_STATUS_RESET_CONTENT && framing !== 'none') {
      // RFC 9110 §15.3.6. Node ends the stream with such a head, whatever follows.
      delete fields['content-length'];
      this.#bareHead = fields;
      return;
    }
    const waitForTrailers = framing === 'chunked' && (hasTrailers || this.#request?.acceptsTrailers === true);
    const options: ServerStreamResponseOptions & { sendDate: boolean } = {
      endStream: framing === 'none',
      waitForTrailers,
      sendDate: false,
    };
    sendFields(fields, (sent) => stream.respond(sent, options));
    if (framing === 'none') this.#awaitFrames();
  }

  #sendBareHead(stream: CarriedStream, head: OutgoingHttpHeaders): void {
    sendFields(head, (sent) =>
      stream.respond(sent, { endStream: true, sendDate: false } as ServerStreamResponseOptions),
    );
    this.#awaitFrames();
  }

  content(bytes: Buffer, isLast: boolean): void {
    const stream = this.#stream;
    if (stream === undefined || stream.closed) return;
    if (this.#bareHead !== undefined) {
      if (isLast) this.#sendBareHead(stream, this.#bareHead);
    } else if (isLast) {
      stream.end(bytes);
      this.#awaitEnd(stream);
    } else if (!stream.write(bytes) && !this.#isWaiting) {
      this.#isWaiting = true;
      stream.once('drain', this.#streamTook);
    }
  }

  trailers(lines: readonly string[]): void {
    const stream = this.#stream;
    if (stream === undefined || stream.closed) return;
    if (this.#bareHead !== undefined) {
      this.#sendBareHead(stream, this.#bareHead);
      return;
    }
    if (lines.length === 0) {
      stream.end();
      this.#awaitEnd(stream);
      return;
    }
    this.#isWaiting = true;
    stream.once('wantTrailers', () => {
      sendFields(trailerFields(lines), (fields) => stream.sendTrailers(fields));
      this.#awaitFrames();
    });
    stream.end();
  }

  /** Reports the end of the response to the app when the stream has taken all of it. */
  #awaitEnd(stream: CarriedStream): void {
    this.#isWaiting = true;
    // If the request is done, `close` of the stream is enough. Listening for its end would cost some microseconds more.
    if (!this.#isRequestDone) stream.once('finish', this.#streamTook);
  }

  /** If the response ends before the request, the stream is reset, but only after its last frames were sent: a reset would drop them. */
  #awaitFrames(): void {
    if (this.#isRequestDone) return;
    this.#isWaiting = true;
    setImmediate(this.#streamTook);
  }

  readonly #streamTook = (): void => {
    this.#isWaiting = false;
    this.#bytesTaken += this.#bytesInWrite;
    this.#bytesInWrite = 0;
    const written = this.#written;
    this.#written = undefined;
    written?.();
    // After the server has finished the response.
    if (this.#reader.isDone && !this.#isRequestDone) setImmediate(this.#endUnread);
  };

  /** Ends the stream of a request whose content the server only discards. An app that reads on after its response gets all of it. */
  readonly #endUnread = (): void => {
    const unread = unreadOn(this) as { readonly _dumped?: boolean } | undefined;
    if (unread?._dumped === true) this.destroy();
  };

  // Methods of Node's Duplex.

  override _read(): void {
    // Bytes for a tunnel wait until it is open.
    const framing = this.#request?.framing;
    // Without content there is nothing to read. If the end were read, Node would close the stream before its write is done, with an error object
    // for each response (3 % of the CPU).
    if (framing === 'none') return;
    if (framing !== 'tunnel' || this.#isTunnel) this.#stream?.resume();
  }

  override _writev(pieces: readonly Piece[], written: Done): void {
    try {
      for (const { chunk, encoding } of pieces) {
        this.#bytesInWrite += chunk.length;
        this.#reader.read(chunk, encoding);
      }
    } catch (error) {
      // From the reader, or from Node for a status or field that HTTP/2 does not allow.
      if (this.#stream !== undefined) breakOff(this.#stream, this.#isTunnel);
      written(error as Error);
      return;
    }
    this.#written = written;
    if (this.#reader.lacksContent && !this.#isEndAwaited) {
      this.#isEndAwaited = true;
      responseOn(this)?.once('finish', this.#responseEnded);
    }
    if (!this.#isWaiting) this.#streamTook();
  }

  /** An app may end its response before all content that it announced. Then nothing more comes, and only a reset tells the client. */
  readonly #responseEnded = (): void => {
    if (this.#reader.lacksContent) this.destroy();
  };

  override _final(ended: Done): void {
    const stream = this.#stream;
    if (stream !== undefined && this.#reader.endsWithConnection) {
      if (this.#bareHead === undefined) stream.end();
      else this.#sendBareHead(stream, this.#bareHead);
    }
    ended();
    // When the app ends its side, both sides end, except in a tunnel.
    if (!this.#isTunnel) process.nextTick(() => this.destroy());
  }

  override _destroy(error: Error | null, done: Done): void {
    const stream = this.#stream;
    this.#stream = undefined;
    if (stream !== undefined) {
      // A response that the stream has not taken is incomplete. The rejection of a malformed request may outlive this connection.
      const isSent = this.#reader.isDone && (!this.#isWaiting || this.#request === undefined);
      const isWhole = isSent || (this.#reader.endsWithConnection && this.writableEnded);
      // RFC 9113 §8.1: after NO_ERROR the client keeps the response, and stops sending its request.
      if (!isWhole) breakOff(stream, this.#isTunnel);
      else if (!this.#isRequestDone) closeWhenSent(stream);
    }
    const written = this.#written;
    this.#written = undefined;
    done(error);
    written?.(error ?? new Error('The stream is closed.'));
  }
}
