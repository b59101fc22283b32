// Checks the spelling of everything that people read: documentation, comments, messages, titles of tests. `npm run check` runs it.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import nspell from 'nspell';
import { type Passage, PROSE_FILES, passagesOf } from './prose.ts';

const read = (path: string): string => readFileSync(new URL(path, import.meta.url), 'utf8');
const dictionary = (part: 'aff' | 'dic'): string => read(`../node_modules/dictionary-en-gb/index.${part}`);

/** Words of this project and of its field, each in a line of its own. */
export const OWN_WORDS: readonly string[] = read('spelling-words.txt').trim().split('\n');

const speller = nspell(dictionary('aff'), dictionary('dic'));

/** Words in plain lower case, or with one capital: others are names and code. Parts of paths, hosts and options are none. */
const WORD = /(?<![\w./@#-])[A-Za-z][a-z']+(?![\w(/=@-]|\.\w)/g;
const SHORTEST = 3;

/** The words of a text that British English does not have. */
export const unknownWords = (text: string): string[] =>
  [...text.matchAll(WORD)]
    .map(([word]) => word.replace(/'s?$/, ''))
    .filter((word) => word.length >= SHORTEST && !speller.correct(word));

const own = new Set(OWN_WORDS);
const isOwn = (word: string): boolean => own.has(word) || own.has(word.toLowerCase());

/** The words of a text that are neither British English nor of this project. */
export const misspeltWords = (text: string): string[] => unknownWords(text).filter((word) => !isOwn(word));

function problem(file: string, { line }: Passage, word: string): string {
  const [closest] = speller.suggest(word);
  return `${file}:${line} "${word}"${closest === undefined ? '' : `: did you mean "${closest}"?`}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const problems = PROSE_FILES.flatMap((file) =>
    passagesOf(file).flatMap((passage) => misspeltWords(passage.text).map((word) => problem(file, passage, word))),
  );
  if (problems.length > 0) {
    const hint = 'Mend them, or add words that are right to __tests__/docs/spelling-words.txt.';
    process.stderr.write([...problems, hint, ''].join('\n'));
    process.exitCode = 1;
  }
}
