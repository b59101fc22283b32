import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';

/** In a process of its own, where nothing but the gateway can be to blame for what is left over (O6). */
async function fuzz(side: string, seed: number, cases: number): Promise<{ code: number | null; said: string }> {
  const script = fileURLToPath(new URL('run.ts', import.meta.url));
  const args = ['--conditions=expressway-source', '--disable-warning=ExperimentalWarning', script];
  const flags = ['--side', side, '--seed', `${seed}`, '--cases', `${cases}`];
  const child = spawn(process.execPath, [...args, ...flags], { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (said += text));
  const code = await new Promise<number | null>((resolve) => child.once('exit', resolve));
  return { code, said };
}

// Its client, not the gateway: under Node 22 it now and then takes a reset after some content for an end in order.
const isModern = Number.parseInt(process.versions.node, 10) >= 24;
if (!isModern) process.stderr.write('SKIPPED: the fuzzer needs Node 24, whose client tells a reset from an end\n');

(isModern ? describe : describe.skip)('G08: a seeded fuzzer, short here and long by `npm run fuzz`', () => {
  test.each([
    ['client', 1, 400],
    ['backend', 1, 400],
  ])('the %s side: the corpus, the findings of the past and mutations of seed %d', async (side, seed, cases) => {
    const { code, said } = await fuzz(side, seed, cases);
    expect(said).toContain(`${side} side: seed ${seed}, ${cases} cases`);
    expect(said).not.toContain('FINDING');
    expect(code).toBe(0);
  });
});
