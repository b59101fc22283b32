import { readFileSync, realpathSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';

const read = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
const manifest = JSON.parse(read('package.json'));
const lock = JSON.parse(read('package-lock.json')) as {
  packages: Record<
    string,
    {
      version: string;
      integrity?: string;
      link?: boolean;
      resolved?: string;
      hasInstallScript?: boolean;
      os?: string[];
      cpu?: string[];
      libc?: string[];
    }
  >;
};

const { packages } = lock;

const LEAST = read('docs/dependencies.md')
  .split('\n')
  .map((line) => /^\| ([@a-z/-]+) \| (\d+\.\d+\.\d+) \| (.*) \|$/.exec(line))
  .filter((row) => row !== null)
  .map(([, name = '', version = '', why = '']) => ({ name, version, why }));

/** Compares as numbers, part by part. */
function isAtLeast(version: string, least: string): boolean {
  const parts = version.split('.').map(Number);
  for (const [index, wanted] of least.split('.').map(Number).entries()) {
    const part = parts[index] as number;
    if (part !== wanted) return part > wanted;
  }
  return true;
}

const ranges: Record<string, string> = { ...manifest.dependencies, ...manifest.peerDependencies };

describe('the supply chain', () => {
  test('every runtime dependency has a minimum version, with a reason', () => {
    const told = LEAST.map(({ name }) => name);
    expect(new Set(told).size).toBe(told.length);
    expect(Object.keys(ranges).filter((name) => !told.includes(name))).toEqual([]);
    expect(LEAST.filter(({ why }) => why.length < 20)).toEqual([]);
  });

  test('no range allows an older version, and the lockfile has no older version', () => {
    for (const { name, version } of LEAST) {
      for (const start of (ranges[name] ?? '').match(/\d+\.\d+\.\d+/g) ?? []) {
        expect([name, start, isAtLeast(start, version)]).toEqual([name, start, true]);
      }
      const locked = Object.entries(packages).filter(([path]) => path === `node_modules/${name}`);
      expect(locked).toHaveLength(1);
      for (const [path, { version: pinned }] of locked) {
        expect([path, pinned, isAtLeast(pinned, version)]).toEqual([path, pinned, true]);
      }
    }
  });

  test('the lockfile pins every package by its hash', () => {
    const loose = Object.entries(packages).filter(([path, entry]) => path !== '' && entry.integrity === undefined);
    expect(Object.keys(packages).length).toBeGreaterThan(100);
    expect(loose.map(([path]) => path)).toEqual([]);
  });

  describe.each(['__tests__', '__tests__/applications', 'bench'])('%s, which has a lock file of its own', (folder) => {
    const { packages: others } = JSON.parse(read(`${folder}/package-lock.json`)) as typeof lock;

    test('pins every package by its hash', () => {
      const loose = Object.entries(others).filter(
        ([path, { integrity, link }]) => path.startsWith('node_modules/') && integrity === undefined && link !== true,
      );
      expect(Object.keys(others).length).toBeGreaterThan(50);
      expect(loose.map(([path]) => path)).toEqual([]);
    });

    test('allows no package to run a script', () => {
      const allowed = Object.values(JSON.parse(read(`${folder}/package.json`)).allowScripts);
      expect(allowed.filter((isAllowed) => isAllowed !== false)).toEqual([]);
    });
  });

  // Its files import both: they load the nearer copy.
  test('bench/package-lock.json has the dependencies of the package in the versions of the repository', () => {
    const { packages: nearer } = JSON.parse(read('bench/package-lock.json')) as typeof lock;
    const both = Object.keys(ranges).filter((name) => nearer[`node_modules/${name}`] !== undefined);
    expect(both).toContain('undici');
    for (const name of both) {
      const [ours, theirs] = [packages, nearer].map((all) => all[`node_modules/${name}`]?.version);
      expect([name, theirs]).toEqual([name, ours]);
    }
  });

  test('tests load the same copy as lib of whatever both use: __tests__ has links to it, or nothing', () => {
    const { packages: nearer } = JSON.parse(read('__tests__/package-lock.json')) as typeof lock;
    const shared = [...Object.keys(ranges), ...Object.keys(manifest.devDependencies), 'expressway'];
    const copies = shared.filter((name) => nearer[`node_modules/${name}`] !== undefined);
    expect(copies).toEqual(expect.arrayContaining(['yaml', '@opentelemetry/api', 'expressway']));
    for (const name of copies) {
      expect([name, nearer[`node_modules/${name}`]?.link]).toEqual([name, true]);
      const ours = name === 'expressway' ? '..' : `../node_modules/${name}`;
      expect(realpathSync(new URL(`node_modules/${name}`, import.meta.url))).toBe(
        realpathSync(new URL(ours, import.meta.url)),
      );
    }
  });

  // docs/dependencies.md says what they are for.
  test.each([
    ['.', 350],
    ['__tests__', 550],
  ])('npm ci in %s installs at most %d packages on Linux', (folder, most) => {
    const locked = (JSON.parse(read(`${folder}/package-lock.json`)) as typeof lock).packages;
    const installed = Object.entries(locked).filter(
      ([path, { os = ['linux'], cpu = ['x64'], libc = ['glibc'] }]) =>
        path.startsWith('node_modules/') && os.includes('linux') && cpu.includes('x64') && libc.includes('glibc'),
    );
    expect(installed.length).toBeGreaterThan(100);
    expect(installed.length).toBeLessThanOrEqual(most);
  });

  test('only reviewed packages may run install scripts', () => {
    const withScripts = Object.entries(packages).filter(([, { hasInstallScript }]) => hasInstallScript === true);
    const names = withScripts.map(([path]) => path.replace(/^.*node_modules\//, ''));
    expect(names.filter((name) => !(name in manifest.allowScripts))).toEqual([]);
    // None of them comes with the package.
    expect(names.filter((name) => name in ranges)).toEqual([]);
  });
});
