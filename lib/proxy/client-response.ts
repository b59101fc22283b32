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
  /** Status of the response; 0 until its head is here. Informational responses are none. */
  status = 0;
  /** Whether it is an event stream, which may be silent for as long as it likes. */
  isStream = false;
  /** Whether a middleware such as compression() keeps back what it is given. */
  isEncoded = false;
  /** The content of the request, if there is any. */
  upload: SendableBody | undefined;
  readonly #res: ServerResponse;
  #informationals = 0;
  /** What the backend's head named as ending at the gateway. */
  #connection: ResponseFields[string];
  /** Bytes that the backend's length field still promises; NaN when it has none. */
  #remaining = Number.NaN;
  /** The head that is on the response but has not gone out. */
  #heldHead: { readonly fields: ResponseFields; readonly own: OwnFields } | undefined;

  constructor(res: ServerResponse) {
    this.#res = res;
  }

  informational(status: number, fields: ResponseFields, spelling: SpellingOf): void {
    this.#informationals += 1;
    passInformational(this.#res, status, fields, this.#informationals, spelling);
  }

  /** Puts the backend's head on the response; it goes out with the content, or by `flushHead()`. */
  begin(status: number, statusMessage: string | undefined, fields: ResponseFields, spelling: SpellingOf): void {
    this.#heldHead = { fields, own: applyResponseHead(this.#res, status, statusMessage, fields, spelling) };
    this.status = status;
    this.#connection = fields.connection;
    this.#remaining = Number(fields['content-length']);
    this.isStream = isEventStream(fields['content-type']);
    this.isEncoded = (this.#res as Encoded).flush !== undefined;
  }

  /**
   * Whether the head may wait for the content. Long polls and streams show theirs at once. Only a small response of known
   * length goes out in one piece, and so can still be replaced when its backend dies between head and content.
   */
  get holdsHead(): boolean {
    return this.#remaining <= SMALL_RESPONSE;
  }

  get headersSent(): boolean {
    return this.#res.headersSent;
  }

  get isEnded(): boolean {
    return this.#res.writableEnded;
  }

  flushHead(): void {
    if (!this.#res.headersSent && !this.#res.writableEnded) this.#res.flushHeaders();
    this.#heldHead = undefined;
  }

  /** To be called when the backend pauses: what it has sent must not wait for more. */
  flushEncoder(): void {
    if (!this.#res.writableEnded) (this.#res as Encoded).flush?.();
  }

  /** @returns whether the client takes more at once. */
  write(chunk: Buffer): boolean {
    this.#remaining -= chunk.length;
    if (this.#remaining !== 0) return this.#res.write(chunk);
    this.#endUpload();
    endWith(this.#res, chunk);
    return true;
  }

  end(trailers: ResponseFields, spelling: SpellingOf): void {
    if (this.#res.writableEnded) return;
    this.#endUpload();
    addTrailers(this.#res, trailers, this.#connection, spelling);
    this.#res.end();
  }

  /** Takes the backend's head off again, if it has not gone out: another response will. */
  withdraw(): void {
    if (this.#heldHead === undefined || this.#res.headersSent) return;
    removeResponseHead(this.#res, this.#heldHead.fields, this.#heldHead.own);
  }

  /** A client that gets an early response may have much left to send: nothing has to wait for that (RFC 9112 §9.3). */
  #endUpload(): void {
    if (this.upload !== undefined && !this.upload.endsSoon) lastResponse(this.#res);
  }
}

const { end } = ServerResponse.prototype;

/** Ends a response with the last piece of its body. */
function endWith(res: ServerResponse, chunk: Buffer): void {
  // As a string, a small body goes out together with the head in one write, not in a vectored write of two buffers. A method that a
  // middleware put in place of Node's gets the bytes: it may pass on, log or hash a string as UTF-8.
  if (chunk.length <= SMALL_RESPONSE && !res.headersSent && res.end === end)
    res.end(chunk.toString('latin1'), 'latin1');
  else res.end(chunk);
}
