import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { parseAllDocuments } from 'yaml';
import { BLOCKS, type Block, PAGES, proseOf, ROOT, readPage } from './pages.ts';
import { commandProblem, commandsOf } from './shell-commands.ts';
import { typeCheck } from './type-check.ts';

const checked = BLOCKS.filter(({ unchecked }) => unchecked === undefined);
const of = (...languages: string[]) => checked.filter(({ language }) => languages.includes(language));
const where = ({ page, line }: Block) => `${page}:${line}`;
const cases = (blocks: readonly Block[]) => blocks.map((block) => [where(block), block] as const);

describe('code blocks of the documentation', () => {
  test('have a checked language, or a reason why they are not checked', () => {
    expect(BLOCKS.length).toBeGreaterThan(40);
    // The configuration of nginx is run by recipes.test.ts.
    const languages = ['ts', 'js', 'sh', 'env', 'json', 'yaml', 'nginx'];
    expect(checked.filter(({ language }) => !languages.includes(language)).map(where)).toEqual([]);
    expect(BLOCKS.filter(({ unchecked }) => unchecked?.trim() === '').map(where)).toEqual([]);
  });

  test('are all found, also in lists', () => {
    const fences = PAGES.map((page) => [page, readPage(page).match(/^\s*(?:```|~~~)/gm)?.length ?? 0]);
    expect(fences).toEqual(PAGES.map((page) => [page, 2 * BLOCKS.filter((block) => block.page === page).length]));
  });

  test('compile in TypeScript and JavaScript', () => {
    expect(typeCheck(of('ts', 'js'))).toEqual([]);
  });

  test('do not compile with a deliberate error', () => {
    const [first] = of('ts') as [Block, ...Block[]];
    const bad = { ...first, code: 'app.use(ipRateLimit({ limits: 5 }));\n' };
    expect(typeCheck([bad])).toEqual([expect.stringContaining(`${first.page}:${first.line + 1}: error TS2561`)]);
  });

  test('that are whole programs are each run by a test', () => {
    const tests = readdirSync(join(ROOT, '__tests__/docs'))
      .filter((file) => file.endsWith('.test.ts'))
      .map((file) => readFileSync(join(ROOT, '__tests__/docs', file), 'utf8'))
      .join('\n');
    const names = BLOCKS.flatMap(({ run }) => run ?? []);
    expect(new Set(names).size).toBe(names.length);
    expect(names.filter((name) => !tests.includes(`('${name}'`))).toEqual([]);
  });

  test.each(cases(of('sh')))('%s: the commands exist', async (_where, { code }) => {
    const problems = await Promise.all(commandsOf(code).map(commandProblem));
    expect(problems.filter((problem) => problem !== undefined)).toEqual([]);
  });

  test.each([
    ['npm run nothing', 'there is no script nothing'],
    ['npm install left-pad', 'left-pad is no package that is known here'],
    ['npx expressway fly', 'there is no command fly'],
    ['npx expressway start --fast', 'start has no --fast'],
    ['cp nothing .env', 'there is no nothing'],
  ])('the invalid command %s is detected', async (line, problem) => {
    expect(await commandProblem(commandsOf(line)[0] as string[])).toBe(problem);
  });

  const data = of('json', 'yaml');
  test.each(cases(data))('%s can be parsed', (_where, { language, code }) => {
    if (language === 'json') JSON.parse(code);
    else expect(parseAllDocuments(code).flatMap(({ errors }) => errors)).toEqual([]);
  });

  test('variables are those of .env.example', () => {
    const known = new Set(Object.keys(parseEnv(readFileSync(join(ROOT, '.env.example'), 'utf8'))));
    const inBlocks = of('env').flatMap(({ code }) => Object.keys(parseEnv(code)));
    const inText = PAGES.flatMap((page) => [...proseOf(page).matchAll(/`([A-Z]+(?:_[A-Z]+)+)(?:=[^`]*)?`/g)]).map(
      ([, name = '']) => name,
    );
    const named = [
      ...inBlocks,
      ...inText.filter(
        (name) => !/^(?:ERR|HPE|WARN|NODE|OTEL)_|^(?:NO_COLOR|CHROMIUM_PATH|PROBLEMS_TABLE)$/.test(name),
      ),
    ];
    expect(named.length).toBeGreaterThan(20);
    expect(named.filter((name) => !known.has(name))).toEqual([]);
  });
});
