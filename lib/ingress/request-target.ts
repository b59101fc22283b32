import { isAuthority } from '../core/authority.ts';
import type { RequestFault } from '../core/outcome.ts';

/** A path that all servers read in the same way, with a query. Found in one pass, without copies. */
const PLAIN = /^(?:\/(?!\.)[^%\\#?/]*)+(?:\?[^#]*)?$/;

/** Ambiguous parts of a path, with which a client could bypass a rule for a path by another spelling. */
const AMBIGUITIES: readonly (readonly [RegExp, string])[] = [
  [/%(?![\da-f]{2})/i, 'a percent sign that encodes nothing'],
  [/\\|%5c/i, 'a backslash'],
  [/%(?:[01][\da-f]|7f)/i, 'an encoded control character'],
  // Overlong UTF-8 (RFC 3629 §3).
  [/%(?:c[01]|e0%[89]|f0%8|f[5-9a-f])/i, 'overlong UTF-8'],
  // Dot segments in any spelling (RFC 3986 §5.2.4), also with path parameters, and between encoded slashes.
  [/(?:^|\/|%2f)(?:\.|%2e){1,2}(?:;[^/]*)?(?:\/|%2f|$)/i, 'a dot segment'],
  // A server that decodes it finds an empty segment, which many servers ignore.
  [/(?:\/|%2f)%2f|%2f\//i, 'an encoded slash beside another slash'],
  // A server that decodes twice finds another path. Anchored: searching from each slash would take quadratic time.
  [/^(?=.*%2f).*%25/i, 'an encoded slash and an encoded percent sign'],
];
const ENCODED_SLASH = /%2f/i;

const ABSOLUTE = /^https?:\/\/([^/?#]*)/i;

const fault = (detail: string, ambiguous?: RequestFault['ambiguous']): RequestFault =>
  Object.freeze({ cause: 'bad_request', detail, ambiguous });

const NO_TARGET = fault('The gateway does not forward this request target.');
const BAD_AUTHORITY = fault('The authority of the request target is not valid.');
const FRAGMENT = fault('The request target has a fragment.');
const ambiguous = (what: string, kind: RequestFault['ambiguous']): RequestFault =>
  fault(`The path has ${what}, which servers read in different ways (ambiguousPaths, AMBIGUOUS_PATHS).`, kind);
const AMBIGUOUS_PATH = AMBIGUITIES.map(([, what]) => ambiguous(what, 'path'));
const SLASH_IN_SEGMENT = ambiguous('an encoded slash', 'encoded-slash');

/** The fault of a request target (RFC 9112 §3.2); `undefined` for a valid one. */
export function targetFault(method: string | undefined, target: string): RequestFault | undefined {
  if (PLAIN.test(target)) return undefined;
  if (target.includes('#')) return FRAGMENT;
  if (target.startsWith('/')) return pathFault(target);
  if (target === '*') return method === 'OPTIONS' ? undefined : NO_TARGET;
  return absoluteFault(target) ?? pathFault(target.slice(pathStart(target)));
}

/**
 * The fault of the authority in a target in absolute form (RFC 9112 §3.2.2). For some targets without a host, Express's router finds no path
 * and calls no middleware; for others it takes a part of the authority for the path.
 */
export function absoluteFault(target: string): RequestFault | undefined {
  const absolute = ABSOLUTE.exec(target);
  if (absolute === null) return NO_TARGET;
  // This also rejects credentials (RFC 9110 §4.2.4).
  return isAuthority(absolute[1] as string) ? undefined : BAD_AUTHORITY;
}

/** Index of the path in a target: after the authority, if there is one. */
export function pathStart(target: string): number {
  return target.startsWith('/') ? 0 : (ABSOLUTE.exec(target)?.[0].length ?? target.length);
}

function pathFault(target: string): RequestFault | undefined {
  const query = target.indexOf('?');
  const path = query === -1 ? target : target.slice(0, query);
  const index = AMBIGUITIES.findIndex(([pattern]) => pattern.test(path));
  if (index !== -1) return AMBIGUOUS_PATH[index];
  return ENCODED_SLASH.test(path) ? SLASH_IN_SEGMENT : undefined;
}

/** Targets that need no change. Found in one pass, without copies. */
const NORMAL = /^(?:\/[^%/?]+)*\/?(?:\?|$)/;
const NORMAL_WITH_EMPTY_SEGMENTS = /^\/[^%?]*(?:\?|$)/;

const ENCODED_OCTET = /%[\da-f]{2}/gi;
const UNRESERVED = /[\w.~-]/;
const SLASHES = /\/{2,}/g;
/** Characters that `url.parse()` encodes. Express uses it to find the path of a target in absolute form. */
const ENCODED_BY_EXPRESS = /["'<>^`{|}]/g;

/**
 * A target with its path in the normal form of RFC 3986 §6.2.2: unreserved characters are not encoded, and hexadecimal digits
 * are in upper case. Without `mergeSlashes`, empty segments stay. Authority and query stay as they are.
 */
export function normalTarget(target: string, mergeSlashes: boolean): string {
  if ((mergeSlashes ? NORMAL : NORMAL_WITH_EMPTY_SEGMENTS).test(target)) return target;
  const start = pathStart(target);
  const query = target.indexOf('?', start);
  const end = query === -1 ? target.length : query;
  let path = target.slice(start, end).replace(ENCODED_OCTET, normalOctet);
  if (mergeSlashes) path = path.replace(SLASHES, '/');
  // Otherwise Express would match another path than the forwarded one, and remove too much of it at a mount.
  if (start > 0) path = path.replace(ENCODED_BY_EXPRESS, percentEncoded);
  return target.slice(0, start) + path + target.slice(end);
}

function normalOctet(encoded: string): string {
  const character = String.fromCharCode(Number.parseInt(encoded.slice(1), 16));
  return UNRESERVED.test(character) ? character : encoded.toUpperCase();
}

const percentEncoded = (character: string): string => `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
