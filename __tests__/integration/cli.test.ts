import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { expect, test } from '@jest/globals';

const MAIN = fileURLToPath(new URL('../../lib/cli/main.ts', import.meta.url));

function start(args: string[], nodeOptions: string[] = []) {
  const child = spawn(process.execPath, [...nodeOptions, MAIN, ...args], { stdio: 'pipe' });
  const read = async (stream: Readable) => (await stream.toArray()).join('');
  const done = (async () => {
    const [[code], out, err] = await Promise.all([once(child, 'exit'), read(child.stdout), read(child.stderr)]);
    return { code, out, err };
  })();
  return { child, done };
}

test('expressway simulate prints no colours and no progress bar when stdout is not a terminal', async () => {
  const { child, done } = start(['simulate', '-', '--limit', '1/1m']);
  child.stdin.end('{"time":1790000000000,"client":"198.51.100.1"}\n'.repeat(2));
  const { code, out, err } = await done;
  expect([code, err]).toEqual([0, '']);
  expect(out).toContain('limited: 1 request (50.0 %)');
  expect(out).not.toContain('\x1b');
});

test('expressway simulate exits with 2 on wrong arguments, and with 1 when it cannot read the log', async () => {
  expect(await start(['simulate']).done).toMatchObject({ code: 2, out: '' });
  expect(await start(['simulate', '/no/such/log', '--limit', '1/1m']).done).toMatchObject({ code: 1, out: '' });
});

test('expressway simulate reads a long log with hundreds of thousands of clients in bounded memory', async () => {
  const { child, done } = start(
    ['simulate', '-', '--limit', '2/1m', '--max-keys', '2000', '--json'],
    ['--max-old-space-size=24', '--max-semi-space-size=1'],
  );
  // Without a bound on the clients, a heap of 24 MB is full after 200 000 of these lines.
  const lines = 300_000;
  function* log() {
    for (let i = 0; i < lines; i += 1_000) {
      let text = '';
      for (let j = i; j < i + 1_000; j++) {
        text += `10.${(j >> 16) & 255}.${(j >> 8) & 255}.${j & 255} - - [24/Nov/2026:10:${String(Math.floor(i / 17_000)).padStart(2, '0')}:00 +0000] "GET /a/rather/long/path/of/an/ordinary/page?with=parameters HTTP/1.1" 200 512 "-" "Mozilla/5.0"\n`;
      }
      yield text;
    }
  }
  await pipeline(Readable.from(log()), child.stdin);
  const { code, out, err } = await done;
  expect([code, err]).toEqual([0, '']);
  expect(JSON.parse(out)).toMatchObject({ requests: lines, approximate: true, lines: { bad: 0 } });
});

test.each([['--help'], ['--version'], ['check', '--help'], ['doctor', '--json']])(
  'expressway %s %s says on a full disk that its output cannot be written',
  (...args) => {
    const { status, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
      stdio: ['ignore', openSync('/dev/full', 'w'), 'pipe'],
      encoding: 'utf8',
    });
    expect([status, stderr]).toEqual([
      1,
      expect.stringMatching(/^expressway: the output cannot be written: ENOSPC.*\n$/),
    ]);
  },
);

test('a message that cannot be written does not change the exit code', () => {
  const stdio = ['ignore', 'ignore', openSync('/dev/full', 'w')] as const;
  expect(spawnSync(process.execPath, [MAIN, 'unknown'], { stdio: [...stdio] }).status).toBe(2);
});
