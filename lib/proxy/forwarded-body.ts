import type { Exchange } from '../core/exchange.ts';
import type { Rejected } from '../core/outcome.ts';
import { Attempt } from './attempt.ts';
import { alreadyRead, keptBody, type ReadBody, whyUnreadable } from './request/read-body.ts';
import { type BodyOwner, RequestBody, type SendableBody } from './request/request-body.ts';

export interface BodyRules {
  /** Where to find a body that a middleware read before the proxy. */
  readonly body: ReadBody | undefined;
  /** 0 for any number. */
  readonly maxBodyBytes: number;
}

/** The body of one request, on its way to one or several backends: as the client sends it, or as a middleware read it before. */
export class ForwardedBody implements BodyOwner {
  /** Length in bytes; `Infinity` for a body in chunks. */
  readonly length: number;
  /** Whether a middleware has decoded the `Content-Encoding`. */
  readonly isDecoded: boolean;
  /** `undefined` for a body that cannot be sent. */
  readonly content: SendableBody | undefined;
  /** Why the body cannot be sent; it may be set while the body is being sent. */
  unsendable: Rejected | undefined;
  readonly #exchange: Exchange;
  readonly #maxBytes: number;

  /**
   * @param length Length that the client declared.
   * @param keepBytes How many bytes are kept for another attempt.
   */
  constructor(exchange: Exchange, { body, maxBodyBytes }: BodyRules, length: number, keepBytes: number) {
    const { req } = exchange;
    this.#exchange = exchange;
    this.#maxBytes = maxBodyBytes;
    const why = whyUnreadable(req);
    const kept = why === undefined ? undefined : keptBody(req, body);
    this.length = kept?.length ?? length;
    this.isDecoded = kept?.isDecoded ?? false;
    if (maxBodyBytes > 0 && this.length > maxBodyBytes && this.length < Infinity) this.unsendable = this.#tooLarge();
    else if (kept !== undefined) this.content = kept;
    else if (why !== undefined) this.unsendable = alreadyRead(req, why);
    else this.content = new RequestBody(req, keepBytes, maxBodyBytes, this);
  }

  /** Aborts the current attempt. Between two attempts, it prevents the next one. */
  bodyRefused(cause: 'content_too_large' | 'content_already_read'): void {
    const { req, scope, working } = this.#exchange;
    this.unsendable = cause === 'content_too_large' ? this.#tooLarge() : alreadyRead(req);
    if (working instanceof Attempt) scope.runInAsyncScope(working.abort, working);
  }

  #tooLarge(): Rejected {
    const detail = `Longest allowed: ${this.#maxBytes} bytes (maxBodyBytes, MAX_BODY_BYTES).`;
    return { kind: 'rejected', cause: 'content_too_large', detail };
  }
}
