import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, jest, test } from '@jest/globals';
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
  ] as const)('agrees with the model for %s and %s', async (algorithm, limit, burst) => {
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

  test('in fixed windows refuses requests over the limit until the window of the first request is over', async () => {
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
    ['vhost_combined', `www.example.com:443 ${clf} "-" "curl/8"`],
    ['vhost_combined', `www.example.com ${clf.replace('198.51.100.1', '198.51.100.1:5555')} "-" "curl/8"`],
    ['auto', `www.example.com:443 ${clf} "-" "curl/8"`],
    ['combined', `www.example.com:443 ${clf} "-" "curl/8"`],
    ['auto', clf.replace('198.51.100.1', '198.51.100.1:5555')],
    ['json', JSON.stringify({ ts: START / 1_000, request: { remote_ip: '198.51.100.1' } })],
    ['json', JSON.stringify({ time_local: '24/Nov/2026:10:00:00 +0200', remote_addr: '198.51.100.1' })],
    ['json', JSON.stringify({ StartUTC: '2026-11-24T08:00:00.000000001Z', ClientHost: '198.51.100.1' })],
    ['json', JSON.stringify({ time: '2026-11-24 08:00:00', client: '198.51.100.1:5555' })],
    ['auto', JSON.stringify({ time: START, client: '198.51.100.1' })],
  ])('reads %s: %s', async (format, line) => {
    const result = await report([logFile(`${line}\r\n\n${line}`), '--limit', '1/1m', '--format', format]);
    expect(result).toMatchObject({ requests: 2, limited: 1, lines: { bad: 0 } });
    expect(result.from).toMatch(/^2026-11-24T08:00:00\.(000|250)Z$/);
    expect(result.top[0].client).toBe('198.51.100.1');
  });

  test('counts unreadable lines, shows the first, and ignores their times', async () => {
    const good = json(START, '198.51.100.1');
    const bad = [
      'garbage\x1b[2J\u202e\u009b',
      '{"time":1}',
      '{"client":"x","time":"soon"}',
      'x'.repeat(100_000),
      '{',
      'null',
    ];
    const log = `${bad[0]}\n${good}${bad.slice(1).join('\n')}\n${good}`;
    const file = logFile(log);
    const result = await report([file, '--limit', '1/1m', '--max-bad', '1']);
    expect(result.lines).toMatchObject({ total: 8, bad: 6, badShare: 0.75 });
    expect(result.lines.problems).toEqual({
      'is not in a known format': 2,
      'has no address': 1,
      'has a time that does not exist': 1,
      'is too long': 1,
      'is not JSON': 1,
    });
    expect(result.lines.examples.map(({ number }: { number: number }) => number)).toEqual([1, 3, 4]);
    expect(result.limited).toBe(1);
    const { out } = await cli(['simulate', file, '--limit', '1/1m']);
    expect(out).toContain('6 lines left out (75 %');
    expect(out).toContain(`${file}:1 is not in a known format: garbage\\u001b[2J`);
    expect(out).toContain(`${file}:4 has a time that does not exist: soon: {`);
    expect(out.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u);
  });

  test('ends with exit code 1 above the share of bad lines that it was given, and prints its report all the same', async () => {
    const log = logFile(`garbage\n${json(START, '198.51.100.1').repeat(99)}\n\n`);
    const run = (...more: string[]) => cli(['simulate', log, '--limit', '1/1m', ...more]);
    expect(await run()).toMatchObject({ code: 0, err: '' });
    const strict = await run('--max-bad', '0.9%');
    expect(strict.code).toBe(1);
    expect(strict.err).toBe(
      'expressway simulate: 1 % of the lines were left out, more than --max-bad allows (0.9 %)\n',
    );
    expect(strict.out).toContain('limited: 98 requests');
    expect(await run('--max-bad', '0')).toMatchObject({ code: 1 });
  });

  test.each([
    '32/Nov/2026:10:00:00 +0000',
    '00/Nov/2026:10:00:00 +0000',
    '31/Nov/2026:10:00:00 +0000',
    '29/Feb/2026:10:00:00 +0000',
    '24/Nov/2026:24:00:00 +0000',
    '24/Nov/2026:10:60:00 +0000',
    '24/Nov/2026:10:00:61 +0000',
    '24/Nov/2026:10:00:00 +9900',
    '24/Nov/2026:10:00:00 +0060',
    '24/Foo/2026:10:00:00 +0000',
    '24/Nov/26:10:00:00 +0000',
    '2026-11-31T10:00:00Z',
    '2026-02-29T10:00:00Z',
    '2026-13-01T10:00:00Z',
    '2026-11-24T25:00:00Z',
    '2026-11-24T10:00:00+25:00',
    '2026-11-24T10:00:00 CET',
  ])('skips a line with the invalid time %s', async (time) => {
    const text = `198.51.100.9 - - [${time}] "GET / HTTP/1.1" 200 1`;
    const bad = time.includes('/') ? `${text}\n` : `${JSON.stringify({ time, client: '198.51.100.9' })}\n`;
    const log = `${json(START, '198.51.100.1')}${bad}${json(START + 61_000, '198.51.100.1')}`;
    const result = await report([logFile(log), '--limit', '1/1m', '--max-bad', '1']);
    expect(result).toMatchObject({ requests: 2, limited: 0, lines: { bad: 1 }, outOfOrder: { lines: 0 } });
    expect(result.lines.problems).toEqual({ 'has a time that does not exist': 1 });
  });

  test.each([
    ['29/Feb/2028:23:59:60 +0100', '2028-02-29T23:00:00.000Z'],
    ['2026-11-24', '2026-11-24T00:00:00.000Z'],
    ['2026-11-24T10:00', '2026-11-24T10:00:00.000Z'],
    ['2026-11-24 10:00:00,25 -0530', '2026-11-24T15:30:00.250Z'],
  ])('%s is %s in every time zone of this machine', async (time, iso) => {
    const result = await report([logFile(`${JSON.stringify({ time, client: '198.51.100.1' })}\n`), '--limit', '1/1m']);
    expect(result.from).toBe(iso);
  });

  test.each([
    ['the first line', [90, 0, 1, 2]],
    ['a line in the middle', [0, 1, 90, 2]],
    ['a line far too early', [70, 71, 0, 72]],
  ])('skips %s with a time more than an hour off', async (_what, minutes) => {
    const log = minutes.map((minute) => json(START + minute * 60_000, '198.51.100.1')).join('');
    const result = await report([logFile(log), '--limit', '9/1m', '--max-bad', '1']);
    expect(result).toMatchObject({ requests: 3, lines: { bad: 1 }, outOfOrder: { lines: 0 } });
    expect(Object.keys(result.lines.problems)).toEqual([expect.stringMatching(/more than an hour/)]);
  });

  test('accepts pauses of more than an hour, and a last line after one', async () => {
    const log = [0, 90, 91, 300].map((minute) => json(START + minute * 60_000, '198.51.100.1')).join('');
    expect(await report([logFile(log), '--limit', '9/1m'])).toMatchObject({ requests: 4, lines: { bad: 0 } });
  });

  test('exits with 1 for logs in the wrong order', async () => {
    const logs = [120, 0].map((minute) => logFile(json(START + minute * 60_000, '198.51.100.1').repeat(5)));
    const { code, out } = await cli(['simulate', ...logs, '--limit', '9/1m']);
    expect(code).toBe(1);
    expect(out).toContain('5 × has a time more than an hour before that of a line before it');
  });

  test('reads the configured fields of JSON lines, at any depth', async () => {
    const line = { time: 1, when: START, http: { peer: '198.51.100.1', 'a.b': 7 }, 'x.y': '203.0.113.1' };
    const log = logFile(`${JSON.stringify(line)}\n`);
    const run = (...more: string[]) =>
      report([log, '--limit', '1/1m', '--time-field', 'when', ...more, '--max-bad', '1']);
    expect(await run('--ip-field', 'http.peer')).toMatchObject({ from: '2026-11-24T08:00:00.000Z', requests: 1 });
    expect((await run('--ip-field', 'x.y')).requests).toBe(1);
    const { err } = await cli(['simulate', log, '--time-field', 'http.when']);
    expect(err).toContain('The first has no "http.when"');
  });

  test('says how many requests clients make per window, and what limits would refuse', async () => {
    // 90 clients make 1 request a minute, 9 make 4, and one makes 40, for two minutes.
    const lines: [number, string][] = [];
    for (const minute of [0, 1]) {
      for (let i = 0; i < 100; i++) {
        const count = i < 90 ? 1 : i < 99 ? 4 : 40;
        for (let j = 0; j < count; j++) lines.push([START + minute * 60_000 + j, `198.51.100.${i}`]);
      }
    }
    lines.sort(([a], [b]) => a - b);
    const log = logFile(lines.map(([time, client]) => json(time, client)).join(''));
    const { perClient } = await report([log, '--limit', '100/1m,1000/1h']);
    expect(perClient).toEqual([
      {
        windowMs: 60_000,
        p50: 1,
        p90: 1,
        p99: 4,
        max: 40,
        limits: [
          { limit: 1, limited: 2 * (9 * 3 + 39), clients: 10 },
          { limit: 2, limited: 2 * (9 * 2 + 38), clients: 10 },
          { limit: 3, limited: 2 * (9 + 37), clients: 10 },
          { limit: 5, limited: 2 * 35, clients: 1 },
          { limit: 10, limited: 2 * 30, clients: 1 },
          { limit: 20, limited: 2 * 20, clients: 1 },
          { limit: 30, limited: 2 * 10, clients: 1 },
          { limit: 50, limited: 0, clients: 0 },
        ].slice(-7),
      },
      expect.objectContaining({ windowMs: 3_600_000, p50: 2, p90: 2, p99: 8, max: 80 }),
    ]);
    const { code, out } = await cli(['simulate', log]);
    expect(code).toBe(0);
    expect(out).toContain('no --limit given');
    expect(out).toMatch(/in 1 min +1 +1 +4 +40\n/);
    expect(out).toMatch(/20 per 1 min +40 requests \(12\.0 %\) {3}1 client \(1\.0 %\)\n/);
    expect(out).not.toContain('limited: ');
  });

  test('treats a line that is out of order as simultaneous with the latest, and reports it', async () => {
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
    [['LOG', '--burst', '5'], /--burst needs --limit/],
    [['LOG', '--max-bad', '101%'], /--max-bad must be a share like 1% or 0.01/],
    [['LOG', '--ip-field', ''], /--ip-field must name a field/],
    [['LOG', '--limit', 'much'], /--limit must be 1 to 8 windows/],
    [['LOG', '--limit', '1/1m', '--algorithm', 'leaky'], /--algorithm must be one of sliding-window/],
    [['LOG', '--limit', '1/1m,2/1h', '--algorithm', 'fixed-window'], /single window/],
    [['LOG', '--limit', '1/1m', '--burst', '5'], /--burst needs --algorithm token-bucket/],
    [['LOG', '--limit', '1/1m', '--top', 'all'], /--top must be an integer/],
    [['LOG', '--limit', '1/1m', '--by', 'userId', '--format', 'common'], /--by must be ip or one of user/],
    [['LOG', '--limit', '1/1m', '--fast'], /--fast/],
    [['LOG', '--limit', '999999999999999/365d'], /2\^53|windows/],
  ])('exits with 2 and the reason for the arguments %j', async (args, message) => {
    const { code, out, err } = await cli(['simulate', ...args.map((one) => (one === 'LOG' ? '/no/such/log' : one))]);
    expect([code, out]).toEqual([2, '']);
    expect(err).toMatch(message);
  });

  test.each([
    ['no such file', () => join(folder, 'none.log'), /ENOENT/],
    ['a folder', () => folder, /folder/],
    ['a broken archive', () => logFile('no gzip', 'gz'), /incorrect header check/],
    ['an archive that is cut off', () => logFile(gzipSync('x'.repeat(9_999)).subarray(0, 20), 'gz'), /unexpected end/],
    ['nothing but lines of another kind', () => logFile('1 2 3\n4 5 6\n'), /no line can be read/],
  ])('exits with 1 and the reason for %s', async (_what, name, message) => {
    const { code, out, err } = await cli(['simulate', name(), '--limit', '1/1m']);
    expect([code, out]).toEqual([1, '']);
    expect(err).toMatch(message);
  });

  test('reports that a log is empty', async () => {
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

  test('prints its help, and refuses unknown commands', async () => {
    expect(await cli(['--help'])).toMatchObject({ code: 0, out: expect.stringContaining('simulate') });
    expect(await cli(['simulate', '--help'])).toMatchObject({ code: 0, out: expect.stringContaining('Examples:') });
    expect(await cli(['dance'])).toMatchObject({ code: 2, err: expect.stringContaining('no command "dance"') });
    expect(await cli([])).toMatchObject({ code: 2, err: expect.stringContaining('Usage:') });
  });

  test('draws a progress bar on a terminal only, and removes it', async () => {
    const bytes = Buffer.alloc(2_000_000, json(START, '198.51.100.1'));
    const stderr = Object.assign(new PassThrough(), { isTTY: true });
    const drawn: string[] = [];
    stderr.on('data', (data) => drawn.push(String(data)));
    const stdout = new PassThrough().resume();
    const bar = await import('../../../lib/cli/terminal.ts');
    const now = jest.spyOn(Date, 'now').mockReturnValue(START);
    const one = new bar.ProgressBar(stderr, 'access.log', bytes.length);
    const silent = new bar.ProgressBar(Object.assign(stdout, { isTTY: false }), 'access.log', bytes.length);
    now.mockReturnValue(START + 600);
    one.update(bytes.length / 2);
    silent.update(bytes.length / 2);
    one.clear();
    now.mockRestore();
    stderr.end();
    await once(stderr, 'end');
    expect(drawn.join('')).toBe(`\r[${'#'.repeat(15)}${'.'.repeat(15)}] 50 % of access.log, 1 s left \x1b[K\r\x1b[K`);
  });
});
