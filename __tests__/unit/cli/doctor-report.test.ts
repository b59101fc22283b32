import { PassThrough } from 'node:stream';
import { WriteStream } from 'node:tty';
import { afterEach, describe, expect, test } from '@jest/globals';
import { failure, jsonReport, note, ok, textReport, warning } from '../../../lib/cli/doctor/finding.ts';
import { judgeOpenFiles } from '../../../lib/cli/doctor/machine.ts';

const SECTIONS = [
  { check: 'node', findings: [ok('Node 26')] },
  { check: 'nothing', findings: [] },
  {
    check: 'redis',
    findings: [warning('it is far', 'Bring it near'), failure('it is\x1b[2J gone\u202e\n', 'Start it')],
  },
  { check: 'trust', findings: [note('judgeOpenFiles for yourself', 'Like this')] },
];

/** As Node sees one: how many colours it has is said by the environment. */
const terminal = () =>
  Object.assign(new PassThrough(), {
    isTTY: true,
    getColorDepth: () => WriteStream.prototype.getColorDepth.call(process.stdout, { TERM: 'xterm', ...process.env }),
  });

describe('the report of expressway doctor', () => {
  const before = process.env.NO_COLOR;
  afterEach(() => {
    if (before === undefined) delete process.env.NO_COLOR;
    else process.env.NO_COLOR = before;
  });

  test('is plain where there is no terminal, says what to do, and counts', () => {
    expect(textReport(SECTIONS, new PassThrough())).toBe(
      [
        'node',
        '  ok    Node 26',
        'redis',
        '  warn  it is far',
        '        To do: Bring it near',
        '  fail  it is?[2J gone??',
        '        To do: Start it',
        'trust',
        '  note  judgeOpenFiles for yourself',
        '        Like this',
        '',
        '1 failure, 1 warning.',
        '',
      ].join('\n'),
    );
  });

  test('has colours on a terminal, unless NO_COLOR is set', () => {
    delete process.env.NO_COLOR;
    delete process.env.FORCE_COLOR;
    expect(textReport(SECTIONS, terminal())).toContain('\x1b[31mfail\x1b[39m');
    process.env.NO_COLOR = '1';
    expect(textReport(SECTIONS, terminal())).not.toContain('\x1b');
  });

  test('as JSON is one object', () => {
    const report = JSON.parse(jsonReport(SECTIONS));
    expect(report).toMatchObject({ ok: false, counts: { ok: 1, note: 1, warn: 1, fail: 1 } });
    expect(report.findings[1]).toEqual({ check: 'redis', level: 'warn', what: 'it is far', fix: 'Bring it near' });
    expect(JSON.parse(jsonReport(SECTIONS.slice(0, 1)))).toMatchObject({ ok: true });
  });
});

test.each([
  [20_290, 10_000, 'ok'],
  [20_289, 10_000, 'warn'],
  [Number.POSITIVE_INFINITY, 1_000_000, 'ok'],
  [1_024, 0, 'note'],
  [64, 12, 'warn'],
])('%d open files for %d connections: %s', async (files, connections, level) => {
  expect((await judgeOpenFiles(files, connections, 2)).level).toBe(level);
});

test('workers share the connections, and each one has the open files of a process', async () => {
  expect(await judgeOpenFiles(5_290, 10_000, 2, 4)).toEqual({
    level: 'ok',
    what: '5290 open files are enough for 10000 connections (MAX_CONNECTIONS) in 4 workers',
  });
  expect(await judgeOpenFiles(5_289, 10_000, 2, 4)).toMatchObject({
    level: 'warn',
    what: expect.stringMatching(/need up to 5290 in each of 4 workers: the gateway takes 9996$/),
    fix: expect.stringMatching(/ulimit -n 5290,.*or set MAX_CONNECTIONS=9996$/),
  });
});
