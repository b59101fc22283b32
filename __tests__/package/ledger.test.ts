import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';

const root = new URL('../../', import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), 'utf8');
const ledger = read('lib/README.md');

const entries = ledger
  .split(/^(?=\d+\. )/m)
  .slice(1)
  .map((text) => {
    const [, file = '', title = ''] = /`(__tests__\/\S+\.test\.ts)`: "(.+)"/.exec(text) ?? [];
    return { number: Number.parseInt(text, 10), file, title };
  });

/** As a whole string of the source, whatever its quotes. */
const hasTitle = (source: string, title: string) =>
  [`'${title}'`, `"${title}"`, `\`${title}\``].some((literal) => source.includes(literal));

describe('the ledger of invariants, lib/README.md', () => {
  test('has each number once, in order', () => {
    expect(entries.length).toBeGreaterThan(30);
    expect(entries.map(({ number }) => number)).toEqual(entries.map((_entry, index) => index + 1));
  });

  test.each(entries)('$number is tested by $file: $title', ({ file, title }) => {
    expect([file, title]).not.toContain('');
    expect([file, existsSync(new URL(file, root))]).toEqual([file, true]);
    expect([title, hasTitle(read(file), title)]).toEqual([title, true]);
  });
});
