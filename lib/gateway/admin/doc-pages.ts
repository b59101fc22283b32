import { readdirSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { findPackageJSON } from 'node:module';
import { pathToFileURL } from 'node:url';

/** Folder of the documentation, which the package contains. */
const FOLDER = new URL('./docs/', pathToFileURL(findPackageJSON(import.meta.url) as string));

const LINK = /\[([^\]]+)\]\(([a-z0-9-]+\.md)?[^)]*\)/g;

/** The pages of the documentation, for operators: an index with links, and each page as Markdown. */
export class DocPages {
  /** All pages by name. Paths of requests are looked up here, and never used as paths of files. */
  readonly #names: ReadonlySet<string> = pageNames();

  has(path: string): boolean {
    return path === '/docs/' || this.#names.has(path.slice('/docs/'.length));
  }

  /** @param path Must be one of the pages. */
  async read(path: string): Promise<{ readonly type: string; readonly text: string }> {
    if (path === '/docs/') return { type: 'text/html; charset=utf-8', text: index() };
    const text = await readFile(new URL(path.slice('/docs/'.length), FOLDER), 'utf8');
    return { type: 'text/plain; charset=utf-8', text };
  }
}

function pageNames(): ReadonlySet<string> {
  try {
    return new Set(readdirSync(FOLDER).filter((name) => name.endsWith('.md')));
  } catch {
    // A bundled app has no documentation.
    return new Set();
  }
}

/** Renders headings, lists and links of the index as HTML. */
function index(): string {
  const lines = readFileSync(new URL('README.md', FOLDER), 'utf8').split('\n').map(lineOf);
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Documentation</title><link rel="icon" href="/icon.svg"><link rel="stylesheet" href="/base.css"><main class="docs">${lines.join('\n')}
<p><a href="/">Back to the status page</a></p></main></html>`;
}

function lineOf(line: string): string {
  const [, mark, text = ''] = /^\s*(#+|-)?\s*(.*)$/.exec(line) ?? [];
  const content = escaped(text)
    .replace(LINK, (_, label, page) => (page === undefined ? label : `<a href="/docs/${page}">${label}</a>`))
    .replaceAll('`', '');
  if (content === '') return '';
  if (mark === '#') return `<h1>${content}</h1>`;
  if (mark === '-') return `<p class="item">${content}</p>`;
  return mark === undefined ? `<p>${content}</p>` : `<h2>${content}</h2>`;
}

const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
