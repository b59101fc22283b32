import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { install } from '../../scripts/install.ts';

export interface Mutant {
  readonly id: string;
  readonly file: string;
  /** `file:line:column mutator: original → replacement`. */
  readonly text: string;
}

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Files of the repository that match these paths or patterns, without those that git ignores. */
export function filesOf(...paths: readonly string[]): string[] {
  const args = ['ls-files', '--cached', '--others', '--exclude-standard', '--deduplicate', '--', ...paths];
  const listed = execFileSync('git', args, { cwd: ROOT, encoding: 'utf8' }).split('\n').slice(0, -1);
  return listed.filter((path) => existsSync(join(ROOT, path)));
}

/** Copies the repository to `folder`, and puts all mutants of `files` into the copy, each behind a switch. */
export async function instrument(folder: string, files: readonly string[]): Promise<Mutant[]> {
  for (const name of ['bench', '__tests__']) {
    const why = install(name);
    if (why !== undefined) throw new Error(why);
  }
  for (const path of filesOf('.')) cpSync(join(ROOT, path), join(folder, path));
  for (const path of ['node_modules', 'bench/node_modules']) symlinkSync(join(ROOT, path), join(folder, path));
  const tools = '__tests__/node_modules';
  mkdirSync(join(folder, tools));
  for (const name of readdirSync(join(ROOT, tools))) {
    // Suites import the package by its name, and must get the copy.
    symlinkSync(name === 'expressway' ? folder : join(ROOT, tools, name), join(folder, tools, name));
  }
  const { Instrumenter } = await import('@stryker-mutator/instrumenter');
  const silent = { isDebugEnabled: () => false, debug() {}, info() {}, warn() {} };
  const contents = new Map(files.map((name) => [name, readFileSync(join(ROOT, name), 'utf8')]));
  const result = await new Instrumenter(silent).instrument(
    Array.from(contents, ([name, content]) => ({ name, content, mutate: true })),
    { plugins: null, excludedMutations: [], ignorers: [] },
  );
  for (const { name, content } of result.files) writeFileSync(join(folder, name), content);
  return result.mutants.flatMap(({ id, fileName, mutatorName, replacement, location: { start, end } }) => {
    const lines = contents
      .get(fileName)!
      .split('\n')
      .slice(start.line, end.line + 1);
    const original = [...lines.slice(0, -1), lines.at(-1)!.slice(0, end.column)].join('\n').slice(start.column);
    // Texts for people: a test of each word would be a copy of the text.
    if (mutatorName === 'StringLiteral' && original.includes(' ')) return [];
    const text = `${fileName}:${start.line + 1}:${start.column + 1} ${mutatorName}: ${short(original)} → ${short(replacement)}`;
    return [{ id, file: fileName, text }];
  });
}

function short(code: string): string {
  const line = code.replace(/\s+/g, ' ');
  return line.length > 70 ? `${line.slice(0, 69)}…` : line;
}
