import type { IncomingMessage, ServerResponse } from 'node:http';
import { domainToASCII } from 'node:url';
import { GatewayError } from './errors.ts';

/** The part of an Express request that the middlewares read; Express 4 and 5 both have it. */
export interface GatewayRequest extends IncomingMessage {
  ip?: string | undefined;
  originalUrl?: string;
  baseUrl?: string;
  accepts?(types: string[]): string | false;
  app?: { get(setting: string): unknown; readonly request?: object };
}

declare global {
  namespace Express {
    // Declared by @types/express too, and extended by apps and by packages like @types/passport (`req.user`).
    interface Request {}
  }
}

/** The request for an app's own functions, with all properties that the app declares in `Express.Request`. */
export type AppRequest = GatewayRequest & Express.Request;

/** A function of the app. May also be written for the `Request` of Express itself: a method's parameters are compared both ways. */
export type RequestFunction<Result> = { of(req: AppRequest): Result }['of'];

export type Next = (error?: unknown) => void;

/** An Express (4 or 5) middleware, written in Node's own types so that neither version's types are needed. */
export type Middleware = (req: IncomingMessage, res: ServerResponse, next: Next) => void;

/** Whether code of an app returned a promise, of any implementation. */
export const isPromise = (value: unknown): value is PromiseLike<unknown> =>
  typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function';

/**
 * Checks the result of a function of the app whose promise would not be awaited: every promise would count as true, and a rejected one would
 * end the process.
 *
 * @param name Name of the function.
 * @throws {GatewayError} ERR_EXPRESSWAY_CALLBACK for a promise.
 */
export function notPromise<T>(given: T, name: string): T {
  if (!isPromise(given)) return given;
  given.then(undefined, () => {});
  throw new GatewayError('ERR_EXPRESSWAY_CALLBACK', `${name} returned a promise, but must not be async`);
}

/** The characters of a token (RFC 9110 §5.6.2), for use inside a regular expression. */
export const TCHAR = "[\\w!#$%&'*+.^`|~-]";

/** A token: the name of a field, a method, a cookie or a protocol (RFC 9110 §5.6.2). */
export const TOKEN = new RegExp(`^${TCHAR}+$`);

const EVENT_STREAM = /^text\/event-stream(?:$|[\s;])/i;

/** Whether a `Content-Type` is that of an event stream, which has no end of its own (server-sent events). */
export function isEventStream(contentType: unknown): boolean {
  // Most responses are of another type: one look at the letter behind `text/` is cheaper than the expression.
  return (
    typeof contentType === 'string' && (contentType.charCodeAt(5) | 0x20) === 0x65 && EVENT_STREAM.test(contentType)
  );
}

/** The first entry of a list. In `X-Forwarded-*`, the proxy nearest to the client wrote it. */
export function firstEntry(value: string | readonly string[] | undefined): string | undefined {
  if (value === undefined) return undefined;
  const text = String(value);
  const comma = text.indexOf(',');
  return (comma === -1 ? text : text.slice(0, comma)).trim();
}

/** The value of the first cookie of that name in a `Cookie` field (RFC 6265 §4.2.1), as it was sent. */
export function cookieValue(field: string | undefined, name: string): string | undefined {
  if (field === undefined) return undefined;
  let equals = -1;
  for (let from = 0; from < field.length; ) {
    const semicolon = field.indexOf(';', from);
    const end = semicolon === -1 ? field.length : semicolon;
    // It may lie in a later pair. Searching again from each pair would take quadratic time.
    if (equals < from) equals = field.indexOf('=', from);
    if (equals === -1) return undefined;
    if (equals < end && field.slice(from, equals).trim() === name) {
      return field.slice(equals + 1, end).trim();
    }
    from = end + 1;
  }
  return undefined;
}

/** The hostname of a `Host` header: lower case, without port and trailing dot, an IPv6 address in its shortest form (RFC 5952). */
export function hostnameOf(host: string): string {
  const port = host.lastIndexOf(':');
  // A colon inside brackets is part of an IPv6 address.
  const name = port > host.lastIndexOf(']') ? host.slice(0, port) : host;
  const lower = name.toLowerCase();
  // As those of routes are: one address has several spellings.
  if (lower.startsWith('[')) return domainToASCII(lower) || lower;
  return lower.endsWith('.') ? lower.slice(0, -1) : lower;
}

/** Whether a client reads the trailers of a response (RFC 9110 §10.1.4). */
export const acceptsTrailers = ({ headers, httpVersion }: IncomingMessage): boolean =>
  /(?:^|,)[ \t]*trailers[ \t]*(?:,|$)/i.test(String(headers.te)) && httpVersion !== '1.0';
