import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { expect, test } from '@jest/globals';
import { shownConfig } from '../../lib/gateway/admin/shown-config.ts';
import { readConfig, SECTIONS, VARIABLES } from '../../lib/gateway/config/config.ts';
import { envExample } from '../../scripts/docs/env-example.ts';

const text = readFileSync(new URL('../../.env.example', import.meta.url), 'utf8');

test('.env.example is what "npm run docs" writes', () => {
  expect(text).toBe(envExample());
});

test('.env.example holds every variable, and its default', () => {
  expect(Object.keys(parseEnv(text)).sort()).toEqual(Object.keys(VARIABLES).sort());
  expect(readConfig(parseEnv(text))).toEqual(readConfig({}));
});

test('each variable is in one section, with a text of whole sentences', () => {
  expect(Object.keys(VARIABLES)).toHaveLength(SECTIONS.flatMap(({ variables }) => Object.keys(variables)).length);
  for (const [name, variable] of Object.entries(VARIABLES)) {
    expect([name, variable.text]).toEqual([name, expect.stringMatching(/^\s*(?:[A-Z.]|\.\.\.).*[.*]$/s)]);
  }
});

test('the status page shows no variable that is a secret', () => {
  const secrets = Object.entries(VARIABLES).filter(([, { isSecret }]) => isSecret);
  expect(secrets.map(([name]) => name)).toEqual(['ACME_EAB', 'STICKY_SECRET', 'ADMIN_TOKEN']);
  const marked = Object.fromEntries(secrets.map(([name]) => [name, `confidential-${name}:confidential-${name}`]));
  const shown = JSON.stringify(shownConfig(readConfig({ ...marked, LOAD_BALANCING: 'sticky' })));
  expect(shown).toContain('set, not shown');
  expect(shown).not.toContain('confidential');
});
