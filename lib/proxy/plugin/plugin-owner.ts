import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Plugin } from 'http-proxy-middleware';
import { exchangeOf } from '../../core/exchange.ts';
import { type Failed, handlerError, type Outcome } from '../../core/outcome.ts';
import { respond } from '../../core/reject.ts';
import { declaredLength } from '../../core/unread-content.ts';
import type { AttemptOwner } from '../attempt-owner.ts';
import { alreadyReadError, keptBody, lostOnTheWay, type ReadBody, whyUnreadable } from '../request/read-body.ts';
import { type BodyOwner, RequestBody, type SendableBody } from '../request/request-body.ts';
import type { ResponseFields } from '../response/response-head.ts';
import type { Target } from './native-like-head.ts';

export type ProxyServer = Parameters<Plugin>[0];

/** Reports the result of an attempt as the native transport does: a failure becomes an `error` event of the proxy server. */
export class PluginOwner implements AttemptOwner, BodyOwner {
  readonly #server: ProxyServer;
  readonly #req: IncomingMessage;
  readonly #res: ServerResponse;
  readonly #target: Target;
  #body: SendableBody | undefined;
  #unsendable: Error | undefined;
  readonly #resolve: () => void;
  readonly #reject: (error: Error) => void;

  constructor(
    server: ProxyServer,
    req: IncomingMessage,
    res: ServerResponse,
    target: Target,
    resolve: () => void,
    reject: (error: Error) => void,
  ) {
    this.#server = server;
    this.#req = req;
    this.#res = res;
    this.#target = target;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  /** @throws {GatewayError} ERR_EXPRESSWAY_BODY_ALREADY_READ */
  takeBody(option: ReadBody | undefined): SendableBody | undefined {
    if (declaredLength(this.#req) === 0) return undefined;
    const why = whyUnreadable(this.#req);
    if (why === undefined) this.#body = new RequestBody(this.#req, 0, 0, this);
    else this.#body = keptBody(this.#req, option);
    if (this.#body === undefined) throw alreadyReadError(why);
    return this.#body;
  }

  bodyRefused(): void {
    this.#unsendable = alreadyReadError(lostOnTheWay(this.#req));
    const { working, scope } = exchangeOf(this.#req, this.#res);
    if (working !== undefined) scope.runInAsyncScope(working.abort, working);
  }

  sent(): void {}

  accepts(): boolean {
    return true;
  }

  headersForClient(_status: number, fields: ResponseFields): ResponseFields {
    return fields;
  }

  responded(): void {}

  upgraded(): void {
    throw new Error('upgrades go over the native transport');
  }

  ended(outcome: Outcome): void {
    if (outcome.kind === 'failed') {
      if (outcome.headSent) this.#res.destroy();
      // So does the native transport: a response that broke off is reported to listeners, and never as a rejection.
      if (!outcome.headSent || this.#server.listenerCount('error') > 0) this.#report(nativeLikeError(outcome));
    } else if (outcome.kind === 'rejected') {
      this.#report(outcome.error ?? clientStopped());
    } else if (this.#unsendable !== undefined) {
      if (this.#res.headersSent) this.#res.destroy();
      this.#report(this.#unsendable);
    }
    this.#over();
  }

  threw(error: unknown, isKept: boolean): void {
    respond(exchangeOf(this.#req, this.#res), handlerError(error, isKept || this.#res.headersSent));
    this.#over();
  }

  /** The request cannot be sent, so there was no attempt. */
  failed(error: Error): void {
    this.#report(error);
    this.#over();
  }

  #over(): void {
    this.#body?.drain();
    this.#resolve();
  }

  #report(error: Error): void {
    if (this.#server.listenerCount('error') === 0) this.#reject(error);
    else this.#server.emit('error', error, this.#req, this.#res, this.#target.given);
  }
}

/** An error with the code that `node:http` would give it. Its cause is undici's error. */
class NativeError extends Error {
  readonly code: string;

  constructor(message: string, code: string, cause?: Error) {
    super(message, cause && { cause });
    this.code = code;
  }
}

/** The only rejection without an error. In the native transport, `proxyTimeout` destroys the request whichever side is silent. */
function clientStopped(): NativeError {
  return new NativeError('socket hang up', 'ECONNRESET', new Error('the client stopped sending'));
}

/** Codes of undici and of our transport, and the code and message of `node:http` for the same failure. */
const BY_CODE: Readonly<Record<string, readonly [code: string, message: string]>> = {
  UND_ERR_SOCKET: ['ECONNRESET', 'socket hang up'],
  UND_ERR_CONNECT_TIMEOUT: ['ETIMEDOUT', 'connect ETIMEDOUT'],
  UND_ERR_HEADERS_OVERFLOW: ['HPE_HEADER_OVERFLOW', 'Parse Error: Header overflow'],
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: ['HPE_INVALID_CONTENT_LENGTH', 'Parse Error: Invalid Content-Length'],
  ERR_EXPRESSWAY_PROTOCOL: ['HPE_INVALID_CONSTANT', 'Parse Error: Invalid response'],
};

/** undici's parser errors have a reason, but no code. */
const BY_REASON: readonly (readonly [reason: RegExp, code: string])[] = [
  [/expected CR/i, 'HPE_CR_EXPECTED'],
  [/expected LF/i, 'HPE_LF_EXPECTED'],
  [/content-length/i, 'HPE_INVALID_CONTENT_LENGTH'],
  [/transfer-encoding/i, 'HPE_INVALID_TRANSFER_ENCODING'],
  [/chunk/i, 'HPE_INVALID_CHUNK_SIZE'],
  [/header/i, 'HPE_INVALID_HEADER_TOKEN'],
  [/status/i, 'HPE_INVALID_STATUS'],
  [/version/i, 'HPE_INVALID_VERSION'],
];

/** The error that the native transport would report. The default status of http-proxy-middleware depends on its code. */
export function nativeLikeError({ cause, error, headSent }: Failed): Error {
  // The code of a `DOMException`, such as that of an aborted request, is a number.
  const code = String((error as NodeJS.ErrnoException).code ?? '');
  // Errors of undici's parser have this name, and no code.
  if (error.name === 'HTTPParserError')
    return new NativeError(`Parse Error: ${error.message}`, parserCode(error), error);
  if (headSent) return new NativeError('aborted', 'ECONNRESET', error);
  // In the native transport, `proxyTimeout` destroys the request.
  if (cause === 'http_response_timeout') return new NativeError('socket hang up', 'ECONNRESET', error);
  if (code.startsWith('ERR_SSL_')) return new NativeError(`write EPROTO ${error.message}`, 'EPROTO', error);
  const native = BY_CODE[code];
  return native === undefined ? error : new NativeError(native[1], native[0], error);
}

function parserCode({ message }: Error): string {
  const reason = /\((.*)\)$/.exec(message)?.[1] ?? '';
  return BY_REASON.find(([pattern]) => pattern.test(reason))?.[1] ?? 'HPE_INVALID_CONSTANT';
}
