import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';

const run = promisify(execFile);
const script = join(import.meta.dirname, '../../scripts/install.ts');

describe('scripts/install.ts', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'expressway-install-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const write = (file: string, content: object) => writeFileSync(join(folder, file), JSON.stringify(content));
  const install = () =>
    run(process.execPath, [script, folder], {
      env: { ...process.env, NODE_OPTIONS: '', npm_config_cache: join(folder, 'cache'), npm_config_fetch_retries: '0' },
    });
  const installed = (name: string) => existsSync(join(folder, 'node_modules', name, 'package.json'));

  /** Wants packages that are folders, for which npm needs no registry. */
  function want(...names: readonly string[]): void {
    for (const name of names) mkdirSync(join(folder, name), { recursive: true });
    for (const name of names) write(`${name}/package.json`, { name, version: '1.0.0' });
    const dependencies = Object.fromEntries(names.map((name) => [name, `file:${name}`]));
    const links = names.flatMap((name) => [
      [name, { version: '1.0.0' }],
      [`node_modules/${name}`, { resolved: name, link: true }],
    ]);
    write('package.json', { dependencies });
    write('package-lock.json', {
      lockfileVersion: 3,
      packages: { '': { dependencies }, ...Object.fromEntries(links) },
    });
  }

  test('installs once, and again when the lock file changes', async () => {
    want('one');
    expect((await install()).stderr).toMatch(/^installing what .* lists: npm ci in /);
    expect(installed('one')).toBe(true);
    expect((await install()).stderr).toBe('');
    want('one', 'two');
    expect((await install()).stderr).toMatch(/^installing/);
    expect(installed('two')).toBe(true);
    expect((await install()).stderr).toBe('');
  });

  test('fails, and says why, when npm fails: the next run tries again', async () => {
    const dependencies = { one: '1.0.0' };
    const one = { version: '1.0.0', resolved: 'http://127.0.0.1:1/one-1.0.0.tgz', integrity: 'sha512-AAAA' };
    write('package.json', { dependencies });
    write('package-lock.json', { lockfileVersion: 3, packages: { '': { dependencies }, 'node_modules/one': one } });
    for (let tries = 0; tries < 2; tries += 1) {
      const failed = install();
      await expect(failed).rejects.toMatchObject({ code: 1 });
      await expect(failed).rejects.toThrow(/npm ci in .* failed \(exit code 1\)\. It needs the npm registry/);
    }
  });
});
