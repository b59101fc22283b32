import { expect, test } from '@jest/globals';
import { PROSE_FILES, passagesOf } from './prose.ts';
import { misspeltWords, OWN_WORDS, unknownWords } from './spelling.ts';

test.each([
  ['The reqest was recieved.', ['reqest', 'recieved']],
  ['American color', ['color']],
  ["The client's requests reach the backends of nginx.", []],
  ['`npm isntall` is code, X-Reqest-Id a header, and MAX_CONECTIONS a variable.', ['isntall']],
])('%s', (text, words) => {
  expect(misspeltWords(text)).toEqual(words);
});

test('the words of the project are sorted, and each is in use', () => {
  expect(OWN_WORDS).toEqual([...new Set(OWN_WORDS)].sort());
  const used = new Set(
    PROSE_FILES.flatMap(passagesOf).flatMap(({ text }) =>
      unknownWords(text).flatMap((word) => [word, word.toLowerCase()]),
    ),
  );
  expect(OWN_WORDS.filter((word) => !used.has(word))).toEqual([]);
});
