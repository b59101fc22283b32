import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Consumer, type Exchange, exchangeOf } from '../core/exchange.ts';
import type { GatewayEvents } from '../core/gateway-events.ts';
import { canonical } from '../core/header-names.ts';
import { isPromise, type Middleware, type Next } from '../core/http.ts';
import type { Rejected } from '../core/outcome.ts';
import { reject } from '../core/reject.ts';

/** The request is authenticated. */
export interface Authenticated {
  readonly kind: 'authenticated';
  readonly consumer: Consumer | undefined;
  /** Request headers for the backend. One without a value, or with a value that is not printable ASCII, is removed. */
  readonly headers?: Readonly<Record<string, string | undefined>>;
}

/** The request is not authenticated, or its credentials could not be checked. */
export interface Refused {
  readonly kind: 'refused';
  readonly outcome: Rejected;
  /** Value of `WWW-Authenticate` (RFC 9110 §11.6.1), which every 401 has. */
  readonly challenge?: string;
}

/** The authenticator has already responded. */
export interface Responded {
  readonly kind: 'responded';
}

export type Authentication = Authenticated | Refused | Responded;

/** A middleware that authenticates requests, and its events. */
export interface AuthenticationMiddleware extends Middleware {
  readonly events: GatewayEvents;
}

/**
 * Makes a middleware from a function that authenticates one request. The function must not reject: if it cannot check a request, it
 * refuses it with `authentication_unavailable`.
 */
export function authenticates(
  events: GatewayEvents,
  authenticate: (exchange: Exchange) => Authentication | Promise<Authentication>,
): AuthenticationMiddleware {
  function apply(exchange: Exchange, result: Authentication, next: Next): void {
    if (result.kind === 'responded') return;
    if (result.kind === 'authenticated') {
      exchange.consumer = result.consumer;
      setIdentityHeaders(exchange, result.headers ?? {});
      next();
      return;
    }
    if (result.challenge !== undefined && !exchange.res.headersSent) {
      exchange.res.appendHeader('WWW-Authenticate', result.challenge);
    }
    reject(exchange, result.outcome, events);
  }

  return Object.assign(
    function expresswayAuthentication(req: IncomingMessage, res: ServerResponse, next: Next): void {
      const exchange = exchangeOf(req, res);
      const result = authenticate(exchange);
      if (!('then' in result)) apply(exchange, result, next);
      else {
        result.then((known) => {
          // The client may have left in the meantime.
          if (exchange.outcome === undefined) apply(exchange, known, next);
        }, next);
      }
    },
    { events },
  );
}

/** Sets headers that tell a backend who the client is. Headers of the client under these names are removed, in every spelling. */
export function setIdentityHeaders(exchange: Exchange, headers: Readonly<Record<string, string | undefined>>): void {
  const wanted = Object.entries(headers);
  if (wanted.length === 0) return;
  const { req } = exchange;
  const names = new Set(wanted.map(([name]) => canonical(name)));
  // CGI and many frameworks read `x_user` and `x-user` as one header.
  for (const name of Object.keys(req.headers)) if (names.has(canonical(name))) delete req.headers[name];
  for (const [name, value] of wanted) {
    if (value === undefined || !PRINTABLE.test(value)) continue;
    req.headers[name.toLowerCase()] = value;
    exchange.writtenHeaders = (exchange.writtenHeaders ?? new Set()).add(name.toLowerCase());
  }
}

/** Characters that every server reads in the same way. */
export const PRINTABLE = /^[\x20-\x7e]+$/;

/** The 401 for a request without valid credentials. */
export const unauthenticated = (challenge: string, detail: string): Refused => ({
  kind: 'refused',
  outcome: { kind: 'rejected', cause: 'unauthenticated', detail },
  challenge,
});

/** The 503 for a request whose credentials could not be checked. */
export const unavailable = (error: unknown): Refused => ({
  kind: 'refused',
  outcome: {
    kind: 'rejected',
    cause: 'authentication_unavailable',
    retryAfterMs: 1_000,
    error: error instanceof Error ? error : new Error(String(error)),
  },
});

/**
 * Handles the result of a lookup of credentials. In JavaScript, a lookup may also return `null` for none, as database clients do.
 *
 * @param found Called with the consumer, or with `undefined` for unknown credentials.
 */
export function lookedUp(
  look: () => Consumer | undefined | Promise<Consumer | undefined>,
  found: (consumer: Consumer | undefined) => Authentication,
): Authentication | Promise<Authentication> {
  const judged = (consumer: Consumer | null | undefined): Authentication => {
    if (consumer === undefined || consumer === null) return found(undefined);
    const isNamed = typeof consumer.name === 'string' && consumer.name !== '';
    return isNamed ? found(consumer) : unavailable(new Error('the lookup of credentials gave no object with a name'));
  };
  try {
    const looked = look();
    return isPromise(looked) ? looked.then(judged).catch(unavailable) : judged(looked);
  } catch (error) {
    return unavailable(error);
  }
}

/** A `quoted-string` (RFC 9110 §5.6.4). */
export const quoted = (text: string): string =>
  `"${text.replaceAll(/[\\"]/g, '\\$&').replaceAll(/[^\t\x20-\x7e]/g, '')}"`;

/** The credentials of one authentication scheme in `Authorization`, whose name is compared without case (RFC 9110 §11.1). */
export function credentialsOf(req: IncomingMessage, scheme: string): string | undefined {
  const { authorization } = req.headers;
  if (authorization === undefined || authorization.length <= scheme.length) return undefined;
  if (authorization.slice(0, scheme.length).toLowerCase() !== scheme || authorization[scheme.length] !== ' ')
    return undefined;
  return authorization.slice(scheme.length).trim();
}
