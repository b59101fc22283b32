/**
 * How a process that a test starts finds the library: in its sources, or with `TEST_LIBRARY=built` in `dist`, as an installed package. CI sets
 * that on the oldest Node, which takes a second of CPU time at each start to strip the types of all files.
 */
export const LIBRARY_FLAGS: readonly string[] =
  process.env.TEST_LIBRARY === 'built' ? [] : ['--conditions=expressway-source'];
