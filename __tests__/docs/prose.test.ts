import { describe, expect, test } from '@jest/globals';
import { isMarkdown, type Passage, PROSE_FILES, passagesOf, sentencesOf } from './prose.ts';

/** What must not return, and what to write instead. Code in backticks and text in quotes are left out. */
const PATTERNS: readonly { readonly pattern: RegExp; readonly instead: string; readonly docsOnly?: boolean }[] = [
  { pattern: /\b(?:nobody|somebody|whoever|whom)\b/i, instead: 'name the actor: no client, an operator, a backend' },
  { pattern: /\bnone that\b/i, instead: 'invalid, no …' },
  {
    pattern: /\b(?:is|are|was|were) told\b(?! apart)|\btold (?:of|once)\b/i,
    instead: 'say who reports it: the gateway warns, logs',
  },
  { pattern: /\b(?:is|are) meant by\b|\bcan be meant\b/i, instead: 'means, is valid' },
  { pattern: /\banswer(?:s|ed)? (?:with )?[1-5]\d\d\b/i, instead: 'responds with 404, gets 404' },
  // The linter of `npm run check` leaves tables out. In lib, texts of Lua scripts would match.
  { pattern: /\b([a-z]{2,}) \1\b/i, instead: 'a word is there twice', docsOnly: true },
  { pattern: /\banswers\b/i, instead: 'responses, responds', docsOnly: true },
];

const LONGEST_SENTENCE = 35;
/** Pages about questions and their answers. */
const ABOUT_QUESTIONS = ['docs/questions.md', 'docs/README.md'];

function problemsOf({ text, line }: Passage, isDocs: boolean, file: string): string[] {
  const found = PATTERNS.filter(({ docsOnly }) => docsOnly !== true || (isDocs && !ABOUT_QUESTIONS.includes(file)))
    .map(({ pattern, instead }) => ({ match: pattern.exec(text)?.[0], instead }))
    .filter(({ match }) => match !== undefined)
    .map(({ match, instead }) => `${file}:${line} "${match}" (${instead})`);
  if (!isDocs) return found;
  const long = sentencesOf(text)
    .map((sentence) => sentence.split(' ').length)
    .filter((words) => words > LONGEST_SENTENCE);
  return [
    ...found,
    ...long.map((words) => `${file}:${line} a sentence of ${words} words (${LONGEST_SENTENCE} at most)`),
  ];
}

const problemsOfFile = (file: string): string[] =>
  passagesOf(file).flatMap((passage) => problemsOf(passage, isMarkdown(file), file));

describe('prose', () => {
  test('is plain in every file', () => {
    expect(PROSE_FILES.length).toBeGreaterThan(300);
    expect(PROSE_FILES.flatMap(problemsOfFile)).toEqual([]);
  });

  test('is looked for in the status page and in the titles of tests', () => {
    const texts = (file: string) => passagesOf(file).map(({ text }) => text);
    expect(texts('lib/gateway/admin/page/index.html')).toContain('No client was limited in the last 10 minutes.');
    expect(texts('lib/gateway/admin/page/verdict.js')).toContain('passes its health checks');
    expect(texts('__tests__/docs/prose.test.ts')).toEqual(
      expect.arrayContaining(['prose', 'is plain in every file', '%s is detected']),
    );
  });

  test.each([
    ['Only whoever waits gets it.', 'whoever'],
    ['It has none that can be used.', 'none that'],
    ['The operator is told.', 'is told'],
    ['The backend answers 503.', 'answers 503'],
    ['Then the the request ends.', 'the the'],
    [`One ${'word '.repeat(35)}end.`, 'a sentence of 37 words'],
  ])('%s is detected', (text, problem) => {
    expect(problemsOf({ text, line: 1 }, true, 'docs/x.md').join()).toContain(problem);
  });

  test('code, quotes and short sentences pass', () => {
    expect(problemsOf({ text: 'The client gets X. Then it waits.', line: 1 }, true, 'docs/x.md')).toEqual([]);
  });
});
