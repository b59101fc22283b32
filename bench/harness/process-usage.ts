import { readFileSync } from 'node:fs';
import type { Usage } from './child-side.ts';

/** Linux tells times in hundredths of a second, on every architecture that Node runs on. */
const TICK_MICROS = 10_000;

/**
 * What another process has used so far, ended threads included, as Linux tells in `/proc`. 10 ms is the least that can be seen: half
 * a percent of a stretch of 2 s.
 *
 * @throws {Error} when there is no such process, or no `/proc`.
 */
export function processUsage(pid: number): Usage {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  // The second field is the name in parentheses, which may hold blanks and parentheses of its own.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [userTicks, systemTicks] = [Number(fields[11]), Number(fields[12])];
  const rss = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
  return { cpuMicros: (userTicks + systemTicks) * TICK_MICROS, rssBytes: Number(rss ?? 0) * 1024 };
}
