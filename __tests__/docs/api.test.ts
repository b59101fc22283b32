import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { declarationOf } from '../../scripts/docs/declarations.ts';
import { ROOT, readPage } from './pages.ts';

/** The names that an entry exports, as its source calls them inside. */
function exportsOf(entry: string): string[] {
  return [...readPage(entry).matchAll(/^export(?: type)? \{([^}]*)\}/gm)]
    .flatMap(([, names = '']) => names.split(','))
    .map((name) =>
      name
        .trim()
        .replace(/^type /, '')
        .replace(/ as \w+$/, ''),
    )
    .filter((name) => name !== '');
}

function hasDocstring(entry: string, name: string): boolean {
  const declaration = new RegExp(
    `^export (?:abstract |async )?(?:interface|type|const|function|class) ${name}\\b`,
    'm',
  );
  const { source } = declarationOf(join(ROOT, entry), name, declaration);
  return source.slice(0, source.search(declaration)).trimEnd().endsWith('*/');
}

test.each(['lib/index.ts', 'lib/testing/index.ts'])('every export of %s has a docstring', (entry) => {
  const names = exportsOf(entry);
  expect(names.length).toBeGreaterThan(10);
  expect(names.filter((name) => !hasDocstring(entry, name))).toEqual([]);
});
