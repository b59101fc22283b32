import { randomBytes } from 'node:crypto';
import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import { deadlineSignal } from '../core/delay.ts';
import type { Exchange } from '../core/exchange.ts';
import { eventsCheck, GatewayEvents } from '../core/gateway-events.ts';
import { CORS_HEADERS, canonical, headerName, isIdentityHeader } from '../core/header-names.ts';
import { TOKEN } from '../core/http.ts';
import { type Check, type Checks, described, durationMs, oneOf, optional, resolveOptions } from '../core/options.ts';
import { peerFacts, UNPROVEN } from '../core/peer-facts.ts';
import { leaveUnread } from '../core/unread-content.ts';
import { httpUrl } from './auth-checks.ts';
import { type Authentication, type AuthenticationMiddleware, authenticates, unavailable } from './authentication.ts';

/** Options of {@link forwardAuth}. */
export interface ForwardAuthOptions {
  /** URL of the service that decides. */
  url: string;
  /** Timeout of its whole response, in milliseconds. After that, `onError` decides. Default 2 000. */
  timeoutMs?: number;
  /**
   * Request headers that the service gets. Default: all, except those that concern the connection, the body or a cached copy, and
   * those in which a client could claim another address, URL or user (`X-Forwarded-User`, `X-Original-URL`). Of a trusted proxy, the service gets what
   * backends get: see `identityHeaders` of `roundRobinProxy()`.
   */
  requestHeaders?: readonly string[];
  /** Headers of its response that the backend gets as request headers, in place of the client's own. Default: none. */
  responseHeaders?: readonly string[];
  /** Header of its response that names the consumer. The client's own header of that name is removed. Default: none. */
  consumerHeader?: string;
  /**
   * What happens when the service cannot be reached, or responds too late or with a status from 500: `deny` sends 503, `allow`
   * forwards the request without a consumer. With `allow`, a client that overloads the service gets in. Default `deny`.
   */
  onError?: 'deny' | 'allow';
  /** Emitter of the event `rejected`. Default: a new one, as `events` of the result. */
  events?: GatewayEvents;
}

/** Defaults of {@link ForwardAuthOptions}. */
export const forwardAuthDefaults = Object.freeze({
  timeoutMs: 2_000,
  responseHeaders: Object.freeze([]) as readonly string[],
  onError: 'deny' as 'deny' | 'allow',
});

const nameList: Check = described(
  (value) =>
    Array.isArray(value) && value.every((one) => typeof one === 'string' && TOKEN.test(one))
      ? undefined
      : 'must be a list of header names',
  { type: 'array', items: { type: 'string', pattern: TOKEN.source } },
);

export const forwardAuthChecks: Checks<ForwardAuthOptions> = {
  url: httpUrl,
  timeoutMs: durationMs,
  requestHeaders: optional(nameList),
  responseHeaders: nameList,
  consumerHeader: optional(headerName),
  onError: oneOf('deny', 'allow'),
  events: optional(eventsCheck),
};

/** Largest body of the service's response that a refused client gets: enough for a login page. */
const MAX_BODY_BYTES = 65_536;

/** Questions in progress at a time. Requests that are not authenticated cost the service and this process a connection each. */
const MAX_RUNNING = 1_000;

