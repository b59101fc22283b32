import { beforeAll, describe, expect, test } from '@jest/globals';
import { type Compared, compare, differs, onlyOurs } from '../differential/comparison.ts';
import { REFERENCES, type ReferenceName, versionOf } from '../differential/reference-proxy.ts';
import { compareResponses } from '../differential/responses.ts';
import { type Row, readTable, rowOf } from '../differential/table.ts';
import { expectWarnings } from '../support/warnings.ts';

expectWarnings('WARN_EXPRESSWAY_TRUST_PROXY');

const NAMES = Object.keys(REFERENCES) as ReferenceName[];
const missing = NAMES.filter((name) => versionOf(name) === undefined);
const others = NAMES.filter((name) => versionOf(name) !== readTable().versions[name as 'nginx' | 'HAProxy']);

/** Older ones do not read content behind `Upgrade`, which is one of the differences in the table. */
const isModern = Number.parseInt(process.versions.node, 10) >= 24;

if (!isModern) process.stderr.write('SKIPPED: docs/differential.md is of Node 24 and newer\n');
else if (missing.length > 0)
  process.stderr.write(`SKIPPED: no differential run without ${missing.join(' and ')} on the path\n`);
else if (others.length > 0)
  process.stderr.write(`SKIPPED: docs/differential.md is of another ${others.join(' and ')}\n`);

test('docs/differential.md gives one reason for each difference', () => {
  const { rows, responses } = readTable();
  expect(rows.length).toBeGreaterThan(10);
  const all = [...rows, ...responses];
  expect(all.filter(({ why }) => why === '')).toEqual([]);
  expect(new Set(all.map(({ id }) => id)).size).toBe(all.length);
});

(missing.length > 0 ? describe.skip : describe)('the same bytes to this gateway, nginx and HAProxy', () => {
  let compared: Compared[] = [];
  beforeAll(async () => {
    compared = await compare();
    const expected = new Map(
      readTable().rows.map(({ id, ours, nginx, haproxy }) => [id, [ours, nginx, haproxy].join()]),
    );
    const isKnown = (one: Compared): boolean => {
      const { id, ours, nginx, haproxy } = rowOf(one);
      if (differs(one)) return expected.get(id) === [ours, nginx, haproxy].join();
      return !expected.has(id) && ours !== 'waits';
    };
    // What is not as it should be gets another chance, and time: each of the three may have been too late for the first.
    const odd = new Set(compared.filter((one) => !isKnown(one)).map(({ id }) => id));
    const again = odd.size === 0 ? [] : await compare((id) => odd.has(id), 1_000);
    compared = compared.map((one) => again.find(({ id }) => id === one.id) ?? one);
  });

  test('no request is forwarded that both nginx and HAProxy refuse', () => {
    expect(compared.length).toBeGreaterThan(80);
    // Else their silence would prove nothing.
    expect(compared.find(({ id }) => id === 'plain GET')).toMatchObject({
      ours: { text: 'GET /a?b=c' },
      nginx: { text: 'GET /a?b=c' },
      haproxy: { text: 'GET /a?b=c' },
    });
    expect(compared.flatMap((one) => onlyOurs(one).map((request) => `${one.id}: ${request}`))).toEqual([]);
  });

  (others.length > 0 || !isModern ? test.skip : test)('differ exactly where docs/differential.md says so', () => {
    const seen = compared.filter(differs).map((one) => rowOf(one));
    expect(readTable().rows.map((row) => ({ ...row, why: '' }))).toEqual(seen);
  });

  test('give clients the odd responses that docs/differential.md lists', async () => {
    // How many responses the two others lose to a reset is another number in each run.
    const ours = (all: readonly Row[]) => all.map(({ id, ours }) => [id, ours]);
    expect(ours(await compareResponses())).toEqual(ours(readTable().responses));
  });
});
