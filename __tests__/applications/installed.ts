import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { describe, test } from '@jest/globals';

const require = createRequire(import.meta.url);
const INSTALLED = existsSync(new URL('node_modules', import.meta.url));
const REASON = '__tests__/applications is not installed: run npm run test:applications';

/** `describe` where this folder is installed; else its tests are skipped, which is said. With CI=true they fail instead. */
export function describeInstalled(name: string, tests: () => void): void {
  if (INSTALLED) {
    describe(name, tests);
  } else if (process.env.CI === 'true') {
    test(name, () => {
      throw new Error(`${REASON}; CI must not skip this`);
    });
  } else {
    process.stderr.write(`\n*** SKIPPED, ${name}: ${REASON} ***\n\n`);
    describe.skip(name, tests);
  }
}

/** A package of this folder. Its types are not known to a check of the repository, where it may not be installed. */
// biome-ignore lint/suspicious/noExplicitAny: see above.
export function installed(name: string): any {
  return require(name);
}
