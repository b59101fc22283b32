import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { blocksOf, ROOT, readPage } from './pages.ts';

describe('README.md', () => {
  const text = readPage('README.md');

  test('is short: 150 lines and 1,500 words at most', () => {
    expect(text.trimEnd().split('\n').length).toBeLessThanOrEqual(150);
    expect(text.split(/\s+/).length).toBeLessThanOrEqual(1_500);
  });

  test('shows the app of the example as it is', () => {
    const shown = blocksOf('README.md').find(({ unchecked }) => unchecked?.includes('example-gateway/app.ts'));
    const app = readFileSync(join(ROOT, 'example-gateway/app.ts'), 'utf8');
    expect(app).toContain(shown?.code);
    expect(shown?.code).toContain('app.use(proxy)');
  });

  test('compares itself with five others at most', () => {
    const [, rows = ''] = /\| \*\*Expressway\*\* (.*?)\n\n/s.exec(text) ?? [];
    expect(rows.split('\n').length).toBeLessThanOrEqual(6);
  });
});

describe('CHANGELOG.md', () => {
  const [, unreleased = ''] = readPage('CHANGELOG.md').split(/^## /m);

  test('has one line for each change, in a group', () => {
    const lines = unreleased
      .split('\n')
      .slice(1)
      .filter((line) => line !== '');
    const entries = lines.filter((line) => line.startsWith('- '));
    const others = lines.filter((line) => !/^(?:- |#{3,4} )/.test(line));
    expect(entries.filter((line) => line.length > 260)).toEqual([]);
    expect(others.length).toBeLessThanOrEqual(1);
    expect(new Set(entries).size).toBe(entries.length);
  });
});

describe('decisions', () => {
  const decisions = readdirSync(join(ROOT, 'docs/decisions')).filter((name) => /^\d{4}-/.test(name));

  test('are all in the index', () => {
    const index = readPage('docs/decisions/README.md');
    expect(decisions.filter((name) => !index.includes(`](${name})`))).toEqual([]);
  });

  test.each(decisions)('%s has 60 lines at most', (name) => {
    expect(readPage(`docs/decisions/${name}`).trimEnd().split('\n').length).toBeLessThanOrEqual(60);
  });
});
