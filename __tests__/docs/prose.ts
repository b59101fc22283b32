import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './pages.ts';

/** A piece of text that people read: a paragraph, a list item, a cell of a table, a comment or a message. */
export interface Passage {
  readonly text: string;
  readonly line: number;
}

const MARKDOWN = ['*.md', 'docs/**/*.md', 'lib/**/*.md', 'bench/*.md', 'example-gateway/**/*.md'];
const CODE = ['lib/**/*.ts', 'example-gateway/**/*.ts'];
const PAGE = ['lib/gateway/admin/page/*.{js,html}'];
const TESTS = ['__tests__/{contract,differential,docs,fuzz,gateway,integration,package,testing,unit}/**/*.test.ts'];
const OTHERS = ['.env.example'];

/** All files with text that people read. */
export const PROSE_FILES: readonly string[] = [...MARKDOWN, ...CODE, ...PAGE, ...TESTS, ...OTHERS]
  .flatMap((pattern) => globSync(pattern, { cwd: ROOT }))
  .map((file) => file.replaceAll('\\', '/'))
  .filter((file) => !file.startsWith('docs/api/'))
  .sort();

export const isMarkdown = (file: string): boolean => file.endsWith('.md');

/** Code within a text is one word, and a link is its text. */
const plain = (text: string): string =>
  text
    .replace(/<!--.*?-->/gs, ' ')
    .replace(/`[^`]*`/g, 'X')
    .replace(/\{@link [^}]*\}/g, 'X')
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/\[\^\w+\]/g, '')
    .replace(/<[^>\s][^>]*>/g, ' ')
    .replace(/\w+:\/\/[^\s|]+|[\w-]+\.(?:test|example)\b/g, 'X')
    .replace(/"[^"\n]{0,120}"/g, 'X')
    .replace(/\*\*?/g, '')
    .replace(/\s+/g, ' ')
    .trim();

function markdownPassages(text: string): Passage[] {
  const withoutCode = text.replace(/^\s*```.*?^\s*```$/gms, (block) => block.replace(/[^\n]/g, ''));
  const passages: Passage[] = [];
  let open: string[] = [];
  let start = 1;
  const close = (): void => {
    if (open.length > 0) passages.push({ text: plain(open.join(' ')), line: start });
    open = [];
  };
  withoutCode.split('\n').forEach((row, index) => {
    const isCell = /^\s*\|/.test(row);
    if (row.trim() === '' || isCell || /^\s*(?:[-*>]|\d+\.|#+|\[\^\w+\]:) /.test(row)) {
      close();
      start = index + 1;
    }
    if (isCell) {
      const cells = row.split(/(?<!\\)\|/).filter((cell) => cell.trim() !== '' && !/^[\s:-]+$/.test(cell));
      for (const cell of cells) passages.push({ text: plain(cell), line: index + 1 });
    } else if (row.trim() !== '') {
      if (open.length === 0) start = index + 1;
      open.push(row.replace(/^\s*(?:[-*>]|\d+\.|#+) /, ''));
    }
  });
  close();
  return passages;
}

/** Comments, regular expressions and texts of TypeScript; expressions in templates count as a part of the text. */
const TOKENS =
  /(\/\*.*?\*\/|(?:^[ \t]*\/\/[^\n]*\n)+|\/\/[^\n]*)|(?<=[=(,:!&|?[{;]\s*)\/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/|('(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`)/gms;

/** Comments, and texts with a space between words: messages. */
function codePassages(text: string): Passage[] {
  return [...text.matchAll(TOKENS)].flatMap(({ 1: comment, 2: message, index }) => {
    const line = text.slice(0, index).split('\n').length;
    if (comment !== undefined) {
      return [{ text: plain(comment.replace(/^\s*(?:\/\*\*?|\*\/|\*|\/\/)|\*\/$/gm, ' ')), line }];
    }
    if (message === undefined || !/\w \w/.test(message)) return [];
    return [{ text: plain(message.slice(1, -1).replace(/\$\{[^}]*\}/g, 'X')), line }];
  });
}

const lineAt = (text: string, index: number): number => text.slice(0, index).split('\n').length;

/** What stands between the tags of a page, and in the attributes that are read out. */
function htmlPassages(text: string): Passage[] {
  return [...text.matchAll(/>([^<]*\w[^<]*)<|(?:aria-label|title|placeholder)="([^"]+)"/g)].map(
    ({ 1: content, 2: label = '', index }) => ({ text: plain(content ?? label), line: lineAt(text, index) }),
  );
}

/** The titles of tests and of their groups, as a report shows them. */
function titlePassages(text: string): Passage[] {
  const call = /\b(?:test|it|describe\w*)(?:\.\w+)*\(\s*('(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`)/g;
  const table = /\)\(\s*('(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`),\s*(?:async )?\(/g;
  return [...text.matchAll(call), ...text.matchAll(table)].map(({ 1: title = '', index }) => ({
    text: title.slice(1, -1).replace(/\$\{[^}]*\}/g, 'X'),
    line: lineAt(text, index),
  }));
}

export function passagesOf(file: string): Passage[] {
  const text = readFileSync(join(ROOT, file), 'utf8');
  if (file.endsWith('.test.ts')) return titlePassages(text);
  if (file.endsWith('.html')) return htmlPassages(text);
  if (isMarkdown(file)) return markdownPassages(text);
  if (/\.[jt]s$/.test(file)) return codePassages(text);
  return text.split('\n').map((row, index) => ({ text: plain(row), line: index + 1 }));
}

/** Sentences of a passage. A point within a number or a name ends none. */
export const sentencesOf = (text: string): string[] => text.split(/(?<=[.!?])(?<!e\.g\.|i\.e\.)\s+/);
