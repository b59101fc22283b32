import { describe, expect, test } from '@jest/globals';
import { contentsProblems } from '../../.ci/package-contents.ts';

const manifest = {
  exports: { '.': { types: './dist/lib/index.d.ts', default: './dist/lib/index.js' } },
  bin: { a: 'dist/lib/a.js' },
};
const good: Record<string, string> = {
  'package.json': JSON.stringify(manifest),
  'README.md': '',
  'docs/errors.md': '',
  'lib/index.ts': '',
  'dist/lib/index.js': '',
  'dist/lib/index.d.ts': '',
  'dist/lib/index.js.map': JSON.stringify({ sources: ['../../lib/index.ts'] }),
  'dist/lib/a.js': '',
  'dist/lib/gateway/admin/page.html': '',
};

function problems(files: Record<string, string | undefined>): string[] {
  const all = new Map(
    Object.entries(files).flatMap(([path, text]) => (text === undefined ? [] : [[`/node_modules/e/${path}`, text]])),
  );
  return contentsProblems({
    packageName: 'e',
    listFiles: () => [...all.keys()],
    readFile: (path) => all.get(path) ?? '',
    fileExists: (path) => all.has(path),
  });
}

describe('the content of the tarball', () => {
  test('contains exactly the files of the list', () => {
    expect(problems(good)).toEqual([]);
  });

  test.each([
    [{ '__tests__/a.test.ts': '' }, '__tests__/a.test.ts does not belong into the package'],
    [{ 'dist/example-gateway/server.d.ts': '' }, 'dist/example-gateway/server.d.ts does not belong into the package'],
    [{ '.env': '' }, '.env does not belong into the package'],
    [{ 'dist/lib/index.js': undefined }, 'dist/lib/index.js is promised by package.json, and is not there'],
    [{ 'dist/lib/a.js': undefined }, 'dist/lib/a.js is promised by package.json, and is not there'],
    [{ 'lib/index.ts': undefined }, 'lib/index.ts is named by a map, and is not there'],
  ])('the problem %j is detected', (change, problem) => {
    expect(problems({ ...good, ...change })).toEqual([problem]);
  });
});
