import { isEventStream } from '../core/http.ts';
import { lastResponse } from '../core/last-response.ts';
import { ServerResponse } from '../core/node-http.ts';
import type { SendableBody } from './request/request-body.ts';
import { passInformational } from './response/informational.ts';
import {
  applyResponseHead,
  type OwnFields,
  type ResponseFields,
  removeResponseHead,
} from './response/response-head.ts';
import { addTrailers } from './response/trailers.ts';

/** Bytes up to which copying a response body is cheaper than a second write. */
const SMALL_RESPONSE = 4_096;

/** A response under a middleware such as compression(), which holds bytes back. */
type Encoded = ServerResponse & { flush?(): void };

type SpellingOf = Parameters<typeof applyResponseHead>[4];

/** The response to the client, written while a backend's response arrives: head, content, trailers. */
export class ClientResponse {
  /** Status of the final response; 0 until its head has arrived. */
  status = 0;
  /** Whether it is an event stream, which may be silent for any time. */
  isStream = false;
  /** Whether a middleware such as compression() may hold bytes back. */
  isEncoded = false;
  /** The body of the request, if there is one. */
  upload: SendableBody | undefined;
  readonly #res: ServerResponse;
  #informationals = 0;
  /** The `Connection` header of the backend's head. */
  #connection: ResponseFields[string];
  /** Bytes that are missing until the backend's `Content-Length`; NaN without that header. */
  #remaining = Number.NaN;
  /** Whether bytes of the body were written. A middleware that keeps them has not sent the head. */
  #hasBody = false;
  /** The head that was set on the response and has not been sent. */
  #heldHead: { readonly fields: ResponseFields; readonly own: OwnFields } | undefined;

  constructor(res: ServerResponse) {
    this.#res = res;
  }

  informational(status: number, fields: ResponseFields, spelling: SpellingOf): void {
    this.#informationals += 1;
    passInformational(this.#res, status, fields, this.#informationals, spelling);
  }

  /** Sets the backend's head on the response. It is sent with the body, or by `flushHead()`. */
  begin(status: number, statusMessage: string | undefined, fields: ResponseFields, spelling: SpellingOf): void {
    this.#heldHead = { fields, own: applyResponseHead(this.#res, status, statusMessage, fields, spelling) };
    this.status = status;
    this.#connection = fields.connection;
    this.#remaining = Number(fields['content-length']);
    this.isStream = isEventStream(fields['content-type']);
    this.isEncoded = (this.#res as Encoded).flush !== undefined;
  }

  /**
   * Whether the head may wait for the body. Heads of long polls and streams are sent at once. A small response of known length is sent in
   * one piece, so another response can replace it if its backend dies between head and body.
   */
  get holdsHead(): boolean {
    return this.#remaining <= SMALL_RESPONSE || (!this.isStream && !this.#isAwaited && this.#mayBeKept);
  }

  /** Whether no other response can take the place of this one: its head has left, or a middleware may keep bytes of its body. */
  get hasLeft(): boolean {
    return this.#hasBody || this.#res.headersSent;
  }

  /** Whether bytes of the body were written, and a middleware has kept them with the head. */
  get isKept(): boolean {
    return this.#hasBody && !this.#res.headersSent;
  }

  /** Whether the client still sends its body. It may wait for the head of the response before it goes on. */
  get #isAwaited(): boolean {
    return this.upload !== undefined && !this.upload.endsSoon;
  }

  /**
   * Whether a middleware has its own `write()` and nothing that flushes. It may keep the whole body and write headers at its end, which
   * works with `pipe()`: there the head leaves with the first bytes.
   */
  get #mayBeKept(): boolean {
    return !this.isEncoded && Object.hasOwn(this.#res, 'write') && !Object.hasOwn(this.#res, 'flushHeaders');
  }

  get isEnded(): boolean {
    return this.#res.writableEnded;
  }

  flushHead(): void {
    if (!this.#res.headersSent && !this.#res.writableEnded) this.#res.flushHeaders();
    this.#heldHead = undefined;
  }

  /** Call it when the backend pauses: the bytes that it has sent must not wait for later ones. */
  flushEncoder(): void {
    if (!this.#res.writableEnded) (this.#res as Encoded).flush?.();
  }

  /** @returns whether more bytes may be written at once. */
  write(chunk: Buffer): boolean {
    this.#remaining -= chunk.length;
    if (this.#remaining !== 0) {
      const takesMore = this.#res.write(chunk);
      this.#hasBody = true;
      return takesMore;
    }
    this.#endUpload();
    endWith(this.#res, chunk);
    return true;
  }

  end(trailers: ResponseFields, spelling: SpellingOf): void {
    if (this.#res.writableEnded) return;
    this.#endUpload();
    // A middleware that keeps the body sends it with a length, behind which no trailers can come.
    if (!this.isKept) addTrailers(this.#res, trailers, this.#connection, spelling);
    this.#res.end();
  }

  /** Removes the backend's head if it has not been sent, to make room for another response. */
  withdraw(): void {
    if (this.#heldHead === undefined || this.#res.headersSent) return;
    removeResponseHead(this.#res, this.#heldHead.fields, this.#heldHead.own);
  }

  /**
   * A client that gets an early response may still send a long body: the response does not wait for that (RFC 9112 §9.3). Nor does a connection
   * that ends with the response.
   */
  #endUpload(): void {
    const { req, shouldKeepAlive } = this.#res;
    if (this.#isAwaited || (this.upload !== undefined && !shouldKeepAlive && !req.complete)) lastResponse(this.#res);
  }
}

const { end } = ServerResponse.prototype;

/** Ends a response with the last piece of its body. */
function endWith(res: ServerResponse, chunk: Buffer): void {
  // Node writes a small body together with the head if the body is a string. A method that a middleware put in place of Node's gets the
  // bytes, because it may pass on, log or hash a string as UTF-8.
  if (chunk.length <= SMALL_RESPONSE && !res.headersSent && res.end === end)
    res.end(chunk.toString('latin1'), 'latin1');
  else res.end(chunk);
}
