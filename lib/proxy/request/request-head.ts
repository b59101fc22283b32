import { isAuthority } from '../../core/authority.ts';
import { GatewayError } from '../../core/errors.ts';
import type { Exchange } from '../../core/exchange.ts';
import { HeaderNames, identityHeaders } from '../../core/header-names.ts';
import { HEADER_VALUE } from '../../core/header-values.ts';
import { TOKEN } from '../../core/http.ts';
import type { Rejected } from '../../core/outcome.ts';
import { UNPROVEN } from '../../core/peer-facts.ts';
import { type HeaderChange, type HeaderRules, requestHeaderRules } from '../header-rules.ts';
import { fieldText, NEVER_FORWARDED, pushEndToEndHeaders, pushFraming } from './end-to-end-headers.ts';
import { type ForwardingRules, pushForwardingHeaders, writtenHere } from './forwarding-headers.ts';

const ENCODING: ReadonlySet<string> = new Set(['content-encoding']);

/** How a request's head is rewritten for its backend. */
export interface RequestHeadRules extends ForwardingRules {
  /** Send the backend's own authority as `Host` instead of the client's. */
  readonly changeOrigin: boolean;
  readonly names: HeaderNames;
  /** Changes by the service, made last. */
  readonly change: HeaderChange | undefined;
}

/** The options that the head of a request depends on. */
interface RequestHeadOptions extends ForwardingRules {
  /** Name of the service. */
  readonly name: string;
  readonly changeOrigin: boolean;
  readonly identityHeaders: readonly string[];
  readonly requestHeaders?: HeaderRules | undefined;
}

/** Prepares the parts that are the same for all requests. */
export function requestHeadRules(options: RequestHeadOptions): RequestHeadRules {
  const { name, forwarded, forwardingFields, via, changeOrigin, requestHeaders } = options;
  const dropped = [...NEVER_FORWARDED, 'host', ...writtenHere(options)];
  const names = new HeaderNames(dropped, identityHeaders(options.identityHeaders), UNPROVEN);
  const change = requestHeaders && requestHeaderRules(requestHeaders, name);
  return { forwarded, forwardingFields, via, changeOrigin, names, change };
}

export const BAD_TARGET: Rejected = Object.freeze({
  kind: 'rejected',
  cause: 'bad_request',
  detail: 'The proxy does not forward this request target.',
});

/** The head of a request to a backend. */
export interface RequestHead {
  readonly path: string;
  /** Names and values in turn. */
  readonly fields: string[];
}

/**
 * Makes the head of the request to a backend: leaves out the headers of the client's connection, then adds the gateway's own. In this
 * order, so that a client cannot remove the gateway's headers by naming them in `Connection`. The rules of the route and of the service come last: they
 * change what the backend gets, and nothing that the gateway reads.
 *
 * @param bodyLength Length of the body in bytes; `Infinity` if it is unknown, 0 for no body.
 * @param isDecoded Whether the body is no longer in the coding that the client named.
 * @returns `undefined` for a request target that the proxy does not forward.
 * @throws {GatewayError} ERR_EXPRESSWAY_REQUEST_HEAD when a middleware gave a header a value that cannot be sent.
 */
export function requestHead(
  exchange: Exchange,
  authority: string,
  rules: RequestHeadRules,
  bodyLength: number,
  isDecoded: boolean,
): RequestHead | undefined {
  const { req } = exchange;
  const { host: given } = req.headers;
  const target = targetOf(req.url ?? '', given === undefined ? given : fieldText('host', given));
  if (target === undefined) return undefined;
  const host = rules.changeOrigin ? authority : target.host;
  const fields: string[] = host === undefined ? [] : ['host', host];
  pushFraming(fields, bodyLength);
  const { names } = rules;
  const { peerTrusted, writtenHeaders: own } = exchange;
  const written = isDecoded ? ENCODING : undefined;
  pushEndToEndHeaders(fields, req, { names, peerTrusted, keepsCase: true, written, own });
  // A route may have put another hostname into `Host`. These headers tell the backend which one the client used.
  pushForwardingHeaders(fields, exchange, rules, exchange.prefixes?.host ?? target.host);
  exchange.changeHeaders?.(fields, exchange);
  rules.change?.(fields, exchange);
  return { path: target.path, fields };
}

/**
 * A target in origin form stays as it is. One in absolute form is split into its path and its authority, which overrides `Host`
 * (RFC 9112 §3.2.2). The target never decides on the backend.
 */
function targetOf(url: string, hostField: string | undefined): { path: string; host: string | undefined } | undefined {
  return url.startsWith('/') ? { path: url, host: hostField } : absoluteForm(url);
}

/** The parts of a target in absolute form (RFC 9112 §3.2.2); `undefined` for any other target, and for one without a valid authority. */
export function absoluteForm(url: string): { readonly path: string; readonly host: string } | undefined {
  const [, host = '', rest = ''] = /^https?:\/\/([^/?#]*)(.*)$/i.exec(url) ?? [];
  return isAuthority(host) ? { path: rest.startsWith('/') ? rest : `/${rest}`, host } : undefined;
}

/** The error for a head that undici rejects. A middleware is the cause, because Node's parser has checked what the client sent. */
export function unsendable({ fields }: RequestHead, cause: Error): GatewayError {
  const at = fields.findIndex((text, index) => !(index % 2 === 0 ? TOKEN : HEADER_VALUE).test(text));
  const name = JSON.stringify(fields[at - (at % 2)]);
  const what =
    at === -1
      ? `a path or a header that cannot be sent (${cause.message})`
      : at % 2 === 0
        ? `a header with the name ${name}, which is not a token (RFC 9110 §5.1)`
        : `the header ${name} to a value with a character that headers must not have: encode what is not in Latin-1`;
  return new GatewayError('ERR_EXPRESSWAY_REQUEST_HEAD', `A middleware set ${what}`, { cause });
}
