import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { ROOT, readPage } from './pages.ts';

const PRODUCTS = [
  '**Expressway**',
  'http-proxy-middleware',
  'fast-gateway',
  'Express Gateway',
  'Spring Cloud Gateway',
  'YARP',
  'Traefik',
  'Caddy',
  'Kong',
  'Envoy',
];

const FOOTNOTE = /\[\^(\w+)\](?!:)/g;

/** The cells of each row of each table, the row with the names of the columns and the line under it left out. */
function tablesOf(text: string): string[][][] {
  const tables = [...text.matchAll(/(?:^\|.*\n)+/gm)].map(([table]) => table.trimEnd().split('\n').slice(2));
  return tables.map((rows) =>
    rows.map((row) =>
      row
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    ),
  );
}

/** Cells about others that neither have a source nor admit that there is none. */
const unsourced = (tables: string[][][]): string[] =>
  tables
    .flat()
    .filter(([name]) => name !== PRODUCTS[0])
    .flatMap(([name, ...cells]) => cells.map((cell) => `${name}: ${cell}`))
    .filter((cell) => !/\[\^\w+\]/.test(cell) && !cell.endsWith('*not checked*'));

/** Peers are pinned for the benchmarks. */
const versionOf = (name: string): string =>
  ['package-lock.json', 'bench/package-lock.json']
    .map((file) => JSON.parse(readFileSync(join(ROOT, file), 'utf8')).packages[`node_modules/${name}`])
    .find((entry) => entry !== undefined)?.version;

describe('the comparison', () => {
  const text = readPage('docs/comparison.md');
  const tables = tablesOf(text);

  test('has all gateways in every table, in the same order', () => {
    expect(tables.length).toBeGreaterThan(4);
    for (const table of tables) expect(table.map(([name]) => name)).toEqual(PRODUCTS);
  });

  test('names a source in every cell about others, or says that it was not checked', () => {
    expect(unsourced(tables)).toEqual([]);
  });

  test('finds a cell without a source', () => {
    expect(unsourced([[['Caddy', 'yes', 'no[^cad]', '*not checked*']]])).toEqual(['Caddy: yes']);
    expect(unsourced([[['**Expressway**', 'yes']]])).toEqual([]);
  });

  test('has an address for every source, and uses every source', () => {
    const sources = new Map([...text.matchAll(/^\[\^(\w+)\]: (.*)$/gm)].map(([, id, source]) => [id, source]));
    const used = new Set([...text.matchAll(FOOTNOTE)].map(([, id]) => id));
    expect([...used].filter((id) => !sources.has(id))).toEqual([]);
    expect([...sources.keys()].filter((id) => !used.has(id))).toEqual([]);
    expect([...sources].filter(([, source]) => !/<https:\/\/\S+>/.test(source ?? ''))).toEqual([]);
  });

  test('has the date of its last check', () => {
    expect(text).toMatch(/Checked on \d{4}-\d\d-\d\d/);
  });

  // When this fails: read the new version, correct what it says of it, then the version and the date.
  test.each(['http-proxy-middleware', 'httpxy', 'fast-gateway', 'fast-proxy-lite'])(
    'was written from the %s that is pinned here',
    (name) => {
      expect(text).toContain(`${name} ${versionOf(name)}, `);
    },
  );
});
