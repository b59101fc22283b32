import { GatewayError } from '../../core/errors.ts';
import type { Exchange } from '../../core/exchange.ts';
import { HEADER_VALUE } from '../../core/header-values.ts';
import { type AppRequest, firstEntry, notPromise, TOKEN } from '../../core/http.ts';
import { boolean, type Checks, func, optional } from '../../core/options.ts';
import { named } from '../../core/thrown-by.ts';
import { type HeaderRules, headerRules, OF_RESPONSES, type Template, templates } from '../header-rules.ts';
import { publicCookie, publicRefresh, publicUrl, type UrlMapping } from './public-urls.ts';
import type { ResponseFields } from './response-head.ts';

/** The head of a backend's response, to be changed in place. */
export interface ChangeableResponse {
  readonly status: number;
  /** Names are in lower case. Repeated headers are lists. */
  readonly headers: Record<string, string | string[] | undefined>;
}

/** Changes of the responses of backends, before the client gets them. Responses of the gateway itself stay as they are. */
export interface ResponseOptions {
  /** Headers that are set, added or removed. Default: none. */
  headers?: HeaderRules;
  /**
   * Whether URLs in `Location`, `Content-Location` and `Refresh`, and the path and domain in `Set-Cookie`, become those under which
   * clients know the service: behind its path prefix, with the scheme and host of the request. URLs of other origins stay: other hosts,
   * ports and schemes, so that a backend can send clients from http to https. Default false; true with `changeOrigin`, and for a route of
   * `serviceRouter()` that rewrites the prefix or the hostname.
   */
  rewriteUrls?: boolean;
  /** Whether `Server`, `X-Powered-By`, `X-AspNet-Version` and `X-AspNetMvc-Version` are removed. Default false. */
  hideServer?: boolean;
  /**
   * A function of the response (`status`, `headers`) and the request that makes any other change, in `headers`. It cannot change the status, or headers
   * of the connection and the framing such as `Content-Length`. If it throws, the client gets 500, and the backend is not blamed. Default: none.
   */
  change?: ChangeFunction;
}

/** Changes a response. `req` may also be the `Request` of Express. */
export type ChangeFunction = { of(response: ChangeableResponse, req: AppRequest): void }['of'];

/** Checks of {@link ResponseOptions}. */
export const responseChecks: Checks<ResponseOptions> = {
  headers: optional(headerRules),
  rewriteUrls: optional(boolean),
  hideServer: optional(boolean),
  change: optional(func),
};

const TELLING = ['server', 'x-powered-by', 'x-aspnet-version', 'x-aspnetmvc-version'];

/** Headers that may be repeated, and whose values must not be joined. */
const LINES = new Set(['set-cookie', 'www-authenticate', 'proxy-authenticate']);

/** Applies {@link ResponseOptions}. */
export class ResponseRules {
  readonly options: ResponseOptions;
  readonly #removed: readonly string[];
  readonly #set: readonly (readonly [name: string, value: Template])[];
  readonly #add: readonly (readonly [name: string, value: Template])[];
  readonly #rewritesUrls: boolean;
  readonly #change: ResponseOptions['change'];

  constructor(options: ResponseOptions) {
    const { headers = {}, rewriteUrls = false, hideServer = false, change } = options;
    this.options = options;
    this.#removed = [...(headers.remove ?? []).map((name) => name.toLowerCase()), ...(hideServer ? TELLING : [])];
    this.#set = templates(headers.set);
    this.#add = templates(headers.add);
    this.#rewritesUrls = rewriteUrls;
    this.#change = change && named('response.change()', change);
  }

  /** @returns the headers for the client. `fields` is not changed. */
  apply(status: number, fields: ResponseFields, exchange: Exchange): ResponseFields {
    const headers: Record<string, string | string[] | undefined> = { ...fields };
    if (this.#rewritesUrls) rewriteUrls(headers, exchange);
    for (const name of this.#removed) delete headers[name];
    for (const [name, value] of this.#set) headers[name] = value(exchange);
    for (const [name, value] of this.#add) headers[name] = added(name, headers[name], value(exchange));
    if (this.#change !== undefined) {
      // Frozen: another status, or another object of headers, would have no effect.
      notPromise(this.#change(Object.freeze({ status, headers }), exchange.req), 'response.change()');
      assertSendable(headers, fields);
    }
    return headers;
  }
}

/**
 * Throws for invalid headers of the app, for which Node would throw later. Then the backend would be blamed. It also throws for new values of the headers
 * about the framing: with another length, the client would take a part of this response for the next one, or the other way round.
 */
function assertSendable(headers: ChangeableResponse['headers'], before: ResponseFields): void {
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || value === before[name]) continue;
    if (TOKEN.test(name) && !OF_RESPONSES.has(name.toLowerCase()) && [value].flat().every(isValue)) continue;
    throw new GatewayError(
      'ERR_EXPRESSWAY_CALLBACK',
      `response.change() made the header ${JSON.stringify(name)} one that cannot be sent`,
    );
  }
}

/** As with headers that a middleware writes: numbers and booleans are sent as text, `null` and objects would be a mistake. */
const isValue = (value: unknown): boolean =>
  ['string', 'number', 'boolean'].includes(typeof value) && HEADER_VALUE.test(String(value));

function added(name: string, before: string | string[] | undefined, value: string): string | string[] {
  if (before === undefined) return value;
  return LINES.has(name) || Array.isArray(before) ? [before, value].flat() : `${before}, ${value}`;
}

function rewriteUrls(headers: Record<string, string | string[] | undefined>, exchange: Exchange): void {
  const { location, refresh, 'content-location': contentLocation, 'set-cookie': cookies } = headers;
  if (location === undefined && refresh === undefined && contentLocation === undefined && cookies === undefined) return;
  const mapping = mappingOf(exchange);
  if (typeof location === 'string') headers.location = publicUrl(location, mapping);
  if (typeof contentLocation === 'string') headers['content-location'] = publicUrl(contentLocation, mapping);
  if (typeof refresh === 'string') headers.refresh = publicRefresh(refresh, mapping);
  if (cookies !== undefined) headers['set-cookie'] = [cookies].flat().map((cookie) => publicCookie(cookie, mapping));
}

/** How to turn the backend's paths and hosts into those of the client. */
function mappingOf(exchange: Exchange): UrlMapping {
  const { req, backend, prefixes } = exchange;
  const asked = backend === undefined ? undefined : new URL(backend);
  return {
    // Express removes the mount path of a router, so the backend does not get that path either.
    clientPrefix: (req.baseUrl ?? '') + (prefixes?.client ?? ''),
    backendPrefix: prefixes?.backend ?? '',
    toldPrefix: toldPrefix(exchange),
    clientScheme: exchange.scheme,
    clientHost: exchange.host,
    backendScheme: asked?.protocol.slice(0, -1) ?? '',
    backendHosts: [asked?.host, req.headers.host].filter((host) => host !== undefined),
  };
}

const PREFIX = 'x-forwarded-prefix';

/** `X-Forwarded-Prefix` as the backend got it. */
function toldPrefix({ sentFields = [] }: Exchange): string {
  const at = sentFields.findIndex((name, index) => index % 2 === 0 && name.toLowerCase() === PREFIX);
  return (firstEntry(at === -1 ? undefined : sentFields[at + 1]) ?? '').replace(/\/+$/, '');
}
