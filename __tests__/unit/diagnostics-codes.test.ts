import { globSync, readFileSync } from 'node:fs';
import { matchesGlob } from 'node:path';
import { describe, expect, jest, test } from '@jest/globals';
import { GatewayError, OptionsError } from 'expressway';
import { CAUSES } from '../../lib/core/causes.ts';
import { warn } from '../../lib/core/warnings.ts';

const ROOT = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, ROOT), 'utf8');

const sources = globSync('lib/**/*.ts', { cwd: ROOT }).map((path) => ({ path, text: read(path) }));
const page = read('docs/errors.md');

const CODE = /\b(?:ERR|WARN)_EXPRESSWAY_[A-Z_]+\b/g;
const inLibrary = new Set(sources.flatMap(({ text }) => text.match(CODE) ?? []));
/** A section each: the code, then what is said of it. */
const sections = new Map(
  page
    .split(/^### /m)
    .slice(1)
    .map((section) => [/<\/a>(\w+)\n/.exec(section)?.[1] ?? '', section]),
);

describe('codes of errors and warnings', () => {
  test('every code of the library is in docs/errors.md, and the other way round', () => {
    expect(inLibrary.size).toBeGreaterThan(15);
    expect([...sections.keys()].sort()).toEqual([...inLibrary].sort());
  });

  test.each([...sections])('%s has an anchor of its name, a cause and a fix', (code, section) => {
    expect(section.startsWith(`<a id="${code}"></a>${code}\n`)).toBe(true);
    const [, cause = '', ...rest] = section.split('\n\n');
    expect(cause.length).toBeGreaterThan(20);
    expect(rest.some((paragraph) => paragraph.startsWith('Fix: '))).toBe(true);
  });

  test('links within the page lead somewhere', () => {
    const links = [...page.matchAll(/\]\(#([^)]+)\)/g)].map(([, target]) => target);
    expect(links.length).toBeGreaterThan(2);
    const headings = [...page.matchAll(/^## ([\w ]+)$/gm)].map(([, text = '']) =>
      text.toLowerCase().replaceAll(' ', '-'),
    );
    const anchors = [...page.matchAll(/<a id="([^"]+)"><\/a>/g)].map(([, id]) => id);
    expect(links.filter((target) => ![...headings, ...anchors].includes(target))).toEqual([]);
  });

  test('every cause of a rejection is in the table, with its status', () => {
    const rows = [...page.matchAll(/^\| `(\w+)` \| (\d+) \|/gm)].map(([, cause, status]) => [cause, Number(status)]);
    const causes = Object.entries(CAUSES).map(([cause, { status }]) => [cause, status]);
    expect(rows.sort()).toEqual(causes.sort());
  });

  test('every warning is emitted by the one function that gives it a code', () => {
    const others = sources.filter(({ text }) => text.includes('process.emitWarning('));
    expect(others.map(({ path }) => path)).toEqual(['lib/core/warnings.ts']);
  });

  test('an error message links to its section of the page', () => {
    expect(new GatewayError('ERR_EXPRESSWAY_CLOSED', 'it is closed').message).toBe(
      'it is closed (see node_modules/expressway/docs/errors.md#ERR_EXPRESSWAY_CLOSED)',
    );
    const options = new OptionsError('thing', ['one is bad', 'two is worse']);
    expect(options.code).toBe('ERR_EXPRESSWAY_OPTIONS');
    expect(options.message).toBe(
      'thing: one is bad; two is worse (see node_modules/expressway/docs/errors.md#ERR_EXPRESSWAY_OPTIONS)',
    );
  });

  test('the link is a file of the installed package with that section', () => {
    const { message } = new GatewayError('ERR_EXPRESSWAY_CLOSED', 'it is closed');
    const [, name, path, anchor] = /see node_modules\/([^/]+)\/(.+)#(\w+)\)$/.exec(message) ?? [];
    const manifest = JSON.parse(read('package.json')) as { name: string; files: string[] };
    expect(name).toBe(manifest.name);
    expect(manifest.files.some((pattern) => matchesGlob(path as string, pattern))).toBe(true);
    expect(read(path as string)).toContain(`<a id="${anchor}"></a>`);
    expect(page).toContain(`\`node_modules/${name}/${path}\``);
  });

  test('a warning has type, code and link', () => {
    const emitted = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    warn('WARN_EXPRESSWAY_LISTENER', 'a message', 'a stack');
    warn('WARN_EXPRESSWAY_LOOP', 'another');
    expect(emitted.mock.calls).toEqual([
      [
        'a message',
        {
          type: 'ExpresswayListenerWarning',
          code: 'WARN_EXPRESSWAY_LISTENER',
          detail: 'a stack\nSee node_modules/expressway/docs/errors.md#WARN_EXPRESSWAY_LISTENER',
        },
      ],
      [
        'another',
        {
          type: 'ExpresswayMisuseWarning',
          code: 'WARN_EXPRESSWAY_LOOP',
          detail: 'See node_modules/expressway/docs/errors.md#WARN_EXPRESSWAY_LOOP',
        },
      ],
    ]);
    emitted.mockRestore();
  });
});
