import type { IncomingMessage } from 'node:http';
import { GatewayError } from '../../core/errors.ts';
import { type GatewayRequest, notPromise, type RequestFunction } from '../../core/http.ts';
import type { Check } from '../../core/options.ts';
import type { Rejected } from '../../core/outcome.ts';
import { named } from '../../core/thrown-by.ts';
import { declaredLength, endsSoon } from '../../core/unread-content.ts';
import { warnOnce } from '../../core/warnings.ts';
import type { SendableBody } from './request-body.ts';

const CODE = 'ERR_EXPRESSWAY_BODY_ALREADY_READ';

const FIX = 'Mount roundRobinProxy() before body parsers such as express.json().';

const READ = `the body of this request was read before it reached the proxy. ${FIX}`;

const DECODED =
  'a middleware called req.setEncoding(), so that the proxy would get other bytes than the client sent. Forward the body before that.';

const AHEAD =
  'a middleware reads the body of this request faster than the backend, and the proxy cannot keep all that is between them. ' +
  'Let the middleware listen to "data" or use req.pipe() in the tick in which it calls next().';

/** Why the proxy cannot forward every byte of a body; `undefined` if it can. Call it before the proxy adds listeners. */
export function whyUnreadable({ readableDidRead, readableEncoding }: IncomingMessage): string | undefined {
  if (readableDidRead) return READ;
  return readableEncoding === null ? undefined : DECODED;
}

/** Why the bytes of a body are incomplete that the proxy has begun to read. */
export function lostOnTheWay({ readableEncoding }: IncomingMessage): string {
  return readableEncoding === null ? AHEAD : DECODED;
}

/** The error for a body that is incomplete, for a proxy that reports errors. */
export const alreadyReadError = (why = AHEAD): GatewayError => new GatewayError(CODE, why);

/** The outcome for a body that is incomplete. Warns once per server; in production the client does not learn the reason. */
export function alreadyRead(req: GatewayRequest, why = lostOnTheWay(req)): Rejected {
  warnOnce(req, CODE, `A request got 500: ${why}`);
  const isProduction = (req.app?.get('env') ?? process.env.NODE_ENV) === 'production';
  return { kind: 'rejected', cause: 'content_already_read', ...(isProduction ? {} : { detail: `${CODE}: ${why}` }) };
}

/** Where to find a body that a middleware read before the proxy: a property of the request, or a function of the request. */
export type ReadBody = string | RequestFunction<Uint8Array | string | undefined>;

export const readBody: Check = (value) =>
  value === undefined || typeof value === 'function' || (typeof value === 'string' && value !== '')
    ? undefined
    : 'must be the name of a property of the request, such as "rawBody", or a function (req)';

/**
 * The body that a middleware read before, by the option `body`. Text is sent as UTF-8.
 *
 * @returns `undefined` if the option has no body for this request.
 * @throws {GatewayError} ERR_EXPRESSWAY_CALLBACK for a value that is not a body.
 */
export function keptBody(req: IncomingMessage, option: ReadBody | undefined): KeptBody | undefined {
  if (option === undefined) return undefined;
  const given: unknown =
    typeof option === 'string'
      ? (req as never)[option]
      : notPromise(named('body()', option)(req), 'the function `body`');
  if (given === undefined || given === null) return undefined;
  if (typeof given === 'string') return new KeptBody(req, Buffer.from(given));
  if (!(given instanceof Uint8Array)) {
    const where = typeof option === 'string' ? `req.${option} is` : 'the function `body` returned';
    throw new GatewayError(
      'ERR_EXPRESSWAY_CALLBACK',
      `${where} a value of type ${typeof given}; it must be a Buffer, a string or undefined`,
    );
  }
  return new KeptBody(req, Buffer.from(given.buffer, given.byteOffset, given.byteLength));
}

/** A body in memory. */
export class KeptBody implements SendableBody {
  readonly #req: IncomingMessage;
  readonly #bytes: Buffer;
  readonly replayable = true;
  readonly starved = false;
  readonly isStalled = false;

  constructor(req: IncomingMessage, bytes: Buffer) {
    this.#req = req;
    this.#bytes = bytes;
  }

  get length(): number {
    return this.#bytes.length;
  }

  /**
   * Whether these bytes are no longer in the coding that `Content-Encoding` names. Body parsers decode what they read; a
   * middleware that keeps the bytes as they came has as many as the client announced.
   */
  get isDecoded(): boolean {
    return this.#bytes.length !== declaredLength(this.#req);
  }

  get endsSoon(): boolean {
    return endsSoon(this.#req);
  }

  reader(): Buffer {
    return this.#bytes;
  }

  drain(): void {
    this.#req.resume();
  }
}
