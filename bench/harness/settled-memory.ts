import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Memory } from './target.ts';

const PASSES = 4;
/** Finalizers, and what closes a tick later, are through by the next pass. */
const BETWEEN_MS = 50;

/** What this process needs once its garbage is gone. */
export async function settledMemory(): Promise<Memory> {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  for (let pass = 0; pass < PASSES; pass += 1) {
    gc();
    await sleep(BETWEEN_MS);
  }
  const { rss, heapUsed, external } = process.memoryUsage();
  return { rssBytes: rss, heapBytes: heapUsed + external };
}