/** Headers of a request that concern its connection or its body, which the service does not get. */
const OF_THE_REQUEST = new Set([
  ...[
    'connection',
    'content-encoding',
    'content-length',
    'content-type',
    'expect',
    'host',
    'http2-settings',
    'keep-alive',
  ],
  ...['proxy-authorization', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade'],
  // These concern a cached copy of the backend's response, not of the service's.
  ...['if-match', 'if-modified-since', 'if-none-match', 'if-range', 'if-unmodified-since', 'range'],
]);

/** Headers of the service's response that concern its connection or its coding. `fetch` has decoded the body. */
const OF_THE_RESPONSE = new Set([
  'connection',
  'content-encoding',
  'content-length',
  'keep-alive',
  'proxy-connection',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/**
 * Asks a service about each request, as Traefik's ForwardAuth and nginx's `auth_request` do: a GET with the headers of the request, and
 * `X-Forwarded-Method`, `-Proto`, `-Host`, `-Uri` and `-For`. With a 2xx the request goes on. Any other response below 500 goes to the client as
 * it is: a 401, or a redirect to a login page. If its body is larger than 65 536 bytes, the client gets 503 instead. The service never gets the
 * body of the request. At most 1,000 requests wait for the service at a time; further ones get 503.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function forwardAuth(given: ForwardAuthOptions): AuthenticationMiddleware {
  const options = resolveOptions('forwardAuth', given, forwardAuthDefaults, forwardAuthChecks, { address: 'use url' });
  const { events = new GatewayEvents(), consumerHeader } = options;
  const responseHeaders = options.responseHeaders.map((name) => name.toLowerCase());

  // A header without a value only removes the client's own.
  const noIdentity: Readonly<Record<string, string | undefined>> = Object.fromEntries(
    [...responseHeaders, ...(consumerHeader === undefined ? [] : [consumerHeader])].map((name) => [name, undefined]),
  );

  const failed = (error: unknown): Authentication =>
    options.onError === 'allow'
      ? { kind: 'authenticated', consumer: undefined, headers: noIdentity }
      : unavailable(error);

  // For `Via` (RFC 9110 §7.6.3). The name is unique, so that a chain of gateways does not look like a loop.
  const hop = `1.1 expressway-auth-${randomBytes(6).toString('hex')}`;

  let running = 0;

  function authenticate(exchange: Exchange): Authentication | Promise<Authentication> {
    if (exchange.req.headers.via?.includes(hop))
      return unavailable(new Error('the URL of the service leads back here'));
    // Not `failed()`: with `onError: 'allow'`, a client could open the door by many requests.
    if (running >= MAX_RUNNING) return unavailable(new Error(`${MAX_RUNNING} requests wait for the service`));
    running += 1;
    const { signal, stop } = deadlineSignal(options.timeoutMs);
    return ask(exchange, signal).finally(() => {
      stop();
      running -= 1;
    });
  }

  async function ask(exchange: Exchange, signal: AbortSignal): Promise<Authentication> {
    let response: Response;
    try {
      response = await fetch(options.url, {
        headers: questionHeaders(exchange, options.requestHeaders, hop),
        redirect: 'manual',
        signal,
      });
    } catch (error) {
      return failed(error);
    }
    const { status, ok } = response;
    // The service has refused the request, so `onError: 'allow'` must not apply if reading its response fails.
    if (!ok && status < 500) return pass(response, exchange).catch(unavailable);
    // The body is not needed. It may be cut off already.
    response.body?.cancel().catch(() => undefined);
    if (!ok) return failed(new Error(`the service responded ${status}`));
    const name = consumerHeader === undefined ? undefined : response.headers.get(consumerHeader);
    const headers: Record<string, string | undefined> = { ...noIdentity };
    for (const one of responseHeaders) headers[one] = response.headers.get(one) ?? undefined;
    return { kind: 'authenticated', consumer: name ? { name } : undefined, headers };
  }

  return authenticates(events, authenticate);
}

function questionHeaders(exchange: Exchange, chosen: readonly string[] | undefined, hop: string): Headers {
  const { req } = exchange;
  const headers = new Headers();
  for (const name of chosen ?? Object.keys(req.headers).filter((one) => isBelieved(one, exchange)))
    add(headers, name.toLowerCase(), req.headers);
  if (exchange.peerTrusted) {
    for (const [name, value] of peerFacts(exchange, exchange.clientAddress, exchange.host, true))
      if (chosen?.some((one) => one.toLowerCase() === name) !== false) headers.set(name, value);
  }
  const forwarded: Record<string, string | undefined> = {
    'x-forwarded-method': req.method,
    'x-forwarded-proto': exchange.scheme,
    'x-forwarded-host': exchange.host || undefined,
    'x-forwarded-uri': originForm(req.originalUrl ?? req.url ?? ''),
    'x-forwarded-for': exchange.clientAddress,
    via: req.headers.via === undefined ? hop : `${req.headers.via}, ${hop}`,
  };
  for (const [name, value] of Object.entries(forwarded)) {
    // The client's own values must not reach the service.
    headers.delete(name);
    if (value !== undefined) headers.set(name, value);
  }
  return headers;
}

/** `Forwarded` is among them, because `X-Forwarded-*` says who the client is. */
const NOT_BELIEVED: ReadonlySet<string> = new Set(UNPROVEN);

/**
 * Services also decide by headers such as `X-Original-URL`. The gateway drops those of a client, which a trusted proxy may only have passed on, and all headers
 * that an application could take for one of them (`X_Forwarded_Uri`).
 */
function isBelieved(name: string, { peerTrusted }: Exchange): boolean {
  const plain = canonical(name);
  return !isIdentityHeader(plain) || (peerTrusted && plain === name && !NOT_BELIEVED.has(name));
}

/** Removes scheme and host from a target: a service would find no rule for `http://host/admin`, only for `/admin`. */
const originForm = (target: string): string => target.replace(/^https?:\/\/[^/?#]*/i, '').replace(/^(?![/*])/, '/');

function add(headers: Headers, name: string, from: IncomingHttpHeaders): void {
  const value = from[name];
  if (value === undefined || OF_THE_REQUEST.has(name)) return;
  try {
    headers.set(name, Array.isArray(value) ? value.join(', ') : value);
  } catch {
    // fetch is stricter than HTTP. A header that it rejects does not identify the client, so it is left out.
  }
}

/** Sends the response of the service to the client. */
async function pass(response: Response, { res, ownsCors }: Exchange): Promise<Authentication> {
  const body = await boundedBody(response);
  if (body === undefined)
    return unavailable(
      new Error(`the body of the service's ${response.status} is larger than ${MAX_BODY_BYTES} bytes`),
    );
  // The client may have left, or another middleware may have responded.
  if (res.headersSent || res.destroyed) return { kind: 'responded' };
  leaveUnread(res);
  writeHead(res, response, body.length, ownsCors);
  res.end(body);
  return { kind: 'responded' };
}

function writeHead(res: ServerResponse, response: Response, length: number, ownsCors: boolean): void {
  res.statusCode = response.status;
  for (const [name, value] of response.headers) {
    if (OF_THE_RESPONSE.has(name) || (ownsCors && CORS_HEADERS.includes(name))) continue;
    // `Headers` gives each cookie by itself: they must not be joined (RFC 6265 §3).
    if (name === 'set-cookie') res.appendHeader(name, value);
    else if (name === 'vary') res.setHeader(name, [res.getHeader(name) ?? [], value].flat().join(', '));
    else res.setHeader(name, value);
  }
  // The decision is about this client. Caches keep some statuses, such as 301 and 404, if nothing forbids it (RFC 9111 §4.2.2).
  if (!response.headers.has('cache-control')) res.setHeader('Cache-Control', 'no-store');
  res.setHeader('Content-Length', length);
}

/** The body; `undefined` when it is too large. */
async function boundedBody(response: Response): Promise<Buffer | undefined> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
