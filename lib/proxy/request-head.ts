import type { IncomingMessage } from 'node:http';
import type { Exchange } from '../core/exchange.ts';
import { droppedFields, pushEndToEndFields, withAliases } from './end-to-end-fields.ts';
import { FORWARDING_FIELDS, type ForwardingRules, pushForwardingFields, writtenHere } from './forwarding-fields.ts';

/** Nobody in front writes those: they are a client's, passed on by a proxy that has overlooked them. */
const ALIASES = [...FORWARDING_FIELDS].flatMap((name) => withAliases(name).slice(1));

/** How a request's head is rewritten for its backend. */
export interface RequestHeadRules extends ForwardingRules {
  /** Send the backend's own authority as `Host` instead of the client's. */
  readonly changeOrigin: boolean;
  /** Fields of a client's that do not go on as they are; those of a peer that is not believed. */
  readonly rewritten: ReadonlySet<string>;
  readonly rewrittenOrSpoofed: ReadonlySet<string>;
}

/** Works out once what need not be worked out for every request. */
export function requestHeadRules(rules: ForwardingRules & { readonly changeOrigin: boolean }): RequestHeadRules {
  const { forwarded, forwardingFields, via, changeOrigin } = rules;
  const rewritten = droppedFields(['host'], writtenHere(rules), ALIASES);
  const rewrittenOrSpoofed = droppedFields(rewritten, FORWARDING_FIELDS);
  return { forwarded, forwardingFields, via, changeOrigin, rewritten, rewrittenOrSpoofed };
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
 */
export function requestHead(exchange: Exchange, authority: string, rules: RequestHeadRules): RequestHead | undefined {
  const { req } = exchange;
  const target = targetOf(req.url ?? '', req.headers.host);
  if (target === undefined) return undefined;
  const host = rules.changeOrigin ? authority : target.host;
  const fields: string[] = host === undefined ? [] : ['host', host];
  pushEndToEndFields(fields, req, exchange.peerTrusted ? rules.rewritten : rules.rewrittenOrSpoofed);
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

/** Whether a request has content, by its framing (RFC 9112 §6.3). */
export function hasContent({ headers }: IncomingMessage): boolean {
  if (headers['transfer-encoding'] !== undefined) return true;
  const length = headers['content-length'];
  return length !== undefined && length !== '0';
}
