import { randomBytes } from 'node:crypto';
import { isIP } from 'node:net';
import { clientVersion, foldAddress, schemeOf } from '../../core/connection.ts';
import type { Exchange } from '../../core/exchange.ts';
import { TCHAR, TOKEN } from '../../core/http.ts';
import { type Check, described } from '../../core/options.ts';
import { peerFacts } from '../../core/peer-facts.ts';
import { fieldText } from './end-to-end-headers.ts';

/** How the proxy treats `X-Forwarded-For` and `Forwarded` headers that came with a request. */
export type ForwardedMode = 'replace' | 'append';

/** The headers that tell backends about the client: `X-Forwarded-*`, `Forwarded` (RFC 7239), or both. */
export type ForwardingFields = 'x-forwarded' | 'forwarded' | 'both';

/** The headers that the gateway adds to each request for its backend. */
export interface ForwardingRules {
  readonly forwarded: ForwardedMode;
  readonly forwardingFields: ForwardingFields;
  /** `undefined`: `Via` of the client is forwarded unchanged. */
  readonly via: Via | undefined;
}

const X_FORWARDED = ['x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto'];

/** Headers that only the gateway writes. A value of the client never reaches the backend unchecked. */
export function writtenHere({ forwardingFields, via }: ForwardingRules): string[] {
  const names = forwardingFields === 'x-forwarded' ? X_FORWARDED : [...X_FORWARDED, 'forwarded'];
  return via === undefined ? names : [...names, 'via'];
}

/** Appends the headers that tell a backend about the client. */
export function pushForwardingHeaders(
  headers: string[],
  exchange: Exchange,
  rules: ForwardingRules,
  host: string | undefined,
): void {
  const { req, peerTrusted } = exchange;
  const { forwardingFields, via } = rules;
  const isAppended = peerTrusted && rules.forwarded === 'append';
  if (forwardingFields !== 'forwarded') {
    const forwardedFor = isAppended ? appended(exchange) : clientNode(exchange);
    if (forwardedFor !== undefined) headers.push('x-forwarded-for', forwardedFor);
    headers.push('x-forwarded-proto', exchange.scheme);
    const forwardedHost = exchange.forwardedHost || host;
    if (forwardedHost !== undefined) headers.push('x-forwarded-host', forwardedHost);
  }
  if (forwardingFields !== 'x-forwarded') {
    headers.push('forwarded', isAppended ? forwardedByPeer(exchange, host) : forwardedByUs(exchange, host));
  }
  if (peerTrusted) pushPeerFacts(headers, exchange, host, forwardingFields);
  if (via !== undefined) headers.push('via', via.after(textOf(req.headers.via), clientVersion(req)));
}

/** Replaces what a trusted peer says under other names. What a middleware of the app wrote is there already, and stays. */
function pushPeerFacts(
  headers: string[],
  exchange: Exchange,
  host: string | undefined,
  fields: ForwardingFields,
): void {
  for (const [name, value] of peerFacts(exchange, clientNode(exchange), host, fields !== 'forwarded')) {
    if (!has(headers, name)) headers.push(name, value);
  }
}

function has(headers: readonly string[], name: string): boolean {
  for (let i = 0; i < headers.length; i += 2) if (headers[i]?.toLowerCase() === name) return true;
  return false;
}

/** The list of a trusted peer, with an element for that peer. */
function forwardedByPeer(exchange: Exchange, host: string | undefined): string {
  const { socket } = exchange.req;
  return forwardedList(exchange, forwardedElement(foldAddress(socket.remoteAddress), host, schemeOf(socket)));
}

function forwardedByUs(exchange: Exchange, host: string | undefined): string {
  const { clientAddress } = exchange;
  return forwardedElement(clientAddress, exchange.forwardedHost || host, exchange.scheme);
}

/** The client's address for a header. The address of a socket is valid; that from a trusted peer may not be. */
function clientNode({ clientAddress, peerTrusted, req }: Exchange): string | undefined {
  if (clientAddress === undefined || (!peerTrusted && clientAddress === req.socket.remoteAddress)) return clientAddress;
  return nodeName(clientAddress);
}

