import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { describeInstalled } from './installed.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));

/** Jest compiles the package's sources here; what a user installs is compiled. */
const CONFIG = {
  testEnvironment: 'node',
  testEnvironmentOptions: { customExportConditions: ['node', 'expressway-source'] },
  extensionsToTreatAsEsm: ['.ts'],
  transform: { '^.+\\.ts$': join(root, 'jest.transform.js') },
};

describeInstalled('docs/testing.md', () => {
  let project: string;

  beforeAll(() => {
    project = mkdtempSync(join(tmpdir(), 'expressway-supertest-'));
    mkdirSync(join(project, 'node_modules/@jest'), { recursive: true });
    const links = {
      express: 'node_modules/express',
      '@jest/globals': 'node_modules/@jest/globals',
      supertest: '__tests__/applications/node_modules/supertest',
      expressway: '.',
    };
    for (const [name, path] of Object.entries(links))
      symlinkSync(join(root, path), join(project, 'node_modules', name));
    writeFileSync(join(project, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
    writeFileSync(join(project, 'jest.config.json'), JSON.stringify(CONFIG));
    const page = readFileSync(join(root, 'docs/testing.md'), 'utf8');
    const [, code = ''] = /^```js\n\/\/ gateway\.test\.js\n(.*?)^```$/ms.exec(page) ?? [];
    writeFileSync(join(project, 'gateway.test.js'), code);
  });
  afterAll(() => rmSync(project, { recursive: true, force: true }));

  test('gateway.test.js runs with Jest and supertest', async () => {
    const jest = join(root, 'node_modules/jest/bin/jest.js');
    const { stderr } = await run(
      process.execPath,
      ['--experimental-vm-modules', jest, '--config', 'jest.config.json'],
      {
        cwd: project,
        env: { ...process.env, NODE_OPTIONS: '' },
      },
    );
    expect(stderr).toMatch(/^Tests: +1 passed, 1 total$/m);
  });
});
