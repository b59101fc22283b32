import type { Check } from '../../core/options.ts';
import { shownText, shownValue } from '../../core/shown-value.ts';

const FILTER =
  "must be a path like '/api', a glob like '/api/**', a list of either, or a function (path, req) => boolean";
const REWRITE =
  "must be an object like { '^/api': '' }, of regular expressions and what takes the place of the match, or a function (path, req) => path";

/** Whether a text is a pattern. */
export const isGlob = (text: string): boolean => /[*?[\]{}()!]/.test(text);

/** What http-proxy-middleware takes as `pathFilter`: it would refuse anything else with the first request. */
export const pathFilterCheck: Check = (value) => {
  if (typeof value === 'function') return undefined;
  const items: readonly unknown[] = [value].flat();
  if (items.length === 0) return FILTER;
  for (const item of items) {
    if (typeof item !== 'string' || item === '') return FILTER;
    // It is compared with the beginning of a path, and no path begins otherwise.
    if (!isGlob(item) && !item.startsWith('/')) return `${FILTER}: ${shownText(item)} matches no path`;
  }
  const globs = items.filter((item) => isGlob(item as string)).length;
  return globs === 0 || globs === items.length ? undefined : 'must not mix paths and globs: write all of them as globs';
};

/** What http-proxy-middleware takes as `pathRewrite`. */
export const pathRewriteCheck: Check = (value) => {
  if (typeof value === 'function') return undefined;
  if (typeof value !== 'object' || value === null || !isPlain(value)) return REWRITE;
  const rules = Object.entries(value);
  if (rules.length === 0) return REWRITE;
  const problems = rules.flatMap(([pattern, replacement]) => {
    if (typeof replacement !== 'string') {
      return [
        `${shownText(pattern)} must have a text that takes the place of the match, got ${shownValue(replacement)}`,
      ];
    }
    try {
      new RegExp(pattern);
      return [];
    } catch (error) {
      return [`must have regular expressions as keys: ${(error as Error).message}`];
    }
  });
  return problems.length > 0 ? problems : undefined;
};

const isPlain = (value: object): boolean => [Object.prototype, null].includes(Object.getPrototypeOf(value));
