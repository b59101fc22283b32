import { readFileSync } from 'node:fs';

/** Files and connections that one process may have open here. Node raises its own limit to the most that it may have. */
export function mostOpenFiles(): number | undefined {
  try {
    const hard = /^Max open files\s+\S+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
    return hard === undefined ? undefined : Number(hard);
  } catch {
    // Not Linux.
    return undefined;
  }
}
