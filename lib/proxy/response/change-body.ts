import type { IncomingMessage, OutgoingHttpHeader, ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import { brotliDecompress, gunzip, inflate, zstdDecompress } from 'node:zlib';
import { GatewayError } from '../../core/errors.ts';
import { exchangeOf } from '../../core/exchange.ts';
import type { AppRequest, Middleware, Next } from '../../core/http.ts';
import { type Checks, described, func, integer, resolveOptions } from '../../core/options.ts';
import { shownValue } from '../../core/shown-value.ts';
import { named } from '../../core/thrown-by.ts';

/** Makes the new body of a response. May set headers and the status of `res`. */
export type ChangeBodyFunction = {
  of(body: Buffer, req: AppRequest, res: ServerResponse): string | Uint8Array | Promise<string | Uint8Array>;
}['of'];

/** Options of {@link changeBody}. */
export interface ChangeBodyOptions {
  /** Media types of the responses to change, such as `text/html`. All others pass as they come. */
  types: readonly string[];
  /** A function of the whole body, decompressed, that returns the new one, or a promise of it. */
  change: ChangeBodyFunction;
  /**
   * Longest body in bytes, compressed or not, that is kept in memory. A longer one is an error, so that no body passes unchanged.
   *
   * @default 1_048_576
   */
  maxBytes?: number;
}

/** Defaults of {@link ChangeBodyOptions}. */
export const changeBodyDefaults = Object.freeze({ maxBytes: 1_048_576 });

const MEDIA_TYPE = /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+$/;

const checks: Checks<ChangeBodyOptions> = {
  types: described(
    (value) =>
      Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === 'string' && MEDIA_TYPE.test(one))
        ? undefined
        : "must be a non-empty array of media types, like ['text/html']",
    {},
  ),
  change: func,
  maxBytes: integer(1),
};

/** Headers that describe the bytes of a body. */
const OF_THE_BODY = [
  'accept-ranges',
  'content-encoding',
  'content-length',
  'content-md5',
  'content-digest',
  'repr-digest',
  'digest',
  'trailer',
];

const DECODERS = new Map(
  Object.entries({
    gzip: promisify(gunzip),
    'x-gzip': promisify(gunzip),
    deflate: promisify(inflate),
    br: promisify(brotliDecompress),
    zstd: promisify(zstdDecompress),
  }),
);

/**
 * Changes bodies of the responses that are made behind it, by backends or handlers. Mount it before the proxy, on the paths that need it:
 *
 * ```ts
 * const change = (body: Buffer) => body.toString().replaceAll('http://internal.example', 'https://example.com');
 * app.use('/pages', changeBody({ types: ['text/html'], change }), roundRobinProxy({ backends }));
 * ```
 *
 * It keeps each such body in memory until it is complete. Requests behind it have no `Range`, because a part of a body cannot be changed. If
 * `change` fails, or a body cannot be read, the app's error handlers get the error. Responses of the gateway itself stay as they are.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function changeBody(given: ChangeBodyOptions): Middleware {
  const options = resolveOptions<ChangeBodyOptions, typeof changeBodyDefaults>(
    'changeBody',
    given,
    changeBodyDefaults,
    checks,
  );
  const types = new Set(options.types.map((type) => type.toLowerCase()));
  const safe = { ...options, change: named('change() of changeBody()', options.change) };
  return function expresswayChangeBody(req: IncomingMessage, res: ServerResponse, next: Next): void {
    delete req.headers.range;
    delete req.headers['if-range'];
    new HeldResponse(req, res, next, types, safe).hold();
    next();
  };
}

/** A response whose head waits until it is known whether its body is changed, and then until the new body is made. */
class HeldResponse {
  readonly #req: IncomingMessage;
  readonly #res: ServerResponse;
  readonly #next: Next;
  readonly #types: ReadonlySet<string>;
  readonly #options: Required<ChangeBodyOptions>;
  readonly #own: Pick<ServerResponse, 'write' | 'end' | 'flushHeaders' | 'writeHead'>;
  readonly #chunks: Buffer[] = [];
  #length = 0;
  #isTaken: boolean | undefined;
  #isEnded = false;

