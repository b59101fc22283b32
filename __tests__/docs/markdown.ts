// Checks Markdown and English of all pages, with rules of remark-lint and retext that find real faults. `npm run check` runs it.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { remark } from 'remark';
import remarkGfm from 'remark-gfm';
import fencedCodeFlag from 'remark-lint-fenced-code-flag';
import headingIncrement from 'remark-lint-heading-increment';
import noDuplicateHeadings from 'remark-lint-no-duplicate-headings-in-section';
import noEmphasisAsHeading from 'remark-lint-no-emphasis-as-heading';
import noEmptyUrl from 'remark-lint-no-empty-url';
import noMultipleToplevelHeadings from 'remark-lint-no-multiple-toplevel-headings';
import noUndefinedReferences from 'remark-lint-no-undefined-references';
import recommended from 'remark-preset-lint-recommended';
import remarkRetext from 'remark-retext';
import retextContractions from 'retext-contractions';
import retextDiacritics from 'retext-diacritics';
import retextEnglish from 'retext-english';
import retextIndefiniteArticle from 'retext-indefinite-article';
import retextQuotes from 'retext-quotes';
import retextRedundantAcronyms from 'retext-redundant-acronyms';
import retextRepeatedWords from 'retext-repeated-words';
import retextSentenceSpacing from 'retext-sentence-spacing';
import retextSyntaxUrls from 'retext-syntax-urls';
import { unified } from 'unified';
import { ROOT } from './pages.ts';
import { isMarkdown, PROSE_FILES } from './prose.ts';

const english = unified()
  .use(retextEnglish)
  .use([
    retextSyntaxUrls,
    [retextContractions, { straight: true }],
    retextDiacritics,
    retextIndefiniteArticle,
    [retextQuotes, { preferred: 'straight' }],
    retextRedundantAcronyms,
    retextRepeatedWords,
    retextSentenceSpacing,
  ]);

const linter = remark()
  .use(recommended)
  .use([
    remarkGfm,
    fencedCodeFlag,
    headingIncrement,
    noDuplicateHeadings,
    noEmphasisAsHeading,
    noEmptyUrl,
    noMultipleToplevelHeadings,
    // Headings of a changelog.
    [noUndefinedReferences, { allow: ['unreleased', /^\d/] }],
    [remarkRetext, english],
  ]);

/** Faults of a page: path, place, and what is wrong. */
export async function faultsOf(path: string, value: string): Promise<string[]> {
  const { messages } = await linter.process({ path, value });
  return messages.map((message) => `${message} (${message.ruleId})`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const path of PROSE_FILES.filter(isMarkdown)) {
    for (const fault of await faultsOf(path, readFileSync(join(ROOT, path), 'utf8'))) {
      process.stderr.write(`${fault}\n`);
      process.exitCode = 1;
    }
  }
}
