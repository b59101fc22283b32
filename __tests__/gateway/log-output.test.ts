import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { LogOutput } from '../../lib/gateway/logging/log-output.ts';
import { ask } from '../support/ask.ts';
import { StagedGateway } from './staged-gateway.ts';
import { until } from './until.ts';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'expressway-'));
});

afterEach(() => rmSync(directory, { recursive: true }));

test('the log output writes all lines in order before close() resolves', async () => {
  const path = join(directory, 'log');
  const out = new LogOutput(path);
  for (let i = 0; i < 10_000; i += 1) out.write(`${i}\n`);
  await out.close();
  expect(readFileSync(path, 'utf8')).toBe(Array.from({ length: 10_000 }, (_, i) => `${i}\n`).join(''));
  expect(out.dropped).toBe(0);
});

test('the log output does not block the event loop while it has no reader; it drops, counts and reports what does not fit', async () => {
  const fifo = join(directory, 'fifo');
  execFileSync('mkfifo', [fifo]);
  // It opens the pipe and does not read before it is told to.
  const reader = spawn('sh', ['-c', 'exec <"$0"; read go <&3; exec cat', fifo], {
    stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
  });
  // Asked for now: it ends as soon as the log is closed, which may be before close() has told.
  const ended = once(reader, 'close');
  let got = '';
  reader.stdout?.on('data', (chunk) => {
    got += chunk;
  });
  const out = new LogOutput(openSync(fifo, 'w'), 200_000);
  const line = `${'x'.repeat(999)}\n`;
  for (let i = 0; i < 1_000; i += 1) {
    out.write(line);
    if (i % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  // It is here: a write that waited for the reader would wait for ever.
  // A pipe holds 64 KiB, the buffer 200 000 bytes.
  expect(out.dropped).toBeGreaterThan(600);
  (reader.stdio[3] as NodeJS.WritableStream).write('go\n');
  const told = () =>
    [...got.matchAll(/"msg":"log lines dropped","dropped":(\d+)}\n/g)].map(([, count]) => Number(count));
  // In one line, or in two where the first drop was before the pipe was full.
  await until(() => told().reduce((sum, count) => sum + count, 0) === out.dropped);
  await out.close();
  await ended;
  expect(got.split('\n').filter((one) => one.startsWith('x'))).toHaveLength(1_000 - out.dropped);
});

test('the log output survives a full disk', async () => {
  const warned = jest.spyOn(process.stderr, 'write').mockReturnValue(true);
  const out = new LogOutput('/dev/full', 10_000);
  for (let i = 0; i < 1_000; i += 1) out.write(`${'x'.repeat(99)}\n`);
  await until(() => warned.mock.calls.length > 0);
  expect(String(warned.mock.calls[0]?.[0])).toMatch(/The log cannot be written: ENOSPC/);
  expect(out.failure).toMatchObject({ code: 'ENOSPC', message: expect.stringMatching(/no space left/) });
  for (let i = 0; i < 1_000; i += 1) out.write('more\n');
  expect(out.dropped).toBeGreaterThan(800);
  await out.close();
  // Once, and not for every line.
  expect(warned).toHaveBeenCalledTimes(1);
  warned.mockRestore();
});

test('a write error is known until writing works again, and is reported once', async () => {
  const warned = jest.spyOn(process.stderr, 'write').mockReturnValue(true);
  const path = join(directory, 'pipe');
  execFileSync('mkfifo', [path]);
  const first = spawn('cat', [path]);
  const out = new LogOutput(path);
  out.write('one\n');
  await once(first.stdout, 'data');
  first.kill();
  await once(first, 'exit');
  await until(() => {
    out.write('nobody reads\n');
    return out.failure !== undefined;
  });
  expect(out.failure).toMatchObject({ code: 'EPIPE' });
  const second = spawn('cat', [path]);
  let got = '';
  second.stdout.on('data', (chunk) => {
    got += chunk;
  });
  await until(() => {
    out.write('again\n');
    return out.failure === undefined && got.includes('again\n');
  });
  await out.close();
  await once(second, 'exit');
  const said = warned.mock.calls.map(([text]) => String(text)).filter((text) => text.includes('cannot be written'));
  expect(said).toEqual([expect.stringContaining('EPIPE')]);
  warned.mockRestore();
});

const MODULE = fileURLToPath(new URL('../../lib/gateway/logging/log-output.ts', import.meta.url));

describe('the last lines before a process ends', () => {
  const program = (end: string): string => `
    import { LogOutput } from ${JSON.stringify(MODULE)};
    const out = new LogOutput(1);
    for (let line = 0; line < 100; line += 1) out.write('line ' + line + '\\n');
    ${end}`;

  test.each([
    ['an uncaught exception', 'throw new Error("crash");', 1],
    ['a rejected promise', 'await Promise.reject(new Error("crash"));', 1],
    ['process.exit()', 'process.exit(3);', 3],
  ])('are written: %s', async (_how, end, expected) => {
    const path = join(directory, 'log');
    const file = openSync(path, 'w');
    const args = ['--input-type=module', '-e', program(end)];
    const toFile = spawn(process.execPath, args, { stdio: ['ignore', file, 'ignore'] });
    const toPipe = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    let piped = '';
    toPipe.stdout.on('data', (chunk) => {
      piped += chunk;
    });
    const codes = await Promise.all([once(toFile, 'close'), once(toPipe, 'close')]);
    closeSync(file);
    expect(codes.map(([code]) => code)).toEqual([expected, expected]);
    const lines = Array.from({ length: 100 }, (_, line) => `line ${line}\n`).join('');
    expect([readFileSync(path, 'utf8'), piped]).toEqual([lines, lines]);
  });
});

describe('a process whose log cannot be written', () => {
  const PAUSE = fileURLToPath(new URL('../support/pause.ts', import.meta.url));

  /** More than a pipe holds; then the process ends in one of these ways. */
  const program = (end: string): string => `
    import { openSync } from 'node:fs';
    import { pause } from ${JSON.stringify(PAUSE)};
    import { LogOutput } from ${JSON.stringify(MODULE)};
    const out = new LogOutput(openSync(process.argv[1], 'r+'));
    for (let line = 0; line < 3_000; line += 1) out.write('x'.repeat(99) + '\\n');
    await pause('the output has noticed', 1_200);
    ${end}`;
  const ENDS = {
    'an orderly end': 'await out.close(); process.exit(0);',
    'an exception': 'throw new Error("crash");',
    'a second signal': 'process.emit("exit", 143); process.kill(process.pid, "SIGTERM");',
  };

  test.each([
    ['a full disk', 'an orderly end', 0],
    ['a full disk', 'an exception', 1],
    ['a full disk', 'a second signal', 'SIGTERM'],
    ['a reader that stands still', 'an orderly end', 'SIGKILL'],
    ['a reader that stands still', 'an exception', 'SIGKILL'],
    ['a reader that stands still', 'a second signal', 'SIGKILL'],
  ] as const)('%s: the process still ends, by %s', async (what, end, expected) => {
    const fifo = join(directory, 'fifo');
    execFileSync('mkfifo', [fifo]);
    const path = what === 'a full disk' ? '/dev/full' : fifo;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program(ENDS[end]), path], { stdio: 'ignore' });
    const late = setTimeout(() => child.kill('SIGABRT'), 20_000);
    const [code, signal] = await once(child, 'exit');
    clearTimeout(late);
    expect(code ?? signal).toBe(expected);
  });
});

test.each(['1', '2'])(
  'a full disk under stdout and stderr does not end the gateway, with WORKERS=%s',
  async (workers) => {
    const gateway = await StagedGateway.start({
      env: { BACKENDS: 'http://127.0.0.1:9', ACCESS_LOG: 'json', WORKERS: workers },
      stdout: '/dev/full 2>&1',
    });
    try {
      await until(async () => (await gateway.ask('/status')).includes('log_failing'));
      expect((await ask(gateway.url)).status).toBe(502);
    } finally {
      await gateway.close();
    }
  },
);
