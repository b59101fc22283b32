import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { processUsage } from '../../../bench/harness/process-usage.ts';

const hasProc = existsSync('/proc/self/stat');
if (!hasProc) process.stdout.write('no /proc here: the tests of processUsage are skipped\n');

(hasProc ? describe : describe.skip)('processUsage', () => {
  test('grows with the CPU time of the process, and knows its memory', async () => {
    const burn = `const end = process.cpuUsage().user + 100_000; while (process.cpuUsage().user < end); process.title = 'a) 1 2 (b'; console.log(JSON.stringify(process.cpuUsage())); setInterval(() => {}, 1e6)`;
    const child = spawn(process.execPath, ['-e', burn], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const [line] = (await once(child.stdout, 'data')) as [Buffer];
      const { user, system } = JSON.parse(String(line)) as NodeJS.CpuUsage;
      const usage = processUsage(child.pid as number);
      expect(usage.cpuMicros).toBeGreaterThanOrEqual(user + system - 20_000);
      expect(usage.cpuMicros).toBeLessThan(user + system + 1_000_000);
      expect(usage.rssBytes).toBeGreaterThan(10_000_000);
    } finally {
      child.kill('SIGKILL');
      await once(child, 'close');
    }
  });

  test('of a process that is not there is an error', () => {
    expect(() => processUsage(2 ** 22 + 1)).toThrow('ENOENT');
  });
});
