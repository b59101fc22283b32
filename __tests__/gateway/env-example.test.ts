import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { expect, test } from '@jest/globals';
import { readConfig } from '../../lib/gateway/config/config.ts';

const text = readFileSync(new URL('../../.env.example', import.meta.url), 'utf8');

function variablesRead(): string[] {
  const names = new Set<string>();
  const spy = new Proxy({} as NodeJS.ProcessEnv, {
    get: (_, name) => {
      names.add(String(name));
      return undefined;
    },
  });
  readConfig(spy);
  // Those are what `npx expressway start` tells the gateway, and nobody else.
  return [...names].filter((name) => !name.startsWith('EXPRESSWAY_')).sort();
}

test('every variable of .env.example is read, and every variable read is in it', () => {
  expect(Object.keys(parseEnv(text)).sort()).toEqual(variablesRead());
});

test('.env.example holds the defaults', () => {
  expect(readConfig(parseEnv(text))).toEqual(readConfig({}));
});

test('every variable is explained', () => {
  const lines = text.split('\n');
  for (const [index, line] of lines.entries()) {
    if (/^[A-Z_]+=/.test(line)) expect([line, lines[index - 1]]).toEqual([line, expect.stringMatching(/^# ./)]);
  }
});
