import { type Check, isPlainObject } from '../../core/options.ts';
import { shownText, shownValue } from '../../core/shown-value.ts';
import { warn } from '../../core/warnings.ts';

const FILTER =
  "must be a path like '/api', a glob like '/api/**', a list of either, or a function (path, req) => boolean";
const REWRITE =
  "must be an object like { '^/api': '' }, of regular expressions and their replacements, or a function (path, req) => path";

const isGlob = (text: string): boolean => /[*?[\]{}()!]/.test(text);

/** Accepts the values that http-proxy-middleware accepts as `pathFilter`. For others it would throw at the first request. */
export const pathFilterCheck: Check = (value) => {
  if (typeof value === 'function') return undefined;
  const items: readonly unknown[] = [value].flat();
  if (items.length === 0) return FILTER;
  for (const item of items) {
    if (typeof item !== 'string') return FILTER;
    // A plain text is compared with the beginning of a path, and every path begins with a slash.
    if (!isGlob(item) && !item.startsWith('/')) return `${FILTER}: ${shownText(item)} matches no path`;
  }
  const globs = items.filter((item) => isGlob(item as string)).length;
  return globs === 0 || globs === items.length ? undefined : 'must not mix paths and globs: write all of them as globs';
};

/** Accepts the values that http-proxy-middleware accepts as `pathRewrite`. */
export const pathRewriteCheck: Check = (value) => {
  if (typeof value === 'function') return undefined;
  if (!isPlainObject(value)) return REWRITE;
  const rules = Object.entries(value);
  if (rules.length === 0) return REWRITE;
  return rules.flatMap(([pattern, replacement]) => {
    if (typeof replacement !== 'string') {
      return [`${shownText(pattern)} must have a string as its replacement, got ${shownValue(replacement)}`];
    }
    try {
      new RegExp(pattern);
      return [];
    } catch (error) {
      return [`must have regular expressions as keys: ${(error as Error).message}`];
    }
  });
};

/**
 * Warns of each plain text in a `pathFilter` that matches more than whole path segments: http-proxy-middleware compares
 * the beginning of the path, Express mounts at whole segments (docs/errors.md).
 */
export function warnOfOpenPrefixes(pathFilter: unknown): void {
  for (const prefix of [pathFilter].flat()) {
    if (typeof prefix !== 'string' || prefix.endsWith('/') || isGlob(prefix)) continue;
    warn(
      'WARN_EXPRESSWAY_PATH_FILTER',
      `pathFilter "${prefix}" also matches "${prefix}X": the proxy forwards such a request, and middlewares mounted at "${prefix}" ` +
        `do not see it. Mount the proxy at the same path, or write "${prefix}/**".`,
    );
  }
}
