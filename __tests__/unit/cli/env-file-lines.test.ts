import { parseEnv } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { linesWithoutEffect } from '../../../lib/cli/doctor/env-file-lines.ts';

const said = (text: string) => linesWithoutEffect(text).map(({ what }) => what);
const ignored = (line: number) => `line ${line} of the file is no NAME=value, and has no effect`;

describe('lines of an environment file without effect', () => {
  test.each<[string, readonly string[]]>([
    ['PORT=1\n\n# PORT=2\n  #\nexport HOST=::\n', []],
    ['PORT: 1\nHOST=a', [ignored(1)]],
    ['PORT 1', [ignored(1)]],
    ['A=1\r\nPORT\r\n', [ignored(2)]],
    ['=1', [ignored(1)]],
    ['A=1\nB=2\nA=3\nexport A = 4', ['A is in lines 1, 3, 4 of the file: the last one counts']],
    ['KEY="one\nPORT: 1\nA=2"\nA=3', []],
    ['KEY="one\nPORT: 1', [ignored(2)]],
    ["KEY='it' # is\nPORT: 1", [ignored(2)]],
  ])('%j: %j', (text, findings) => {
    expect(said(text)).toEqual(findings);
  });

  test('are those in which Node finds no variable', () => {
    const name = fc.constantFrom('A', 'PORT', 'B_2');
    const value = fc.constantFrom('', '1', ' 1 ', '"x"', "'y'", '1 # 2', 'a=b');
    const good = fc.record({ name, value, before: fc.constantFrom('', ' ', 'export ') });
    const line = fc.oneof(
      good.map(({ before, ...one }) => `${before}${one.name}=${one.value}`),
      name.map((one) => `${one}: 1`),
      fc.constantFrom('', '# A=1', 'x', '=x'),
    );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 6 }), (lines) => {
        const text = lines.join('\n');
        const dead = new Set(said(text).map((one) => Number(/^line (\d+)/.exec(one)?.[1])));
        const rest = lines.filter((_, index) => !dead.has(index + 1));
        expect(parseEnv(rest.join('\n'))).toEqual(parseEnv(text));
        for (const index of dead) if (index > 0) expect(parseEnv(lines[index - 1] as string)).toEqual({});
        const live = rest.filter((one) => !/^\s*(?:#|$)/.test(one));
        for (const one of live) expect(Object.keys(parseEnv(one))).toHaveLength(1);
      }),
    );
  });
});
