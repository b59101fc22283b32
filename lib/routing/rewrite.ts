import { isAuthority } from '../core/authority.ts';
import { type Check, described, group, optional, text } from '../core/options.ts';

/** Changes the target of a request before it is forwarded. Give `prefix` or `fullPath`, not both. */
export interface RewriteOptions {
  /**
   * Replaces the path prefix of the route: with `path: /shop` and `prefix: /`, `/shop/cart` becomes `/cart`. The backend gets the
   * removed part in `X-Forwarded-Prefix`. Not allowed for a route with an exact path. Default: the path stays.
   */
  prefix?: string;
  /** Replaces the whole path; the query stays. Default: the path stays. */
  fullPath?: string;
  /** Replaces the hostname in the `Host` header. Default: it stays. */
  hostname?: string;
}

/** Splits a target in origin form into its path and its query. */
export function splitTarget(target: string): { path: string; query: string } {
  const end = target.search(/[?#]/);
  return end === -1 ? { path: target, query: '' } : { path: target.slice(0, end), query: target.slice(end) };
}

/**
 * Replaces `prefix`, with which the path begins, by `replacement`. Empty prefixes mean `/`. The result begins with one slash, because a
 * client that resolves `//evil.example` as a reference takes it for a hostname (RFC 3986 §4.2).
 */
export function replacePrefix(path: string, prefix: string, replacement: string): string {
  const start = replacement.endsWith('/') ? replacement.slice(0, -1) : replacement;
  const rest = path.slice(prefix.endsWith('/') ? prefix.length - 1 : prefix.length);
  return start === '' ? `/${rest.replace(/^\/+/, '')}` : start + rest;
}

/** A path without slashes at its end. A regular expression would take quadratic time for many slashes. */
export function withoutSlashesAtEnd(path: string): string {
  let end = path.length;
  while (path[end - 1] === '/') end -= 1;
  return path.slice(0, end);
}

/** The target that is forwarded. `*`, the target of `OPTIONS` for a whole server, has no path to rewrite. */
export function rewriteTarget(target: string, prefix: string, rewrite: RewriteOptions): string {
  if (!target.startsWith('/')) return target;
  const { path, query } = splitTarget(target);
  if (rewrite.fullPath !== undefined) return rewrite.fullPath + query;
  if (rewrite.prefix !== undefined) return replacePrefix(path, prefix, rewrite.prefix) + query;
  return target;
}

/** Checks a path that requests are sent to. */
export const pathCheck: Check = text(
  /^\/(?!\/)(?:(?![?#\\])[!-~])*$/,
  'must be a path that begins with one slash: no query, no backslash, and percent-encoded where it is not ASCII',
);

const authorityCheck: Check = described(
  (value) =>
    typeof value === 'string' && isAuthority(value) ? undefined : 'must be a hostname, with a port or without',
  { type: 'string' },
);

/** Rejects options with both kinds of path. */
export const onePath = (one: { readonly prefix?: unknown; readonly fullPath?: unknown }): string[] =>
  one.prefix !== undefined && one.fullPath !== undefined ? ['give prefix or fullPath, not both'] : [];

export const rewriteCheck: Check = group<RewriteOptions, object>(
  {},
  {
    prefix: optional(pathCheck),
    fullPath: optional(pathCheck),
    hostname: optional(authorityCheck),
  },
  {},
  onePath,
);
