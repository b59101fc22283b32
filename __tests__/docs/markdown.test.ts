import { expect, test } from '@jest/globals';
import { faultsOf } from './markdown.ts';

test.each([
  ['The the gateway.', 'retext-repeated-words|the'],
  ['An gateway.', 'retext-indefinite-article'],
  ['See [limits].', 'no-undefined-references'],
  ['See https://a.example.', 'no-literal-urls'],
  ['```\ncode\n```', 'fenced-code-flag|missing-language'],
  ['#### Deep', 'heading-increment'],
  ['## Same\n\n## Same', 'no-duplicate-headings-in-section'],
])('%j is a fault (%s)', async (text, rule) => {
  expect(await faultsOf('page.md', `# Page\n\n${text}\n`)).toEqual([
    expect.stringMatching(new RegExp(`^page\\.md:\\d.*\\((?:${rule})\\)$`)),
  ]);
});

test('code, links and `[Unreleased]` are none', async () => {
  const text = 'The `the the` of [a page](https://a.example).\n\n## [Unreleased]\n\n```js\nan gateway\n```';
  expect(await faultsOf('page.md', `# Page\n\n${text}\n`)).toEqual([]);
});
