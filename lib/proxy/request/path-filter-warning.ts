import { warn } from '../../core/warnings.ts';
import { isGlob } from './path-options.ts';

/**
 * Warns of each plain text in a `pathFilter` that is a prefix of more than one path segment: http-proxy-middleware compares
 * the beginning of the path, Express mounts at whole segments (docs/errors.md).
 */
export function warnOfOpenPrefixes(pathFilter: unknown): void {
  for (const prefix of [pathFilter].flat()) {
    if (typeof prefix !== 'string' || prefix.endsWith('/') || isGlob(prefix)) continue;
    warn(
      'WARN_EXPRESSWAY_PATH_FILTER',
      `pathFilter "${prefix}" also matches "${prefix}X": middlewares mounted at "${prefix}" do not see such a request, and it is ` +
        `proxied all the same. Mount the proxy beside them, or write "${prefix}/**".`,
    );
  }
}
