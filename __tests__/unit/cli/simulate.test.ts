import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, test } from '@jest/globals';
import { run } from '../../../lib/cli/run.ts';
import { ReferenceMeter } from '../rate-limit/reference-model.ts';

const folder = mkdtempSync(join(tmpdir(), 'expressway-simulate-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
function logFile(content: string | Buffer, extension = 'log'): string {
  const file = join(folder, `${++files}.${extension}`);
  writeFileSync(file, content);
  return file;
}

async function cli(args: string[], stdin: NodeJS.ReadableStream = Readable.from([])) {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const texts = Promise.all([stdout, stderr].map(async (one) => (await one.toArray()).join('')));
  const code = await run(args, { stdin, stdout, stderr });
  stdout.end();
  stderr.end();
  const [out = '', err = ''] = await texts;
  return { code, out, err };
}

async function report(args: string[], stdin?: NodeJS.ReadableStream) {
  const { code, out, err } = await cli(['simulate', ...args, '--json'], stdin);
  expect([code, err]).toEqual([0, '']);
  return JSON.parse(out);
}

const START = Date.UTC(2026, 10, 24, 8);
const json = (time: number, client: string, more = {}) => `${JSON.stringify({ time, client, ...more })}\n`;

/** The same numbers in every run. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

describe('expressway simulate', () => {
  test.each([
    ['sliding-window', '5/10s', undefined],
    ['sliding-window', '5/10s,12/1m', undefined],
    ['token-bucket', '5/10s', 8],
  ] as const)('says with %s and %s what the model says', async (algorithm, limit, burst) => {
    const quotas = limit.split(',').map((window) => {
      const most = Number(window.split('/')[0]);
      return { limit: most, windowMs: window.endsWith('10s') ? 10_000 : 60_000, burst: burst ?? most };
    });
    const next = random(7);
    const models = new Map<string, { meter: ReferenceMeter; requests: number; limited: number }>();
    let [now, log, limited, longest] = [START, '', 0, 0];
    for (let i = 0; i < 3_000; i++) {
      now += Math.floor(next() * 400);
      const client = `198.51.100.${Math.floor(next() ** 3 * 20)}`;
      log += json(now, client);
      const model = models.get(client) ?? { meter: new ReferenceMeter(algorithm, quotas), requests: 0, limited: 0 };
      models.set(client, model);
      model.requests++;
      const { allowed, retryAfterMs } = model.meter.take(now, 1);
      if (allowed) continue;
      model.limited++;
      limited++;
      longest = Math.max(longest, retryAfterMs);
    }
    const args = [logFile(log), '--limit', limit, '--algorithm', algorithm, ...(burst ? ['--burst', `${burst}`] : [])];
    const result = await report(args);
    expect(limited).toBeGreaterThan(100);
    expect(result).toMatchObject({ requests: 3_000, limited, clients: models.size, approximate: false });
    expect(result.waits.longestMs).toBe(longest);
    const told = Object.fromEntries(result.top.map((one: { client: string }) => [one.client, one]));
    for (const [client, { requests, limited }] of models) {
      if (limited > 0) expect(told[client]).toMatchObject({ requests, limited });
      else expect(told[client]).toBeUndefined();
    }
    const sum = (key: string) =>
      result.overTime.rows.reduce((all: number, row: Record<string, number>) => all + (row[key] as number), 0);
    expect([sum('requests'), sum('limited')]).toEqual([3_000, limited]);
    expect(result.overTime.rows.length).toBeLessThanOrEqual(48);
  });

  test('in fixed windows refuses what is over the limit until a window, begun by the first request, is over', async () => {
    const log = [0, 1, 2, 9_999, 10_000, 10_001].map((ms) => json(START + ms, '198.51.100.1')).join('');
    const result = await report([logFile(log), '--limit', '2/10s', '--algorithm', 'fixed-window']);
    expect(result).toMatchObject({ requests: 6, limited: 2, waits: { longestMs: 9_998 } });
    expect(result.first).toEqual({ at: '2026-11-24T08:00:00.002Z', client: '198.51.100.1' });
  });

  const clf = '198.51.100.1 - frank [24/Nov/2026:10:00:00 +0200] "GET /a?b=\\"c\\" HTTP/1.1" 200 12';
  test.each([
    ['common', clf],
    ['common', `${clf} "-" "curl/8" 0.004`],
    ['combined', `${clf} "https://site.example/" "say \\"hi\\""`],
    ['json', JSON.stringify({ time: '2026-11-24T08:00:00.000Z', ip: '198.51.100.1' })],
    ['json', JSON.stringify({ time: START / 1_000, remoteAddress: '198.51.100.1' })],
    ['json', JSON.stringify({ time: `${START / 1_000}.250`, client: '198.51.100.1' })],
    ['auto', clf],
    ['auto', JSON.stringify({ time: START, client: '198.51.100.1' })],
  ])('reads %s: %s', async (format, line) => {
    const result = await report([logFile(`${line}\r\n\n${line}`), '--limit', '1/1m', '--format', format]);
    expect(result).toMatchObject({ requests: 2, limited: 1, lines: { unreadable: 0 } });
    expect(result.from).toMatch(/^2026-11-24T08:00:00\.(000|250)Z$/);
    expect(result.top[0].client).toBe('198.51.100.1');
  });

  test('counts lines that it cannot read, shows the first, and moves nobody’s cursor with them', async () => {
    const good = json(START, '198.51.100.1');
    const bad = ['garbage\x1b[2J', '{"time":1}', '{"client":"x","time":"soon"}', 'x'.repeat(100_000), '{', 'null'];
    const log = `${bad[0]}\n${good}${bad.slice(1).join('\n')}\n${good}`;
    const result = await report([logFile(log), '--limit', '1/1m']);
    expect(result.lines).toMatchObject({ total: 8, unreadable: 6 });
    expect(result.lines.examples.map(({ number }: { number: number }) => number)).toEqual([1, 3, 4]);
    expect(result.limited).toBe(1);
    const { out } = await cli(['simulate', logFile(log), '--limit', '1/1m']);
    expect(out).toContain('6 lines cannot be read');
    expect(out).toContain('line 1: garbage\\u001b[2J');
    expect(out).not.toContain('\x1b');
  });

  test('takes a line that is out of order for simultaneous with the latest, and says so', async () => {
    const log = [0, 5_000, 3_000, 61_000].map((ms) => json(START + ms, '198.51.100.1')).join('');
    const result = await report([logFile(log), '--limit', '2/1m']);
    expect(result.outOfOrder).toEqual({ lines: 1, latestMs: 2_000 });
    expect(result).toMatchObject({ limited: 1, first: { at: '2026-11-24T08:00:05.000Z' } });
  });

  test('reads several logs, gzipped ones, and standard input', async () => {
    const line = json(START, '198.51.100.1');
    const packed = logFile(Buffer.concat([gzipSync(line), gzipSync(line)]), 'log.gz');
    const args = [packed, logFile(line), '-', '--limit', '1/1m'];
    expect(
      await report(args, Readable.from([Buffer.from(line.slice(0, 9)), Buffer.from(line.slice(9))])),
    ).toMatchObject({
      requests: 4,
      limited: 3,
    });
  });

  test('tells clients apart by a field, by address without it, and IPv6 addresses by network', async () => {
    const log = [
      json(START, '198.51.100.1', { userId: 7 }),
      json(START, '198.51.100.2', { userId: 7 }),
      json(START, '2001:db8::1'),
      json(START, '2001:db8::2'),
    ].join('');
    const result = await report([logFile(log), '--limit', '1/1m', '--by', 'userId', '--ipv6-subnet', '64']);
    expect(result.top.map(({ client }: { client: string }) => client)).toEqual(['k:7', '2001:db8::/64']);
  });

  test.each([
    [[], /name an access log/],
    [['LOG'], /--limit is missing/],
    [['LOG', '--limit', 'much'], /--limit must be 1 to 8 windows/],
    [['LOG', '--limit', '1/1m', '--algorithm', 'leaky'], /--algorithm must be one of sliding-window/],
    [['LOG', '--limit', '1/1m,2/1h', '--algorithm', 'fixed-window'], /single window/],
    [['LOG', '--limit', '1/1m', '--burst', '5'], /--burst needs --algorithm token-bucket/],
    [['LOG', '--limit', '1/1m', '--top', 'all'], /--top must be an integer/],
    [['LOG', '--limit', '1/1m', '--by', 'userId', '--format', 'common'], /--by must be ip or one of user/],
    [['LOG', '--limit', '1/1m', '--fast'], /--fast/],
    [['LOG', '--limit', '999999999999999/365d'], /2\^53|windows/],
  ])('called with %j says what is wrong, with exit code 2', async (args, message) => {
    const { code, out, err } = await cli(['simulate', ...args.map((one) => (one === 'LOG' ? '/no/such/log' : one))]);
    expect([code, out]).toEqual([2, '']);
    expect(err).toMatch(message);
  });

  test.each([
    ['no such file', () => join(folder, 'none.log'), /ENOENT/],
    ['a folder', () => folder, /folder/],
    ['a broken archive', () => logFile('no gzip', 'gz'), /incorrect header check/],
    ['an archive that is cut off', () => logFile(gzipSync('x'.repeat(9_999)).subarray(0, 20), 'gz'), /unexpected end/],
    ['nothing but lines of another kind', () => logFile('1 2 3\n4 5 6\n'), /none of the lines can be read/],
  ])('for %s says so, with exit code 1', async (_what, name, message) => {
    const { code, out, err } = await cli(['simulate', name(), '--limit', '1/1m']);
    expect([code, out]).toEqual([1, '']);
    expect(err).toMatch(message);
  });

  test('of an empty log says that there is nothing in it', async () => {
    expect(await cli(['simulate', logFile(''), '--limit', '1/1m'])).toMatchObject({
      code: 0,
      out: expect.stringContaining('No requests.'),
    });
  });

  test('with more clients than --max-keys says that numbers are estimates, and still names who was limited most', async () => {
    let log = '';
    for (let i = 0; i < 5_000; i++) {
      log += json(START + i, `198.${18 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`);
      if (i % 10 === 0) log += json(START + i, '203.0.113.7');
    }
    const result = await report([logFile(log), '--limit', '5/1h', '--max-keys', '1000']);
    expect(result.approximate).toBe(true);
    expect(result.top[0]).toMatchObject({ client: '203.0.113.7', requests: 500, limited: 495 });
  });

  test('helps, and knows its commands', async () => {
    expect(await cli(['--help'])).toMatchObject({ code: 0, out: expect.stringContaining('simulate') });
    expect(await cli(['simulate', '--help'])).toMatchObject({ code: 0, out: expect.stringContaining('Examples:') });
    expect(await cli(['dance'])).toMatchObject({ code: 2, err: expect.stringContaining('no command "dance"') });
    expect(await cli([])).toMatchObject({ code: 2, err: expect.stringContaining('Usage:') });
  });

  test('draws a bar on a terminal only, and takes it away', async () => {
    const bytes = Buffer.alloc(2_000_000, json(START, '198.51.100.1'));
    const stderr = Object.assign(new PassThrough(), { isTTY: true });
    const drawn: string[] = [];
    stderr.on('data', (data) => drawn.push(String(data)));
    const stdout = new PassThrough().resume();
    const bar = await import('../../../lib/cli/progress-bar.ts');
    const one = new bar.ProgressBar(stderr, 'access.log', bytes.length);
    const silent = new bar.ProgressBar(Object.assign(stdout, { isTTY: false }), 'access.log', bytes.length);
    await new Promise((resolve) => setTimeout(resolve, 600));
    one.update(bytes.length / 2);
    silent.update(bytes.length / 2);
    one.clear();
    stderr.end();
    await once(stderr, 'end');
    expect(drawn.join('')).toBe(`\r[${'#'.repeat(15)}${'.'.repeat(15)}] 50 % of access.log, 1 s left \x1b[K\r\x1b[K`);
  });
});