  constructor(
    req: IncomingMessage,
    res: ServerResponse,
    next: Next,
    types: ReadonlySet<string>,
    options: Required<ChangeBodyOptions>,
  ) {
    this.#req = req;
    this.#res = res;
    this.#next = next;
    this.#types = types;
    this.#options = options;
    const { write, end, flushHeaders, writeHead } = res;
    this.#own = { write, end, flushHeaders, writeHead };
  }

  hold(): void {
    const res = this.#res;
    const own = this.#own;
    Object.assign(res, {
      flushHeaders: (): void => {
        if (!this.#takes()) own.flushHeaders.call(res);
      },
      writeHead: (...head: unknown[]): ServerResponse => {
        if (this.#isTaken === undefined) setHead(res, head);
        return this.#takes() ? res : Reflect.apply(own.writeHead, res, head);
      },
      write: (...rest: unknown[]): boolean => {
        if (!this.#takes()) return Reflect.apply(own.write, res, rest);
        if (this.#isEnded) return false;
        this.#add(rest[0], rest[1]);
        const callback = rest.find((one) => typeof one === 'function');
        if (callback !== undefined) queueMicrotask(callback as () => void);
        if (this.#length <= this.#options.maxBytes) return true;
        // The proxy behind pauses, and its request ends when the response with the error is complete. A handler that goes on writes to a response that has ended.
        this.#isEnded = true;
        res.on('error', () => undefined);
        queueMicrotask(() => void this.#finish());
        return false;
      },
      end: (...rest: unknown[]): ServerResponse => {
        if (!this.#takes()) return Reflect.apply(own.end, res, rest);
        if (this.#isEnded) return res;
        this.#isEnded = true;
        const callback = rest.find((one) => typeof one === 'function');
        if (callback !== undefined) res.once('finish', callback as () => void);
        if (typeof rest[0] !== 'function') this.#add(rest[0], rest[1]);
        void this.#finish();
        return res;
      },
    });
  }

  /** Decides once, when the head would be sent. */
  #takes(): boolean {
    if (this.#isTaken !== undefined) return this.#isTaken;
    const isMeant = this.#isMeant();
    this.#isTaken = isMeant && this.#req.method !== 'HEAD';
    if (isMeant) describeChanged(this.#res, this.#isTaken);
    // From now on the proxy must not replace the response: it cuts the connection when the backend dies in the middle.
    if (this.#isTaken) Object.defineProperty(this.#res, 'headersSent', { configurable: true, get: () => true });
    return this.#isTaken;
  }

  #isMeant(): boolean {
    const { statusCode } = this.#res;
    if (statusCode === 204 || statusCode === 206 || statusCode === 304) return false;
    const [type = ''] = String(this.#res.getHeader('content-type') ?? '').split(';', 1);
    if (!this.#types.has(type.trim().toLowerCase())) return false;
    const { outcome } = exchangeOf(this.#req, this.#res);
    return outcome?.kind !== 'rejected' && outcome?.kind !== 'failed';
  }

  /** Also takes off the methods of middlewares behind, such as compression(), which have ended their response. */
  #release(): void {
    Object.assign(this.#res, this.#own);
    Reflect.deleteProperty(this.#res, 'headersSent');
  }

  #add(chunk: unknown, encoding: unknown): void {
    if (chunk === undefined || chunk === null) return;
    const bytes =
      typeof chunk === 'string' ? Buffer.from(chunk, textEncoding(encoding)) : Buffer.from(chunk as Uint8Array);
    this.#length += bytes.length;
    this.#chunks.push(bytes);
  }

  async #finish(): Promise<void> {
    const res = this.#res;
    try {
      const coding = res.getHeader('content-encoding');
      for (const name of OF_THE_BODY) res.removeHeader(name);
      const body = await this.#decoded(String(coding ?? 'identity').toLowerCase());
      this.#release();
      const { statusCode, statusMessage } = res;
      const changed = bytesOf(await this.#options.change(body, this.#req as AppRequest, res));
      if (res.destroyed || res.headersSent) return;
      if (res.statusCode !== statusCode && res.statusMessage === statusMessage) res.statusMessage = '';
      // A response without a body: a length would be an error (204), or that of another response (304).
      if (res.statusCode !== 204 && res.statusCode !== 304) res.setHeader('Content-Length', changed.length);
      res.end(changed);
    } catch (error) {
      this.#release();
      if (res.destroyed || res.headersSent) return;
      // That of the backend belongs to its status.
      res.statusMessage = '';
      for (const name of ['etag', 'last-modified', 'cache-control', 'expires', 'content-type']) res.removeHeader(name);
      exchangeOf(this.#req, res).isAppError = true;
      this.#next(error);
    }
  }

  async #decoded(coding: string): Promise<Buffer> {
    const { maxBytes } = this.#options;
    if (this.#length > maxBytes) throw tooLong(maxBytes);
    const body = Buffer.concat(this.#chunks.splice(0));
    if (coding === 'identity' || body.length === 0) return body;
    const decode = DECODERS.get(coding);
    if (decode === undefined) throw bodyError(`has the unknown Content-Encoding ${JSON.stringify(coding)}`);
    try {
      return await decode(body, { maxOutputLength: maxBytes });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLong(maxBytes);
      throw bodyError(`cannot be decompressed (${coding})`, error);
    }
  }
}

/** The new body. `Buffer.from()` would make bytes of a list, too, such as JSON that was parsed and changed. */
function bytesOf(changed: unknown): Buffer {
  if (typeof changed === 'string') return Buffer.from(changed);
  if (changed instanceof Uint8Array) return Buffer.from(changed.buffer, changed.byteOffset, changed.byteLength);
  const message = `change() of changeBody() returned ${shownValue(changed)}, but must return a string or a Uint8Array`;
  throw new GatewayError('ERR_EXPRESSWAY_CALLBACK', message);
}

/** Express responds with the `status` of an error. */
const bodyError = (what: string, cause?: unknown): Error =>
  Object.assign(new Error(`changeBody(): the body of the response ${what}`, { cause }), { status: 502 });

const tooLong = (maxBytes: number): Error => bodyError(`is longer than ${maxBytes} bytes (maxBytes)`);

/** The new body is another representation: a strong ETag of the old one is weak for it. HEAD gets no headers that only GET knows. */
function describeChanged(res: ServerResponse, isTaken: boolean): void {
  const etag = res.getHeader('etag');
  if (typeof etag === 'string' && etag.startsWith('"')) res.setHeader('ETag', `W/${etag}`);
  if (!isTaken) for (const name of OF_THE_BODY) res.removeHeader(name);
}

/** Sets what `writeHead()` got: a status, perhaps a reason phrase, perhaps headers. */
function setHead(res: ServerResponse, [status, ...rest]: unknown[]): void {
  res.statusCode = status as number;
  if (typeof rest[0] === 'string') res.statusMessage = rest.shift() as string;
  const [headers] = rest;
  if (typeof headers !== 'object' || headers === null) return;
  if (!Array.isArray(headers)) {
    for (const [name, value] of Object.entries(headers as Record<string, OutgoingHttpHeader | undefined>))
      if (value !== undefined) res.setHeader(name, value);
    return;
  }
  // Names and values in turn, or pairs of them.
  const flat = headers.flat() as string[];
  for (let i = 0; i < flat.length; i += 2) res.removeHeader(flat[i] as string);
  for (let i = 0; i < flat.length; i += 2) res.appendHeader(flat[i] as string, flat[i + 1] as string);
}

const textEncoding = (encoding: unknown): BufferEncoding =>
  typeof encoding === 'string' ? (encoding as BufferEncoding) : 'utf8';
