import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { PAGES, proseOf, ROOT } from './pages.ts';

/** The anchors that GitHub gives a page: of headings, and those written out. */
function anchorsOf(text: string): Set<string> {
  const counts = new Map<string, number>();
  const anchors = new Set<string>();
  for (const [, heading = ''] of text.replace(/^```.*?^```$/gms, '').matchAll(/^#+ (.+)$/gm)) {
    const slug = heading
      .replace(/<[^>]*>|\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{N}_\- ]/gu, '')
      .replace(/ /g, '-');
    const count = counts.get(slug) ?? 0;
    counts.set(slug, count + 1);
    anchors.add(count === 0 ? slug : `${slug}-${count}`);
  }
  for (const [, id = ''] of text.matchAll(/<a id="([^"]+)">/g)) anchors.add(id);
  return anchors;
}

/** What is wrong with a link of a page, or nothing. */
function problemOf(page: string, link: string): string | undefined {
  const [path = '', anchor] = link.split('#');
  const file = path === '' ? join(ROOT, page) : join(ROOT, dirname(page), path);
  if (!existsSync(file)) return `${link}: there is no ${relative(ROOT, file)}`;
  if (anchor === undefined || anchorsOf(readFileSync(file, 'utf8')).has(anchor)) return undefined;
  return `${link}: there is no such heading`;
}

const linksOf = (page: string) =>
  [...proseOf(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = '']) => link).filter((link) => !/^\w+:/.test(link));

describe('links', () => {
  test.each(PAGES)('of %s are valid', (page) => {
    const problems = linksOf(page).map((link) => problemOf(page, link));
    expect(problems.filter((problem) => problem !== undefined)).toEqual([]);
  });

  test('that are broken are detected', () => {
    expect(problemOf('docs/README.md', 'nowhere.md')).toBe('nowhere.md: there is no docs/nowhere.md');
    expect(problemOf('docs/README.md', 'proxy.md#nowhere')).toBe('proxy.md#nowhere: there is no such heading');
    expect(problemOf('docs/README.md', 'proxy.md#retryoptions')).toBeUndefined();
  });

  test('docs/README.md links to every page', () => {
    const listed = new Set(linksOf('docs/README.md').map((link) => `docs/${link.split('#')[0]}`));
    const pages = PAGES.filter((page) => page.startsWith('docs/') && page !== 'docs/README.md');
    expect(pages.filter((page) => !listed.has(page))).toEqual([]);
  });
});
