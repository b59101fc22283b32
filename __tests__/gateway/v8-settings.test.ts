import { spawnSync } from 'node:child_process';
import { expect, test } from '@jest/globals';

const SETTINGS = new URL('../../lib/gateway/v8-settings.ts', import.meta.url);

const run = (...args: string[]) => spawnSync(process.execPath, args, { encoding: 'utf8' });

test('the V8 flags of the gateway exist in this Node', () => {
  const code = `import * as settings from ${JSON.stringify(SETTINGS.href)}; for (const set of Object.values(settings)) set();`;
  const { status, stderr } = run('--disable-warning=ExperimentalWarning', '--input-type=module', '--eval', code);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
});

test.each(['--semi-space-growth-factor=2', '--max-optimized-bytecode-size=61440'])(
  'the flag for traffic is the default of V8: %s',
  (flag) => {
    expect(run('--v8-options').stdout).toContain(`default: ${flag}\n`);
  },
);

test.each([
  ['under load', ''],
  ['during the start, too, if that reads a file of services and routes', 'true'],
])('a function that was called often during the start is optimised %s', (_, readsFile) => {
  const code = `
    import { setFlagsFromString } from 'node:v8';
    import { setForStart, setForTraffic } from ${JSON.stringify(SETTINGS.href)};
    const often = (most) => { let sum = 0; for (let i = 0; i < most; i++) sum += i % 7; return sum; };
    setFlagsFromString('--trace-opt');
    setForStart(${readsFile});
    for (let i = 0; i < 20_000; i++) often(i % 100);
    console.log('traffic');
    setForTraffic();
    for (let turn = 0; turn < 30; turn++) {
      for (let i = 0; i < 100_000; i++) often(i % 100);
      await new Promise(setImmediate);
    }`;
  const { stdout } = run('--no-concurrent-recompilation', '--input-type=module', '--eval', code);
  const [start = '', traffic = ''] = stdout.split('traffic\n');
  const optimized = /completed compiling .*<JSFunction often .*TURBOFAN/;
  expect(optimized.test(start)).toBe(readsFile === 'true');
  expect(readsFile === 'true' ? start : traffic).toMatch(optimized);
});
