import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The beginning of the path of each directory that is made here. */
const start = (): string => join(tmpdir(), 'expressway-cache-');

/**
 * Variables that enable Node's compile cache for workers: later workers load the program in half of the CPU time. The directory is new and
 * only this user can write to it, because its content is executed. It is removed at the end of the process. `NODE_COMPILE_CACHE` and
 * `NODE_DISABLE_COMPILE_CACHE` take precedence.
 */
export function compileCacheEnvironment(): NodeJS.ProcessEnv {
  if (process.env.NODE_COMPILE_CACHE || process.env.NODE_DISABLE_COMPILE_CACHE) return {};
  let directory: string;
  try {
    directory = mkdtempSync(start());
  } catch {
    // The file system is read-only. Workers start more slowly.
    return {};
  }
  process.once('exit', () => remove(directory));
  return { NODE_COMPILE_CACHE: directory };
}

/** For workers: when the primary was killed, it could not remove the directory. A worker that still loads its code leaves it. */
export function removeOrphanedCache(isOrphan: () => boolean): void {
  const directory = process.env.NODE_COMPILE_CACHE;
  if (directory?.startsWith(start()) !== true) return;
  process.once('exit', () => {
    if (isOrphan()) remove(directory);
  });
}

function remove(directory: string): void {
  try {
    // Another worker that ends may write at the same time.
    rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
  } catch {
    // A worker that is being killed may still write.
  }
}
