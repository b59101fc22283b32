import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from '@jest/globals';
import { membersOf } from '../../scripts/docs/declarations.ts';
import { optionsTable } from '../../scripts/docs/options-table.ts';

const folder = mkdtempSync(join(tmpdir(), 'expressway-options-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const write = (name: string, text: string): string => {
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
};

write(
  'base.ts',
  "export type Mode = 'a' | 'b';\n\nexport interface Base {\n  /** Inherited. Default `a`. */\n  mode?: Mode;\n}\n",
);

const file = write(
  'options.ts',
  `import type { Base, Mode } from './base.ts';

export interface Options extends Base {
  /**
   * Waits. Default 1,000: long enough.
   *
   * - \`one\`
   */
  waitMs?: number | undefined;
  /** Of which kind, see {@link Other}. */
  readonly on: { readonly kind: Mode; readonly at: number };
}

export type Some = Pick<Options, 'waitMs'>;

export interface Bad {
  undocumented: string;
}

export interface Tagged {
  /**
   * Waits.
   *
   * More.
   *
   * @default 10_000
   */
  waitMs?: number;
  /** Of which kind. @default \`a\` */
  on?: string;
}
`,
);

const table = (defaults: Record<string, unknown>) =>
  optionsTable({ file, name: 'Options', defaults, tables: ['Other'] });

describe('a table of options', () => {
  test('has the text of docstrings and types, required options first', () => {
    expect(table({ mode: 'a', waitMs: 1_000 }).split('\n')).toEqual([
      '| option | unit or type | default | meaning |',
      '| --- | --- | --- | --- |',
      '| `on` | `{ readonly kind: Mode; readonly at: number }` | required | Of which kind, see [Other](#other). |',
      '| `mode` | `a`, `b` | `a` | Inherited. |',
      '| `waitMs` | ms | 1 000: long enough | Waits. More below. |',
      '',
      '`waitMs`:',
      '',
      '- `one`',
    ]);
  });

  test.each([
    [{ mode: 'b', waitMs: 1_000 }, 'Options.mode says "Default `a`", but it is "b"'],
    [{ mode: 'a', waitMs: 100 }, 'Options.waitMs says "Default 1,000: long enough", but it is 100'],
    [{ mode: 'a', waitMs: 1_000, on: 1 }, 'Options.on has the default 1, and its docstring does not say so'],
  ])('%j is no table', (defaults, problem) => {
    expect(() => table(defaults)).toThrow(problem);
  });

  test('knows the tag @default', () => {
    const tagged = (waitMs: number) =>
      optionsTable({ file, name: 'Tagged', defaults: { waitMs, on: 'a' }, tables: [] });
    expect(tagged(10_000).split('\n').slice(2)).toEqual([
      '| `waitMs` | ms | 10 000 | Waits. More below. |',
      '| `on` | `string` | `a` | Of which kind. |',
      '',
      '`waitMs`:',
      '',
      'More.',
    ]);
    expect(() => tagged(100)).toThrow('Tagged.waitMs says "Default 10_000", but it is 100');
  });

  test('of a Pick has those that were picked', () => {
    expect(membersOf(file, 'Some').map(({ name }) => name)).toEqual(['waitMs']);
  });

  test('needs docstrings, and an interface', () => {
    expect(() => membersOf(file, 'Bad')).toThrow('cannot read a member, or it has no docstring, at');
    expect(() => membersOf(file, 'Nothing')).toThrow('there is no Nothing');
  });
});
