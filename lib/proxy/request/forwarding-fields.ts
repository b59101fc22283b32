import type { Exchange } from '../../core/exchange.ts';
import { foldAddress } from '../../core/exchange.ts';
import { schemeOf } from '../../core/sockets.ts';
import { fieldText } from './end-to-end-fields.ts';
import { forwardedElement, forwardedList, nodeName } from './forwarded.ts';
import type { Via } from './via.ts';

/** How `X-Forwarded-For` and `Forwarded` treat what the client's side sent. */
export type ForwardedMode = 'replace' | 'append';

/** In which fields backends learn who asked: `X-Forwarded-*`, `Forwarded` (RFC 7239), or both. */
export type ForwardingFields = 'x-forwarded' | 'forwarded' | 'both';

/** What the gateway says of each request to its backend. */
export interface ForwardingRules {
  readonly forwarded: ForwardedMode;
  readonly forwardingFields: ForwardingFields;
  /** Nothing when `Via` is left as it came. */
  readonly via: Via | undefined;
}

const X_FORWARDED = ['x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto'];

/** Fields that the gateway writes itself, or has replaced by those. What stands in them comes from nobody else. */
export function writtenHere({ forwardingFields, via }: ForwardingRules): string[] {
  const names = forwardingFields === 'x-forwarded' ? X_FORWARDED : [...X_FORWARDED, 'forwarded'];
  return via === undefined ? names : [...names, 'via'];
}

/** Appends the fields that tell a backend who asked, as the gateway itself knows it. */
export function pushForwardingFields(
  fields: string[],
  exchange: Exchange,
  rules: ForwardingRules,
  host: string | undefined,
): void {
  const { req, peerTrusted } = exchange;
  const { forwardingFields, via } = rules;
  const isAppended = peerTrusted && rules.forwarded === 'append';
  if (forwardingFields !== 'forwarded') {
    const forwardedFor = isAppended ? appended(exchange) : clientNode(exchange);
    if (forwardedFor !== undefined) fields.push('x-forwarded-for', forwardedFor);
    fields.push('x-forwarded-proto', exchange.scheme);
    const forwardedHost = exchange.trustedField('x-forwarded-host') || host;
    if (forwardedHost !== undefined) fields.push('x-forwarded-host', forwardedHost);
  }
  if (forwardingFields !== 'x-forwarded') {
    fields.push('forwarded', isAppended ? forwardedByPeer(exchange, host) : forwardedByUs(exchange, host));
  }
  if (via !== undefined) fields.push('via', via.after(textOf(req.headers.via), req.httpVersion));
}

/** What a trusted peer says is told in its own words; this hop adds what it saw of that peer. */
function forwardedByPeer(exchange: Exchange, host: string | undefined): string {
  const { socket } = exchange.req;
  return forwardedList(exchange, forwardedElement(foldAddress(socket?.remoteAddress), host, schemeOf(socket)));
}

function forwardedByUs(exchange: Exchange, host: string | undefined): string {
  const { clientAddress } = exchange;
  const said = exchange.trustedField('x-forwarded-host') || host;
  return forwardedElement(clientAddress, said, exchange.scheme);
}

/** A socket's address is one; what a trusted peer says need not be. */
function clientNode({ clientAddress, peerTrusted, req }: Exchange): string | undefined {
  if (clientAddress === undefined || (!peerTrusted && clientAddress === req.socket?.remoteAddress))
    return clientAddress;
  return nodeName(clientAddress);
}

function appended(exchange: Exchange): string | undefined {
  const before = exchange.req.headers['x-forwarded-for'];
  const peer = foldAddress(exchange.req.socket?.remoteAddress);
  if (before === undefined) return peer;
  const list = String(before)
    .split(',')
    .map((entry) => nodeName(entry.trim()));
  // A peer on a Unix socket has no address.
  if (peer !== undefined) list.push(peer);
  return list.join(', ');
}

function textOf(via: string | undefined): string | undefined {
  return via === undefined ? undefined : fieldText('via', via);
}
