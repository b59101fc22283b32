import { fileURLToPath } from 'node:url';

const isBuilt = process.env.TEST_LIBRARY === 'built';

/**
 * How a process that a test starts finds the library: in its sources, or with `TEST_LIBRARY=built` in `dist`, as an installed package. CI sets
 * that on the oldest Node, which takes a second of CPU time at each start to strip the types of all files.
 */
export const LIBRARY_FLAGS: readonly string[] = isBuilt ? [] : ['--conditions=expressway-source'];

/** The program of the command `expressway`. */
export const CLI = fileURLToPath(
  new URL(isBuilt ? '../../dist/lib/cli/main.js' : '../../lib/cli/main.ts', import.meta.url),
);
