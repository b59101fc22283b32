import { GatewayError } from '../../core/errors.ts';
import type { Exchange } from '../../core/exchange.ts';
import { TOKEN } from '../../core/field-values.ts';
import { fieldText, NEVER_FORWARDED, pushEndToEndFields, pushFraming } from './end-to-end-fields.ts';
import { type ForwardingRules, pushForwardingFields, writtenHere } from './forwarding-fields.ts';
import { HeaderNames } from './header-names.ts';
import { identityHeaders } from './identity-headers.ts';

const ENCODING: ReadonlySet<string> = new Set(['content-encoding']);

/** How a request's head is rewritten for its backend. */
export interface RequestHeadRules extends ForwardingRules {
  /** Send the backend's own authority as `Host` instead of the client's. */
  readonly changeOrigin: boolean;
  readonly names: HeaderNames;
}

/** Works out once what need not be worked out for every request. */
export function requestHeadRules(
  rules: ForwardingRules & { readonly changeOrigin: boolean; readonly identityHeaders: readonly string[] },
): RequestHeadRules {
  const { forwarded, forwardingFields, via, changeOrigin } = rules;
  const dropped = [...NEVER_FORWARDED, 'host', ...writtenHere(rules)];
  const names = new HeaderNames(dropped, identityHeaders(rules.identityHeaders));
  return { forwarded, forwardingFields, via, changeOrigin, names };
}

/** The parts of a request that go into a backend's request line and field section. */
export interface RequestHead {
  readonly path: string;
  /** Names and values in turn. */
  readonly fields: string[];
}

/**
 * Cleans a request of what concerned only the client's connection, then adds what the gateway says of it:
 * in this order, so that a client cannot strip the gateway's fields by naming them in `Connection`.
 * Gives nothing when the target is none that a gateway forwards.
 *
 * @param isDecoded Whether the body is no longer in the coding that the client named.
 * @param bodyLength Bytes of the body that is sent; `Infinity` where only its end tells, 0 for none.
 * @throws {GatewayError} ERR_EXPRESSWAY_REQUEST_HEAD when a middleware made a header something that cannot be sent.
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
  const { peerTrusted } = exchange;
  pushEndToEndFields(fields, req, { names, peerTrusted, keepsCase: true, written: isDecoded ? ENCODING : undefined });
  pushForwardingFields(fields, exchange, rules, target.host);
  return { path: target.path, fields };
}

/**
 * Origin-form passes untouched; absolute-form gives its authority, which wins over `Host` (RFC 9112 §3.2.2),
 * and its path. The backend never comes from the target.
 */
function targetOf(url: string, hostField: string | undefined): { path: string; host: string | undefined } | undefined {
  if (url.startsWith('/')) return { path: url, host: hostField };
  const absolute = /^https?:\/\/([^/?#]*)(.*)$/i.exec(url);
  if (absolute === null) return undefined;
  const [, authority, rest] = absolute;
  if (!authority || authority.includes('@')) return undefined;
  return { path: rest?.startsWith('/') ? rest : `/${rest ?? ''}`, host: authority };
}

/** What may stand in a value (RFC 9110 §5.5), to undici as well. */
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** Says what of a head undici refused. What a client sends has passed Node's parser: it was a middleware that wrote this. */
export function unsendable({ fields }: RequestHead, cause: Error): GatewayError {
  const at = fields.findIndex((text, index) => !(index % 2 === 0 ? TOKEN : VALUE).test(text));
  const name = JSON.stringify(fields[at - (at % 2)]);
  const what =
    at === -1
      ? `a path or a header that cannot be sent (${cause.message})`
      : at % 2 === 0
        ? `a header with the name ${name}, which is no token (RFC 9110 §5.1)`
        : `the header ${name}, with a character that no header may have: encode what is not in Latin-1`;
  return new GatewayError('ERR_EXPRESSWAY_REQUEST_HEAD', `A middleware set ${what}`, { cause });
}
