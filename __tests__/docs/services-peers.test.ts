import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { blocksOf, ROOT, readPage } from './pages.ts';

const PEERS = join(ROOT, 'docs/peers');

/** Lines that say something, and the characters in them that are no white space. */
function sizeOf(text: string): { readonly lines: number; readonly characters: number } {
  const lines = text.split('\n').filter((line) => !/^\s*(?:#|\/\/|$)/.test(line));
  return { lines: lines.length, characters: lines.join('').replace(/\s/g, '').length };
}

const filesOf = (peer: string): readonly string[] =>
  readdirSync(join(PEERS, peer))
    .sort()
    .map((name) => `${peer}/${name}`);
const textOf = (file: string): string => readFileSync(join(PEERS, file), 'utf8');

/** The file of the tutorial. */
const own =
  blocksOf('docs/services.md').find(({ language, code }) => language === 'yaml' && /\bpartners:/.test(code))?.code ??
  '';

const ROWS = [
  ['Expressway', own],
  ['Express Gateway', filesOf('express-gateway').map(textOf).join('\n')],
  ['Kong', filesOf('kong').map(textOf).join('\n')],
  ['Traefik', filesOf('traefik').map(textOf).join('\n')],
  ['YARP', filesOf('yarp').map(textOf).join('\n')],
] as const;

describe('the five services in other gateways', () => {
  test.each(ROWS)('the table says how long the files of %s are', (name, text) => {
    const { lines, characters } = sizeOf(text);
    const row = readPage('docs/services.md')
      .split('\n')
      .find((line) => line.startsWith(`| ${name} |`) && /\| \d+ \| \d[\d,]* \|/.test(line));
    expect(row).toMatch(new RegExp(`\\| ${lines} \\| ${characters.toLocaleString('en')} \\|`));
  });

  test.each(ROWS)('the files of %s have all services and paths', (_, text) => {
    for (const port of [8081, 8082, 8083, 8084, 8085, 8086])
      expect(text).toContain(`http://localhost:${port}`.slice(7));
    for (const path of ['/api/users', '/api/orders', '/partners/orders', '/chat', '/feed', '/healthz']) {
      expect(text).toContain(path);
    }
  });

  test.each(['express-gateway', 'kong', 'traefik', 'yarp'].flatMap(filesOf).filter((file) => !file.endsWith('.cs')))(
    '%s can be parsed',
    (file) => {
      expect(Object.keys(parse(textOf(file))).length).toBeGreaterThan(0);
    },
  );
});
