import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from '@jest/globals';
import { isSupportedNode, leastNode } from '../../../lib/cli/manifest.ts';

const MAIN = new URL('../../../lib/cli/main.ts', import.meta.url);

test('versions are compared by number, not as text', () => {
  expect(leastNode()).toBe('22.19');
  expect(['22.19.0', '22.20.1', '23.0.0', '100.0.0'].filter((version) => !isSupportedNode(version))).toEqual([]);
  expect(['20.20.2', '22.9.0', '22.18.9', '9.30.0'].filter(isSupportedNode)).toEqual([]);
});

test('on a Node that is too old, the command says so in one line', () => {
  const older = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.20.2' } });`;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', `data:text/javascript,${encodeURIComponent(older)}`, fileURLToPath(MAIN), 'start'],
    { encoding: 'utf8' },
  );
  expect(stderr).toBe('expressway needs Node 22.19 or newer; this is 20.20.2\n');
  expect([status, stdout]).toEqual([1, '']);
});

test('the code before the version check uses only features of old Node versions', () => {
  const files = [MAIN.href];
  const ofNode = new Set<string>();
  for (const file of files) {
    const text = readFileSync(new URL(file), 'utf8');
    for (const [, names = '', from = ''] of text.matchAll(/^(?:import|export) (.*?) from '([^']+)';/gms)) {
      if (from.startsWith('.')) files.push(new URL(from, file).href);
      else ofNode.add(`${names} of ${from}`);
    }
  }
  expect(files.map((file) => file.slice(file.lastIndexOf('/') + 1))).toEqual(['main.ts', 'manifest.ts']);
  expect([...ofNode]).toEqual(['cluster of node:cluster', '{ existsSync, readFileSync } of node:fs']);
});

test('on a Node that is too old, importing the package throws before anything else is evaluated', () => {
  const older = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.20.2' } });`;
  for (const entry of ['index.ts', 'testing/index.ts']) {
    const load = `import(${JSON.stringify(new URL(`../../../lib/${entry}`, import.meta.url).href)}).catch((error) => {
      console.log(error.code, error.message);
    })`;
    const { stdout } = spawnSync(
      process.execPath,
      ['--import', `data:text/javascript,${encodeURIComponent(older)}`, '--input-type=module', '--eval', load],
      { encoding: 'utf8' },
    );
    expect(stdout).toBe('ERR_EXPRESSWAY_RUNTIME expressway needs Node 22.19 or newer; this is 20.20.2\n');
  }
});

test('the oldest Node that importing accepts is the one in package.json', () => {
  const text = readFileSync(new URL('../../../lib/core/supported-node.ts', import.meta.url), 'utf8');
  expect(/LEAST = \[(\d+), (\d+)\]/.exec(text)?.slice(1).join('.')).toBe(leastNode());
});
