import type { Exchange } from '../core/exchange.ts';
import type { Rejected } from '../core/outcome.ts';
import { Attempt } from './attempt.ts';
import { alreadyRead, keptBody, type ReadBody, whyUnreadable } from './request/read-body.ts';
import { type BodyOwner, RequestBody, type SendableBody } from './request/request-body.ts';

export interface BodyRules {
  /** Where the bodies are that a middleware read before the proxy. */
  readonly body: ReadBody | undefined;
  /** 0 for any number. */
  readonly maxBodyBytes: number;
}

/** The body of one request, on its way to one or several backends: as the client sends it, or as a middleware read it before. */
export class ForwardedBody implements BodyOwner {
  /** Bytes; `Infinity` when only the end of the chunks tells. */
  readonly length: number;
  /** Whether a middleware has undone the `Content-Encoding`. */
  readonly isDecoded: boolean;
  /** Nothing when it cannot be sent at all. */
  readonly content: SendableBody | undefined;
  /** Why it cannot be sent, from the start or as it turned out on the way. */
  unsendable: Rejected | undefined;
  readonly #exchange: Exchange;
  readonly #maxBytes: number;

  /**
   * @param length What the client said.
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

  /** Breaks the current attempt off. Between two attempts, the next one is not made. */
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
