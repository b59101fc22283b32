import type { IncomingMessage } from 'node:http';
import { declaredLength } from '../../core/declared-length.ts';
import { GatewayError } from '../../core/errors.ts';
import type { Check } from '../../core/options.ts';
import { endsSoon } from '../../core/unread-content.ts';
import type { SendableContent } from './request-content.ts';

/** Where the body of a request is that was read before it reached the proxy: a property of the request, or a function of it. */
export type ReadBody = string | ((req: IncomingMessage) => Uint8Array | string | undefined);

export const readBody: Check = (value) =>
  value === undefined || typeof value === 'function' || (typeof value === 'string' && value !== '')
    ? undefined
    : 'must be the name of a property of the request, such as "rawBody", or a function (req)';

/**
 * A body that somebody else has read. Text is sent as UTF-8.
 *
 * @returns nothing where there is none for this request.
 * @throws {GatewayError} ERR_EXPRESSWAY_CALLBACK for what is no body.
 */
export function keptBody(req: IncomingMessage, option: ReadBody | undefined): KeptBody | undefined {
  if (option === undefined) return undefined;
  const given: unknown = typeof option === 'string' ? (req as never)[option] : option(req);
  if (given === undefined || given === null) return undefined;
  if (typeof given === 'string') return new KeptBody(req, Buffer.from(given));
  if (!(given instanceof Uint8Array)) {
    const where = typeof option === 'string' ? `req.${option} is` : 'the function `body` gave';
    throw new GatewayError(
      'ERR_EXPRESSWAY_CALLBACK',
      `${where} a value of type ${typeof given}; it must be a Buffer, a string or undefined`,
    );
  }
  return new KeptBody(req, Buffer.from(given.buffer, given.byteOffset, given.byteLength));
}

export class KeptBody implements SendableContent {
  readonly #req: IncomingMessage;
  readonly #bytes: Buffer;
  readonly replayable = true;
  readonly starved = false;

  constructor(req: IncomingMessage, bytes: Buffer) {
    this.#req = req;
    this.#bytes = bytes;
  }

  get length(): number {
    return this.#bytes.length;
  }

  /**
   * Whether `Content-Encoding` says nothing of it any more: body parsers decode what they read. Somebody who has read the
   * bytes as they came has as many of them as the client said.
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

/** What a body parser made of a body, as far as it can be undone. */
type Parsed = IncomingMessage & { readonly body?: unknown };

/**
 * Makes a body again out of what `express.json()`, `express.urlencoded()`, `express.text()` or `express.raw()` put into
 * `req.body`, for the option `body`: what `fixRequestBody` is to http-proxy-middleware. The backend gets the same data, not the
 * same bytes; a signature over them does not hold. For other types it gives nothing, and the request is refused.
 */
export function parsedBody(req: IncomingMessage): Uint8Array | string | undefined {
  const { body } = req as Parsed;
  if (body instanceof Uint8Array) return body;
  const [type = '', ...parameters] = String(req.headers['content-type'] ?? '')
    .toLowerCase()
    .split(';')
    .map((part) => part.trim());
  const charset =
    parameters
      .find((one) => one.startsWith('charset='))
      ?.slice(8)
      .replaceAll('"', '') ?? 'utf-8';
  // What is sent is UTF-8.
  if (body === undefined || !/^(?:utf-?8|us-ascii)$/.test(charset)) return undefined;
  if (typeof body === 'string' && type.startsWith('text/')) return body;
  if (/^application\/(?:[^/]+\+)?json$/.test(type)) return JSON.stringify(body);
  if (type !== 'application/x-www-form-urlencoded' || typeof body !== 'object') return undefined;
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(body ?? {})) pushPairs(pairs, name, value);
  return pairs.toString();
}

/** Lists as repeated names, objects in brackets: as `express.urlencoded()` reads them. */
function pushPairs(pairs: URLSearchParams, name: string, value: unknown): void {
  if (Array.isArray(value)) {
    for (const [index, one] of value.entries()) {
      pushPairs(pairs, typeof one === 'object' ? `${name}[${index}]` : name, one);
    }
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, one] of Object.entries(value)) pushPairs(pairs, `${name}[${key}]`, one);
  } else {
    pairs.append(name, String(value ?? ''));
  }
}
