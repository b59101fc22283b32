import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';

const lib = fileURLToPath(new URL('../../lib', import.meta.url));
const files = readdirSync(lib, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.ts'));

/** What a file of lib imports: packages by name, files by their path below lib. */
function importsOf(file: string): string[] {
  const source = readFileSync(join(lib, file), 'utf8');
  const named = [
    ...source.matchAll(/^(?:import|export)\b[^'"]*?from '([^']+)'|^import '([^']+)'|\bimport\('([^']+)'\)/gm),
  ];
  return named
    .map(([, from, bare, dynamic]) => from ?? bare ?? dynamic ?? '')
    .map((name) => (name.startsWith('.') ? relative(lib, join(lib, dirname(file), name)) : name));
}

const kit = files.filter((file) => file.startsWith('testing/'));
const rest = files.filter((file) => !file.startsWith('testing/'));

describe('layers', () => {
  test('the test kit needs nothing but Node and lib/core, and nothing in lib needs the test kit', () => {
    const needed = kit.flatMap(importsOf);
    expect(needed).toContain('core/options.ts');
    expect(needed.filter((name) => !/^(node:|core\/|testing\/)/.test(name))).toEqual([]);
    expect(rest.flatMap(importsOf).filter((name) => name.startsWith('testing/'))).toEqual([]);
  });

  test('the entries load no optional peer', () => {
    const { peerDependenciesMeta } = JSON.parse(readFileSync(join(lib, '../package.json'), 'utf8'));
    const optional = Object.keys(peerDependenciesMeta);
    expect(optional).toContain('redis');
    const loaded = files.flatMap((file) => {
      // Examples in docstrings import what they like.
      const source = readFileSync(join(lib, file), 'utf8').replace(/\/\*[\s\S]*?\*\//g, '');
      return [...source.matchAll(/^(?:import|export) (?!type\b)[^'"]*?from '([^'.][^']*)'/gm)].map(
        ([, name = '']) => name,
      );
    });
    expect(loaded).toContain('undici');
    expect(loaded.filter((name) => optional.includes(name))).toEqual([]);
  });
});
