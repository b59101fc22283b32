import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const page = readFileSync(join(root, 'docs/testing.md'), 'utf8');
const CONDITION = 'expressway-source';

/** By the file name in its first line. */
const examples = [...page.matchAll(/^```js\n\/\/ (\S+)\n(.*?)^```$/gms)].map(([, file = '', code = '']) => ({
  file,
  code,
}));

/** Jest compiles the package's sources here; what a user installs is compiled. */
const jestConfig = {
  testEnvironment: 'node',
  testEnvironmentOptions: { customExportConditions: ['node', CONDITION] },
  testMatch: ['**/gateway.test.js'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '^.+\\.ts$': join(root, '__tests__/jest.transform.js'),
  },
};

describe('docs/testing.md', () => {
  let project: string;

  beforeAll(() => {
    project = mkdtempSync(join(tmpdir(), 'expressway-testing-'));
    mkdirSync(join(project, 'node_modules/@jest'), { recursive: true });
    symlinkSync(join(root, 'node_modules/express'), join(project, 'node_modules/express'));
    for (const name of ['supertest', '@jest/globals']) {
      symlinkSync(join(root, '__tests__/node_modules', name), join(project, 'node_modules', name));
    }
    symlinkSync(root, join(project, 'node_modules/expressway'));
    writeFileSync(join(project, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
    writeFileSync(join(project, 'jest.config.json'), JSON.stringify(jestConfig));
    for (const { file, code } of examples) writeFileSync(join(project, file), code);
  });
  afterAll(() => rmSync(project, { recursive: true, force: true }));

  const node = (...args: string[]) =>
    run(process.execPath, args, {
      cwd: project,
      env: { ...process.env, NODE_OPTIONS: '', NODE_TEST_CONTEXT: undefined },
    });

  test('every block of code is an example that is run here', () => {
    const blocks = [...page.matchAll(/^```(\w*)$/gm)].map(([, language]) => language).filter((one) => one !== '');
    expect(blocks.filter((language) => language !== 'sh')).toHaveLength(examples.length);
    expect(examples.map(({ file }) => file)).toEqual([
      'failover.test.js',
      'gateway.test.js',
      'without-redis.test.js',
      'time.test.js',
    ]);
  });

  const ofNode = examples.filter(({ code }) => code.includes("from 'node:test'")).map(({ file }) => file);

  test.each(ofNode)('%s runs with node:test', async (file) => {
    const warnings = '--disable-warning=ExperimentalWarning';
    const { stdout } = await node(warnings, `--conditions=${CONDITION}`, '--test', '--test-reporter=tap', file);
    expect(stdout).toMatch(/^# pass 1$/m);
    expect(stdout).toMatch(/^# fail 0$/m);
  });

  test('gateway.test.js runs with Jest and supertest', async () => {
    const jest = join(root, '__tests__/node_modules/jest/bin/jest.js');
    const { stderr } = await node('--experimental-vm-modules', jest, '--config', 'jest.config.json');
    expect(stderr).toMatch(/^Tests: +1 passed, 1 total$/m);
  });
});
