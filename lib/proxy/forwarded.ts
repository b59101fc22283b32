import type { Exchange } from '../core/exchange.ts';

const TOKEN = /^[\w!#$%&'*+.^`|~-]+$/;

/**
 * One element of `Forwarded` (RFC 7239 §4).
 *
 * @param address Who asked; IPv6 is bracketed and quoted (§6), one that nobody knows is `unknown`.
 */
export function forwardedElement(address: string | undefined, host: string | undefined, scheme: string): string {
  const by = `for=${node(address)}`;
  return host ? `${by};host=${value(host)};proto=${value(scheme)}` : `${by};proto=${value(scheme)}`;
}

/** The list of a peer that may be believed, with an element for that peer behind it. */
export function forwardedList({ req }: Exchange, element: string): string {
  const before = req.headers.forwarded;
  return before ? `${before}, ${element}` : element;
}

function node(address: string | undefined): string {
  if (address === undefined) return 'unknown';
  if (!address.includes(':')) return value(address);
  // A zone says something on this machine only (RFC 4007 §6), and has no place in the grammar.
  const zone = address.indexOf('%');
  return `"[${zone === -1 ? address : address.slice(0, zone)}]"`;
}

function value(text: string): string {
  return TOKEN.test(text) ? text : `"${text.replace(/["\\]/g, '\\$&')}"`;
}
