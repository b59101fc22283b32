import { type ClientHttp2Session, type ClientHttp2Stream, constants, type OutgoingHttpHeaders } from 'node:http2';
import { addAbortSignal, type Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import { isGrpc } from '../../core/grpc.ts';
import { HEADER_VALUE } from '../../core/header-values.ts';
import { TOKEN } from '../../core/http.ts';
import { LINGER_MS } from '../../core/last-response.ts';
import type { ResponseFields } from '../response/response-head.ts';
import type { ResponseHandler } from './connections.ts';
import { HeadTooLargeError, UnprocessedError } from './failure.ts';
import { errors } from './undici.ts';

const { NGHTTP2_FLAG_END_STREAM, NGHTTP2_REFUSED_STREAM } = constants;

const PATH = /^[\x21-\x7e\x80-\xff]+$/;

/** Bytes of a head, as RFC 9113 §6.5.2 counts them. nghttp2 sends no longer one. */
const MOST_HEAD_BYTES = 65_536;
const BYTES_PER_FIELD = 32;

/**
 * The head of a request, as HTTP/2 has it. Lines of one name are joined (RFC 9110 §5.3).
 *
 * @throws {InvalidArgumentError} of undici for a head that cannot be sent, as over HTTP/1.1.
 * @throws {HeadTooLargeError}
 */
export function http2Head(origin: URL, { method, path, headers }: Dispatcher.DispatchOptions): OutgoingHttpHeaders {
  const lines = headers as readonly string[];
  // Without a prototype: a client may send a header of any name.
  const fields: Record<string, string> = Object.create(null);
  for (let i = 0; i < lines.length; i += 2) {
    const name = lines[i] as string;
    const value = lines[i + 1] as string;
    if (!TOKEN.test(name)) throw new errors.InvalidArgumentError('invalid header name');
    if (!HEADER_VALUE.test(value)) throw new errors.InvalidArgumentError('invalid header value');
    const lowerCase = name.toLowerCase();
    const before = fields[lowerCase];
    fields[lowerCase] = before === undefined ? value : before + (lowerCase === 'cookie' ? '; ' : ', ') + value;
  }
  if (!PATH.test(path)) throw new errors.InvalidArgumentError('invalid path');
  const { host = origin.host, ...rest } = fields;
  // gRPC servers check this header, to be sure that the client gets trailers.
  if (isGrpc(rest['content-type'])) rest.te = 'trailers';
  const head = {
    ':method': method,
    ':scheme': origin.protocol.slice(0, -1),
    ':authority': host,
    ':path': path,
    ...rest,
  };
  let bytes = 0;
  for (const [name, value] of Object.entries(head)) bytes += name.length + value.length + BYTES_PER_FIELD;
  if (bytes > MOST_HEAD_BYTES) throw new HeadTooLargeError(MOST_HEAD_BYTES);
  return head;
}

/** One request on one HTTP/2 stream. It calls the handler in the order in which undici does for HTTP/1.1. */
export class Http2Request implements Dispatcher.DispatchController {
  aborted = false;
  paused = false;
  reason: Error | null = null;
  readonly rawHeaders = null;
  readonly rawTrailers = null;
  readonly #head: OutgoingHttpHeaders;
  readonly #body: Readable | Buffer | null;
  readonly #handler: ResponseHandler;
  #stream: ClientHttp2Stream | undefined;
  #error: Error | undefined;
  #trailers: ResponseFields = {};
  /** Whether the backend completed its response. A reset does not complete it. */
  #isEnded = false;
  /** Bytes that are missing until the `Content-Length` of the response; NaN without that header. */
  #remaining = Number.NaN;
  #isDone = false;
  #isReused = false;

  constructor(head: OutgoingHttpHeaders, body: Readable | Buffer | null, handler: ResponseHandler) {
    this.#head = head;
    this.#body = body;
    this.#handler = handler;
  }

  /**
   * @param isReused Whether the connection has carried a response before.
   * @returns the stream; `undefined` if the request has ended in the meantime.
   */
  begin(session: ClientHttp2Session, isReused: boolean): ClientHttp2Stream | undefined {
    if (session.closed || session.destroyed) {
      this.fail(new UnprocessedError(true));
      return undefined;
    }
    this.#isReused = isReused;
    this.#handler.onRequestStart?.(this, {});
    if (this.aborted) return undefined;
    const stream = session.request(this.#head, { endStream: this.#body === null });
    this.#stream = stream;
    const { push } = stream;
    stream.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
      // At a reset, the stream is closed before.
      if (chunk === null && !stream.closed) this.#isEnded = true;
      return push.call(stream, chunk, encoding);
    };
    stream.on('response', (fields, flags) => this.#call(() => this.#responded(fields, flags)));
    stream.on('headers', (fields) => this.#call(() => this.#informational(fields)));
    stream.on('trailers', (fields) => {
      this.#trailers = fields as ResponseFields;
    });
    stream.on('error', (error) => {
      this.#error ??= error;
    });
    // nghttp2 did not send the head, because the backend ends the connection.
    stream.on('frameError', () => {
      this.#error ??= new UnprocessedError(true);
    });
    stream.on('close', () => this.#closed(stream, session.destroyed));
    this.#send(stream);
    return stream;
  }

  /** The connection ended before the request was sent. */
  fail(error: Error): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#dropBody();
    this.#handler.onResponseError(this, error);
  }

  /** The backend ends the connection. It will not process requests after `lastStreamId` (RFC 9113 §6.8). */
  goneAway(lastStreamId: number): void {
    if ((this.#stream?.id ?? Number.POSITIVE_INFINITY) > lastStreamId) this.#error ??= new UnprocessedError(true);
  }

  abort(reason: Error): void {
    if (this.aborted || this.#isDone) return;
    this.aborted = true;
    this.reason = reason;
    this.fail(reason);
    this.#cancel();
  }

  pause(): void {
    this.paused = true;
    this.#stream?.pause();
  }

  resume(): void {
    this.paused = false;
    this.#stream?.resume();
  }

  #send(stream: ClientHttp2Stream): void {
    const body = this.#body;
    if (body === null || Buffer.isBuffer(body)) {
      if (body !== null) stream.end(body);
      this.#handler.onRequestSent?.();
      return;
    }
    body.on('data', (chunk: Buffer) => {
      if (!stream.write(chunk)) body.pause();
      this.#handler.onBodySent?.(chunk);
    });
    stream.on('drain', () => body.resume());
    body.on('end', () => {
      stream.end();
      if (!this.#isDone) this.#handler.onRequestSent?.();
    });
    body.on('error', (error) => this.abort(error));
  }

  #informational({ ':status': status, ...fields }: Record<string, unknown>): void {
    // Node itself has sent it to the client.
    if (status !== 100) this.#handler.onResponseStart?.(this, Number(status), fields as ResponseFields as never);
  }

  #responded({ ':status': status, ...fields }: Record<string, unknown>, flags: number): void {
    const isWhole = (flags & NGHTTP2_FLAG_END_STREAM) !== 0;
    // The status of gRPC comes in trailers. HTTP/1.1 has none behind a length, and the client's side of the gateway is HTTP/1.1.
    if (!isWhole && isGrpc(fields['content-type'])) delete fields['content-length'];
    this.#remaining = Number(fields['content-length']);
    this.#handler.onResponseStarted?.();
    this.#handler.onResponseStart?.(this, Number(status), fields as ResponseFields as never, '');
    if (this.#isDone) return;
    // At once, so that the client too gets a head that is the whole response. gRPC has its status there.
    if (isWhole) {
      this.#ended();
      return;
    }
    const stream = this.#stream as ClientHttp2Stream;
    stream.on('data', (chunk: Buffer) => this.#call(() => this.#received(stream, chunk)));
    stream.on('end', () => this.#call(() => this.#isEnded && this.#ended()));
  }

  /** END_STREAM may come later than the last content, but the client has a whole response then, as it has over HTTP/1.1. */
  #received(stream: ClientHttp2Stream, chunk: Buffer): void {
    this.#remaining -= chunk.length;
    this.#handler.onResponseData?.(this, chunk);
    if (this.#remaining !== 0 || this.#isEnded || this.#isDone) return;
    this.#ended();
    stream.resume();
    const timer = setTimeout(() => this.#cancel(), LINGER_MS).unref();
    stream.once('close', () => clearTimeout(timer));
  }

  #ended(): void {
    this.#handler.onResponseEnd?.(this, this.#trailers as never);
    this.#isDone = true;
    this.#dropBody();
    // The backend has responded without the rest of the request.
    if (this.#stream?.writableEnded === false) this.#cancel();
  }

  #closed({ rstCode }: ClientHttp2Stream, isConnectionLost: boolean): void {
    if (this.#isDone) return;
    let error = this.#error ?? new Error(`the backend reset the stream, with code ${rstCode}`);
    if (rstCode === NGHTTP2_REFUSED_STREAM && !(error instanceof UnprocessedError)) error = new UnprocessedError(false);
    // A kept connection may end while a request is on its way. The owner needs to know that it was a kept one.
    if (isConnectionLost && this.#isReused) Object.assign(error, { socket: { bytesRead: 1 } });
    this.fail(error);
  }

  /** An error of the handler ends the request, as in undici: the backend sent a response that cannot be passed on. */
  #call(use: () => void): void {
    if (this.#isDone) return;
    try {
      use();
    } catch (error) {
      this.abort(error as Error);
    }
  }

  /** `stream.close()` would first send the end of the request, so an incomplete request would look complete. */
  #cancel(): void {
    if (this.#stream !== undefined) addAbortSignal(AbortSignal.abort(), this.#stream);
  }

  #dropBody(): void {
    if (this.#body !== null && !Buffer.isBuffer(this.#body)) this.#body.destroy();
  }
}
