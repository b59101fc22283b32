import { appendFileSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { BackendsError, BackendsFile } from '../../lib/gateway/config/backends-file.ts';
import { pause } from '../support/pause.ts';
import { until } from './until.ts';

const LOOK_EVERY_MS = 60;

let folder: string;
let path: string;
let file: BackendsFile;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'expressway-backends-'));
  path = join(folder, 'backends.json');
  file = new BackendsFile(path, LOOK_EVERY_MS);
});

afterEach(() => {
  file.close();
  rmSync(folder, { recursive: true });
});

async function problems(): Promise<readonly string[]> {
  try {
    await file.read();
  } catch (error) {
    if (error instanceof BackendsError) return error.problems.map((one) => one.replace(file.name, 'FILE'));
    throw error;
  }
  return [];
}

describe('reading BACKENDS_FILE', () => {
  test('accepts URLs, objects with a weight, and DNS names', async () => {
    const list = ['http://a:1', { url: 'http://b:2', weight: 3 }, 'dns://c:3', { url: 'srv://d' }];
    writeFileSync(path, JSON.stringify(list));
    expect(await file.read()).toEqual(list);
  });

  test.each([
    ['no JSON', '["http://a",', /^FILE: is not JSON from line 1, column 13 on$/],
    ['nothing', '', /^FILE: is not JSON from line 1, column 1 on$/],
    ['no list', '{"backends": []}', /^FILE: must be a non-empty array of backends, like /],
    ['an empty list', '[]', /^FILE: must be a non-empty array of backends, like /],
    ['one origin twice', '["http://a", {"url": "http://A:80/"}]', /^FILE: "http:\/\/a" is named twice$/],
    ['what is no backend', '[7]', /^FILE: a backend must be a string like .*, got 7$/],
  ])('refuses %s', async (_, text, problem) => {
    writeFileSync(path, text);
    expect(await problems()).toEqual([expect.stringMatching(problem)]);
  });

  test('lists all problems', async () => {
    writeFileSync(path, JSON.stringify(['http://a/x', { url: 'http://b', weight: -1 }, 'http://c', 'dns://d']));
    expect(await problems()).toEqual([
      'FILE: "http://a/x" must be an origin, without path: pathRewrite, or rewrite of a route, changes paths',
      'FILE: weight must be an integer from 0 to 1000, got -1',
      'FILE: "dns://d" must have a port from 1 to 65535, like dns://d:8080',
    ]);
  });

  test('keeps passwords out of its errors', async () => {
    writeFileSync(path, '["http://user:geheim@a"]');
    expect(await problems()).toEqual(['FILE: a backend URL must not carry credentials']);
    writeFileSync(path, '["http://user:geheim@a" x');
    expect(await problems()).toEqual(['FILE: is not JSON from line 1, column 25 on']);
    for (const text of [
      'geheim',
      '["geheim',
      '{"password": "geheim" "',
      '["user:geheim@a:80"]',
      '["https://a/?key=geheim"]',
    ]) {
      writeFileSync(path, text);
      expect(String(await problems())).toMatch(/^FILE: ./);
      expect(String(await problems())).not.toMatch(/geheim/);
    }
  });

  test('says why the file cannot be read', async () => {
    expect(await problems()).toEqual(['FILE: cannot be read: no such file']);
    file = new BackendsFile(folder);
    expect(await problems()).toEqual(['FILE: cannot be read: it is a directory']);
    file = new BackendsFile(path);
    writeFileSync(path, ' '.repeat(1_048_577));
    expect(await problems()).toEqual(['FILE: it is larger than 1048576 bytes']);
  });
});

describe('watching BACKENDS_FILE', () => {
  let changes: number;

  async function watch(text = '["http://a"]'): Promise<void> {
    writeFileSync(path, text);
    await file.read();
    changes = 0;
    file.watch(() => {
      changes += 1;
    });
  }

  const someLooks = () => pause('what another look would find must not come', 5 * LOOK_EVERY_MS);

  test('reports no change while the file stays the same', async () => {
    await watch();
    await someLooks();
    expect(changes).toBe(0);
  });

  test('reports a file that is written in place, once', async () => {
    await watch();
    writeFileSync(path, '["http://b"]');
    await until(() => changes > 0);
    await someLooks();
    expect(changes).toBe(1);
    expect(await file.read()).toEqual(['http://b']);
  });

  test('reports each file that is renamed over it', async () => {
    await watch();
    for (const name of ['b', 'c', 'd']) {
      const before = changes;
      writeFileSync(`${path}.new`, `["http://${name}"]`);
      renameSync(`${path}.new`, path);
      await until(() => changes > before);
      expect(await file.read()).toEqual([`http://${name}`]);
    }
    expect(changes).toBe(3);
  });

  test('reports a symbolic link that is redirected, as in a Kubernetes volume', async () => {
    writeFileSync(join(folder, 'v1'), '["http://a"]');
    writeFileSync(join(folder, 'v2'), '["http://b"]');
    symlinkSync('v1', path);
    await file.read();
    changes = 0;
    file.watch(() => {
      changes += 1;
    });
    symlinkSync('v2', `${path}.new`);
    renameSync(`${path}.new`, path);
    await until(() => changes > 0);
    expect(await file.read()).toEqual(['http://b']);
  });

  test('waits until the file is completely written', async () => {
    await watch();
    writeFileSync(path, '');
    for (const letter of '["http://b", "http://c"]') {
      appendFileSync(path, letter);
      await pause('looks come between the pieces', LOOK_EVERY_MS / 4);
    }
    await until(() => changes > 0);
    expect(await file.read()).toEqual(['http://b', 'http://c']);
    await someLooks();
    expect(changes).toBe(1);
  });

  test('reports that the file disappears, and that it comes back', async () => {
    await watch();
    unlinkSync(path);
    await until(() => changes === 1);
    expect(await problems()).toEqual(['FILE: cannot be read: no such file']);
    await someLooks();
    expect(changes).toBe(1);
    writeFileSync(path, '["http://a"]');
    await until(() => changes === 2);
  });

  test('stops at close()', async () => {
    await watch();
    file.close();
    writeFileSync(path, '["http://b"]');
    await someLooks();
    expect(changes).toBe(0);
  });
});
