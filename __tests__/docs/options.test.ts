import { describe, expect, test } from '@jest/globals';
import { withOptions } from '../../scripts/docs/generated.ts';
import { PAGES, ROOT, readPage } from './pages.ts';

const withTables = PAGES.filter((page) => readPage(page).includes('<!-- options: '));

describe('tables of options', () => {
  test('exist', () => {
    expect(withTables).toContain('docs/proxy.md');
    expect(withTables.length).toBeGreaterThan(7);
  });

  // When this fails: npm run docs.
  test.each(withTables)('%s matches the source', async (page) => {
    const text = readPage(page);
    expect(await withOptions(ROOT, text)).toBe(text);
  });

  test('detect a page that differs', async () => {
    const text = readPage('docs/circuit-breaker.md');
    expect(text).toContain('| share, 0 to 1 | 0.6 |');
    expect(await withOptions(ROOT, text.replace('| share, 0 to 1 | 0.6 |', '| share, 0 to 1 | 0.7 |'))).toBe(text);
  });
});
