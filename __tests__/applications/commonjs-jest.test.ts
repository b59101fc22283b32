import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Cleanup } from '../support/gateway.ts';
import { describeInstalled } from './installed.ts';
import { CompiledPackage, Project } from './project.ts';

const JEST = [join(import.meta.dirname, '../node_modules/jest/bin/jest.js'), '--no-cache', '--watchman=false'];
const TEST = (load: string) => `
test('a proxy can be made', async () => {
  const { roundRobinProxy, undiciTransport } = ${load};
  expect(typeof undiciTransport()).toBe('function');
  await roundRobinProxy({ backends: ['http://127.0.0.1:1'] }).close();
});
`;
/** As docs/package.md shows it. */
const CONFIG = `
module.exports = {
  transform: { '\\\\.m?js$': ['@swc/jest', { module: { type: 'commonjs' } }] },
  transformIgnorePatterns: ['/node_modules/(?!(expressway|http-proxy-middleware|httpxy|cockatiel|is-plain-obj)/)'],
};
`;

describeInstalled('the Jest of a CommonJS project', () => {
  const cleanup = new Cleanup();
  let project: Project;
  beforeAll(async () => {
    project = cleanup.add(new Project(cleanup.add(await CompiledPackage.compile())));
    project.write('package.json', '{"private":true}');
    project.write('import.test.js', TEST(`await import('expressway')`));
    project.write('require.test.js', TEST(`require('expressway')`));
    const swc = fileURLToPath(new URL('node_modules/@swc/jest', import.meta.url));
    project.write('compiled.config.js', CONFIG.replace('@swc/jest', swc));
  });
  afterAll(() => cleanup.run());

  test('loads the package by import(), with --experimental-vm-modules', async () => {
    expect(await project.run(['--experimental-vm-modules', ...JEST, 'import.test.js'])).toContain('1 passed');
  });

  test('loads the package by require(), with --experimental-vm-modules on Node 24.9 and newer', async () => {
    expect(await project.run(['--experimental-vm-modules', ...JEST, 'require.test.js'])).toContain('1 passed');
  });

  test('loads the package by require() without the flag, when it compiles the ES modules among the packages', async () => {
    expect(await project.run([...JEST, '--config', 'compiled.config.js', 'require.test.js'])).toContain('1 passed');
  });
});
