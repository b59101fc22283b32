import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** A block of code in a page, and what an HTML comment before it says: readers do not see that. */
export interface Block {
  readonly page: string;
  readonly line: number;
  readonly language: string;
  readonly code: string;
  /** `<!-- run: name -->`: a whole program, which a test starts under that name. */
  readonly run: string | undefined;
  /** `<!-- not checked: reason -->`. */
  readonly unchecked: string | undefined;
}

/** README and docs/, without the decisions. */
export const PAGES: readonly string[] = [
  'README.md',
  ...readdirSync(join(ROOT, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

export const readPage = (page: string): string => readFileSync(join(ROOT, page), 'utf8');

const FENCED = /(?:^<!-- (run|not checked): ([^\n]*?) -->\n\n?)?^```(\w*)\n(.*?)^```$/gms;

export function blocksOf(page: string): Block[] {
  const text = readPage(page);
  return [...text.matchAll(FENCED)].map(({ 0: whole, 1: mark, 2: value, 3: language = '', 4: code = '', index }) => ({
    page,
    line: text.slice(0, index + whole.indexOf('```')).split('\n').length,
    language,
    code,
    run: mark === 'run' ? value : undefined,
    unchecked: mark === 'not checked' ? value : undefined,
  }));
}

export const BLOCKS: readonly Block[] = PAGES.flatMap(blocksOf);

/** Text without the blocks of code. */
export const proseOf = (page: string): string => readPage(page).replace(FENCED, '');
