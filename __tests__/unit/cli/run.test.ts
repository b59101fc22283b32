import { readFileSync } from 'node:fs';
import { PassThrough, Readable } from 'node:stream';
import { describe, expect, test } from '@jest/globals';
import { CHECK_OPTIONS } from '../../../lib/cli/check/check.ts';
import { DOCTOR_OPTIONS } from '../../../lib/cli/doctor/doctor.ts';
import { run } from '../../../lib/cli/run.ts';
import { SIMULATE_OPTIONS } from '../../../lib/cli/simulate/simulate-options.ts';
import { START_OPTIONS } from '../../../lib/cli/start/start.ts';
import { closestWord } from '../../../lib/core/closest-word.ts';

async function cli(...args: string[]) {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const texts = Promise.all([stdout, stderr].map(async (one) => (await one.toArray()).join('')));
  const code = await run(args, { stdin: Readable.from([]), stdout, stderr });
  stdout.end();
  stderr.end();
  const [out = '', err = ''] = await texts;
  return { code, out, err };
}

const OPTIONS = { start: START_OPTIONS, check: CHECK_OPTIONS, doctor: DOCTOR_OPTIONS, simulate: SIMULATE_OPTIONS };
const COMMANDS = Object.keys(OPTIONS) as (keyof typeof OPTIONS)[];

describe('expressway', () => {
  test('--version is that of the package', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'));
    for (const flag of ['--version', '-v']) expect(await cli(flag)).toEqual({ code: 0, out: `${version}\n`, err: '' });
  });

  test('--help lists the commands, with examples', async () => {
    const { code, out, err } = await cli('--help');
    expect([code, err]).toEqual([0, '']);
    for (const name of COMMANDS) {
      expect(out).toMatch(new RegExp(`^ {2}${name} `, 'm'));
      expect(out).toMatch(new RegExp(`^ {2}expressway ${name} `, 'm'));
    }
    expect((await cli()).err).toBe(out);
  });

  test.each(COMMANDS)('%s --help has usage, every option, exit codes and examples', async (name) => {
    const { code, out, err } = await cli(name, '--help');
    expect([code, err]).toEqual([0, '']);
    expect(out).toMatch(new RegExp(`^Usage: expressway ${name} `));
    const told = [...out.matchAll(/^ {2}--([a-z0-9-]+) /gm)].map(([, option]) => option);
    expect(told.sort()).toEqual(Object.keys(OPTIONS[name]).sort());
    expect(out).toContain('\nExit codes: 0');
    expect(out.split('\nExamples:\n')[1]).toContain(`expressway ${name} `);
    expect(await cli('help', name)).toEqual({ code: 0, out, err: '' });
    expect(await cli(name, '-h')).toEqual({ code: 0, out, err: '' });
    // No line is wider than a terminal of 120 columns.
    expect(out.split('\n').filter((line) => line.length > 120)).toEqual([]);
  });

  test('suggests the right command or option for an unknown one, and exits with 2', async () => {
    const command = await cli('strat');
    expect([command.code, command.out]).toEqual([2, '']);
    expect(command.err).toMatch(/^expressway: there is no command "strat"\nDid you mean expressway start\?\n/);
    expect((await cli('frobnicate')).err).not.toContain('Did you mean');
    const option = await cli('simulate', 'a.log', '--limt', '1/1m');
    expect([option.code, option.err]).toEqual([
      2,
      'expressway simulate: there is no option --limt; did you mean --limit?\nTry: expressway simulate --help\n',
    ]);
    expect((await cli('doctor', '--frobnicate')).err).toMatch(/there is no option --frobnicate\n/);
  });
});

test.each([
  ['bakcend', 'backend'],
  ['backends', 'backend'],
  ['Backend', 'backend'],
  ['prt', 'port'],
  ['post', 'port'],
  ['trust', undefined],
  ['x', undefined],
  ['', undefined],
])('suggests for %j the words %j', (word, meant) => {
  expect(closestWord(word, ['backend', 'port', 'trust-proxy'])).toBe(meant);
});
