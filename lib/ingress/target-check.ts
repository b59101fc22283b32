import type { RequestFault } from '../core/outcome.ts';

/** A path that every server reads in the same way, and a query: told in one pass, without copying anything. */
const PLAIN = /^(?:\/(?!\.)[^%\\#?/]*)+(?:\?[^#]*)?$/;

/**
 * What servers read in different ways, so that a rule for one path could be passed by under another spelling: bad percent
 * encoding; encoded slashes, backslashes and control characters; UTF-8 that is longer than it need be (RFC 3629 §3);
 * backslashes; dot segments in any spelling (RFC 3986 §5.2.4), with path parameters behind them too.
 */
const AMBIGUOUS =
  /%(?![\da-f]{2})|%(?:2f|5c|[01][\da-f]|7f|c[01]|e0%[89]|f0%8|f[5-9a-f])|\\|(?:^|\/)(?:\.|%2e){1,2}(?:;[^/]*)?(?:\/|$)/i;

/** A name, an IPv4 address or a bracketed IPv6 one, with a port or without; narrower than RFC 3986, which lets a host be `a'(b)`. */
const AUTHORITY = /^(?:[\w.~-]+|\[[\da-f:.]+\])(?::\d{0,5})?$/i;

const ABSOLUTE = /^https?:\/\/([^/?#]*)/i;

const fault = (detail: string, ambiguous = false): RequestFault => ({ cause: 'bad_request', detail, ambiguous });

const NO_TARGET = fault('The request target is none that is forwarded.');
const BAD_AUTHORITY = fault('The authority of the request target is not valid.');
const FRAGMENT = fault('The request target has a fragment.');
const AMBIGUOUS_PATH = fault('The path can be read in more than one way.', true);

/** Whether a text names a host as in `Host` (RFC 9110 §7.2). */
export function isAuthority(text: string): boolean {
  return AUTHORITY.test(text);
}

/** What is wrong with a request target (RFC 9112 §3.2), if anything. */
export function targetFault(method: string | undefined, target: string): RequestFault | undefined {
  if (PLAIN.test(target)) return undefined;
  if (target.includes('#')) return FRAGMENT;
  if (target.startsWith('/')) return pathFault(target);
  if (target === '*') return method === 'OPTIONS' ? undefined : NO_TARGET;
  const absolute = ABSOLUTE.exec(target);
  if (absolute === null) return NO_TARGET;
  const [start, authority = ''] = absolute;
  // Credentials are among what this refuses: RFC 9110 §4.2.4.
  return isAuthority(authority) ? pathFault(target.slice(start.length)) : BAD_AUTHORITY;
}

function pathFault(target: string): RequestFault | undefined {
  const query = target.indexOf('?');
  return AMBIGUOUS.test(query === -1 ? target : target.slice(0, query)) ? AMBIGUOUS_PATH : undefined;
}
