import { pathStart } from './target-check.ts';

/** Targets of which nothing is to be changed: told in one pass, without copying anything. */
const NORMAL = /^(?:\/[^%/?]+)*\/?(?:\?|$)/;
const NORMAL_WITH_EMPTY_SEGMENTS = /^\/[^%?]*(?:\?|$)/;

const ENCODED = /%[\da-f]{2}/gi;
const UNRESERVED = /[\w.~-]/;
const SLASHES = /\/{2,}/g;
/** What `url.parse()` encodes, by which Express finds the path of a target in absolute form. */
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
  let path = target.slice(start, end).replace(ENCODED, normalOctet);
  if (mergeSlashes) path = path.replace(SLASHES, '/');
  // Else Express would match another path than the one that is forwarded, and cut off too much of it at a mount.
  if (start > 0) path = path.replace(ENCODED_BY_EXPRESS, percentEncoded);
  return target.slice(0, start) + path + target.slice(end);
}

function normalOctet(encoded: string): string {
  const character = String.fromCharCode(Number.parseInt(encoded.slice(1), 16));
  return UNRESERVED.test(character) ? character : encoded.toUpperCase();
}

const percentEncoded = (character: string): string => `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