function appended(exchange: Exchange): string | undefined {
  const before = exchange.req.headers['x-forwarded-for'];
  const peer = foldAddress(exchange.req.socket.remoteAddress);
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

/** A pair of a token and a token or quoted text (RFC 7239 §4). */
const PAIR = String.raw`${TCHAR}+=(?:${TCHAR}+|"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t -\x7e\x80-\xff])*")`;

/** One member of a list, with the comma behind it. */
const MEMBER = new RegExp(String.raw`[ \t]*${PAIR}(?:[ \t]*;[ \t]*${PAIR})*[ \t]*(?:,|$)`, 'y');

/** An address with a port, as some proxies send it; IPv6 in brackets. */
const WITH_PORT = /^(?:\[([^[\]]+)\]|([\d.]+))(?::(\d{1,5}))?$/;

/** Values that a proxy may send in place of an address: a name of its own (RFC 7239 §6.3), or `unknown` (§6.2). */
const NO_ADDRESS = /^(?:_[\w.-]+|unknown)$/i;

/**
 * One element of `Forwarded` (RFC 7239 §4).
 *
 * @param address Of the client. IPv6 is put in brackets and quotes (§6); without an address the element says `unknown`.
 */
export function forwardedElement(address: string | undefined, host: string | undefined, scheme: string): string {
  const by = `for=${node(address)}`;
  return host ? `${by};host=${value(host)};proto=${value(scheme)}` : `${by};proto=${value(scheme)}`;
}

/**
 * Appends an element to the list of a trusted peer. A malformed list is dropped: backends could misread what is appended to it.
 */
export function forwardedList({ req }: Exchange, element: string): string {
  const before = String(req.headers.forwarded ?? '');
  return before !== '' && isList(before) ? `${before}, ${element}` : element;
}

/** An entry for `X-Forwarded-For`: `unknown` if a trusted peer sent a text that is no address. */
export function nodeName(text: string): string {
  return hostAndPort(text) !== undefined || NO_ADDRESS.test(text) ? text : 'unknown';
}

function isList(text: string): boolean {
  MEMBER.lastIndex = 0;
  while (MEMBER.lastIndex < text.length) if (!MEMBER.test(text)) return false;
  return !text.endsWith(',');
}

function node(address: string | undefined): string {
  if (address === undefined) return 'unknown';
  const parts = hostAndPort(address);
  if (parts === undefined) return NO_ADDRESS.test(address) ? address : 'unknown';
  const { host, port } = parts;
  if (!host.includes(':')) return value(host + port);
  // A zone has a meaning on this machine only (RFC 4007 §6), and no place in the grammar.
  const zone = host.indexOf('%');
  return `"[${zone === -1 ? host : host.slice(0, zone)}]${port}"`;
}

/** Returns `undefined` for a text that is no address. The port keeps its colon. */
function hostAndPort(text: string): { readonly host: string; readonly port: string } | undefined {
  if (isIP(text) !== 0) return { host: text, port: '' };
  const [, bracketed, plain = '', port] = WITH_PORT.exec(text) ?? [];
  const host = bracketed ?? plain;
  if (isIP(host) !== (bracketed === undefined ? 4 : 6)) return undefined;
  return { host, port: port === undefined ? '' : `:${port}` };
}

function value(text: string): string {
  return TOKEN.test(text) ? text : `"${text.replace(/["\\]/g, '\\$&')}"`;
}

/** A member of `Via`: the protocol, then the name of the proxy (RFC 9110 §7.6.3). */
const RECEIVED_BY = /^\S+[ \t]+([^\s(]+)/;

export const viaPseudonym: Check = described(
  (value) =>
    value === undefined || value === false || (typeof value === 'string' && TOKEN.test(value))
      ? undefined
      : 'must be false or a token such as "edge-1" (letters, digits, - . _ and the like)',
  { anyOf: [{ const: false }, { type: 'string', pattern: TOKEN.source }] },
);

/** The gateway's entry in `Via`, and how the gateway recognises a request that it sent itself (a loop). */
export class Via {
  readonly pseudonym: string;

  /** @param pseudonym Default: a random name, so that a chain of gateways is not taken for a loop. */
  constructor(pseudonym = `expressway-${randomBytes(3).toString('hex')}`) {
    this.pseudonym = pseudonym;
  }

  /** The value to send: one entry per hop, in order, with the HTTP version that this hop received. */
  after(before: string | undefined, httpVersion: string): string {
    const hop = `${httpVersion} ${this.pseudonym}`;
    return before ? `${before}, ${hop}` : hop;
  }

  /** Whether a request passed this gateway before (RFC 9110 §7.6). Comments are ignored. */
  isIn(before: string): boolean {
    if (!before.includes(this.pseudonym)) return false;
    return before.split(',').some((entry) => RECEIVED_BY.exec(entry.trim())?.[1] === this.pseudonym);
  }
}
