import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Variables that give workers Node's compile cache: one that follows another loads the program in half of the CPU time. The directory
 * is new and for this user alone, since a user who can write there decides what the workers run; it is removed at the end of the process. Where
 * `NODE_COMPILE_CACHE` or `NODE_DISABLE_COMPILE_CACHE` is set, that decides.
 */
export function compileCacheEnvironment(): NodeJS.ProcessEnv {
  if (process.env.NODE_COMPILE_CACHE || process.env.NODE_DISABLE_COMPILE_CACHE) return {};
  let directory: string;
  try {
    directory = mkdtempSync(join(tmpdir(), 'expressway-cache-'));
  } catch {
    // A file system that cannot be written: workers start more slowly.
    return {};
  }
  process.once('exit', () => {
    try {
      rmSync(directory, { recursive: true, force: true });
    } catch {
      // A worker that is being killed was still writing.
    }
  });
  return { NODE_COMPILE_CACHE: directory };
}
