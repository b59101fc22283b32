import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { describe } from '@jest/globals';

const require = createRequire(import.meta.url);
const INSTALLED = existsSync(new URL('node_modules', import.meta.url));
const REASON = '__tests__/applications is not installed: run npm run test:applications';

/**
 * Whether this folder is installed. If not, it says that something is skipped.
 *
 * @throws {Error} with CI=true, which must skip nothing.
 */
export function isInstalled(what: string): boolean {
  if (!INSTALLED && process.env.CI === 'true') throw new Error(`${what}: ${REASON}; CI must not skip this`);
  if (!INSTALLED) process.stderr.write(`\n*** SKIPPED, ${what}: ${REASON} ***\n\n`);
  return INSTALLED;
}

/** `describe` where this folder is installed; else its tests are skipped, which is said. */
export function describeInstalled(name: string, tests: () => void): void {
  if (isInstalled(name)) describe(name, tests);
  else describe.skip(name, tests);
}

/** A package of this folder. Its types are not known to a check of the repository, where it may not be installed. */
// biome-ignore lint/suspicious/noExplicitAny: see above.
export function installed(name: string): any {
  return require(name);
}
