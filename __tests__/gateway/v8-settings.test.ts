import { spawnSync } from 'node:child_process';
import { expect, test } from '@jest/globals';

const SETTINGS = new URL('../../lib/gateway/v8-settings.ts', import.meta.url);

test('the V8 flag of the gateway exists in this Node', () => {
  const code = `import { keepNewObjectsYoung } from ${JSON.stringify(SETTINGS.href)}; keepNewObjectsYoung();`;
  const args = ['--disable-warning=ExperimentalWarning', '--input-type=module', '--eval', code];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
});
