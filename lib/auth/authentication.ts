import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Consumer, type Exchange, exchangeOf } from '../core/exchange.ts';
import type { GatewayEvents } from '../core/gateway-events.ts';
import { canonical } from '../core/header-names.ts';
import { isPromise, type Middleware, type Next } from '../core/http.ts';
import type { Rejected } from '../core/outcome.ts';
import { reject } from '../core/reject.ts';
import { shownValue } from '../core/shown-value.ts';
import { named } from '../core/thrown-by.ts';
import { thrown, warnOnceOf } from '../core/warnings.ts';

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
    error: error instanceof Error ? error : new Error(thrown(error)),
  },
});

/** A function that looks credentials up: the consumer, or `undefined` for unknown credentials. */
type Lookup<A extends readonly unknown[]> = (...args: A) => Consumer | undefined | Promise<Consumer | undefined>;

/**
 * Makes an authentication of a function that looks credentials up. In JavaScript, it may also return `null` for none, as database clients do.
 * If it returns something else than a consumer, the request gets 503, and a process warning says what is wrong.
 *
 * @param name Of the function, for messages.
 * @param found Called with the consumer, or with `undefined` for unknown credentials.
 */
export function looksUp<A extends readonly unknown[]>(
  name: string,
  given: Lookup<A>,
  found: (consumer: Consumer | undefined) => Authentication,
): (...args: A) => Authentication | Promise<Authentication> {
  const look = named(name, given);
  const judged = (consumer: Consumer | null | undefined): Authentication => {
    if (consumer === undefined || consumer === null) return found(undefined);
    const problem = shapeProblem(consumer);
    if (problem === undefined) return found(consumer);
    const message = `${name} must return an object { name, plan } or undefined; it returned ${problem}`;
    warnOnceOf(given, 'WARN_EXPRESSWAY_CONSUMER', `${message}. Requests get 503.`);
    return unavailable(new Error(message));
  };
  return (...args) => {
    try {
      const looked = look(...args);
      return isPromise(looked) ? looked.then(judged).catch(unavailable) : judged(looked);
    } catch (error) {
      return unavailable(error);
    }
  };
}

/** What is wrong with the result of a lookup. It shows no values, because they may be credentials. */
function shapeProblem(consumer: Consumer): string | undefined {
  if (typeof consumer !== 'object') return `a value of type ${typeof consumer}`;
  if (Array.isArray(consumer)) return 'a list';
  const { name, plan }: { readonly name?: unknown; readonly plan?: unknown } = consumer;
  if (name === undefined) return `${shownValue(consumer)}, without a name`;
  if (typeof name !== 'string' || name === '') return 'a name that is not a text, or an empty one';
  return plan === undefined || plan === null || typeof plan === 'string' ? undefined : 'a plan that is not a text';
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
