import { isIP } from 'node:net';
import type { Exchange } from '../../core/exchange.ts';
import { TCHAR, TOKEN } from '../../core/field-values.ts';

/** A pair of a token and a token or quoted text (RFC 7239 §4). */
const PAIR = String.raw`${TCHAR}+=(?:${TCHAR}+|"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t -\x7e\x80-\xff])*")`;

/** One member of a list, with the comma behind it. */
const MEMBER = new RegExp(String.raw`[ \t]*${PAIR}(?:[ \t]*;[ \t]*${PAIR})*[ \t]*(?:,|$)`, 'y');

/** An address with a port, as some proxies send it; IPv6 in brackets. */
const WITH_PORT = /^(?:\[([^[\]]+)\]|([\d.]+))(?::(\d{1,5}))?$/;

/** A name that a proxy gives a client instead of its address (RFC 7239 §6.3), or that it knows none (§6.2). */
const NO_ADDRESS = /^(?:_[\w.-]+|unknown)$/i;

/**
 * One element of `Forwarded` (RFC 7239 §4).
 *
 * @param address Who asked; IPv6 is bracketed and quoted (§6), one that nobody knows is `unknown`.
 */
export function forwardedElement(address: string | undefined, host: string | undefined, scheme: string): string {
  const by = `for=${node(address)}`;
  return host ? `${by};host=${value(host)};proto=${value(scheme)}` : `${by};proto=${value(scheme)}`;
}

/**
 * The list of a peer that may be believed, with an element for that peer behind it. One that is malformed begins anew: what is
 * appended to it could mean anything.
 */
export function forwardedList({ req }: Exchange, element: string): string {
  const before = req.headers.forwarded === undefined ? '' : String(req.headers.forwarded);
  return before !== '' && isList(before) ? `${before}, ${element}` : element;
}

/** What is told as an address in `X-Forwarded-For`: `unknown` where a trusted peer names something else. */
export function nodeName(text: string): string {
  return hostAndPort(text) !== undefined || NO_ADDRESS.test(text) ? text : 'unknown';
}

function isList(text: string): boolean {
  MEMBER.lastIndex = 0;
  while (MEMBER.lastIndex < text.length) if (!MEMBER.test(text)) return false;
  return !text.trimEnd().endsWith(',');
}

function node(address: string | undefined): string {
  if (address === undefined) return 'unknown';
  const parts = hostAndPort(address);
  if (parts === undefined) return NO_ADDRESS.test(address) ? address : 'unknown';
  const { host, port } = parts;
  if (!host.includes(':')) return value(host + port);
  // A zone says something on this machine only (RFC 4007 §6), and has no place in the grammar.
  const zone = host.indexOf('%');
  return `"[${zone === -1 ? host : host.slice(0, zone)}]${port}"`;
}

/** Nothing for what is no address. The port, if there is one, has its colon. */
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
