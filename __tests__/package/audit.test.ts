import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { type Accepted, findings, judgeFindings } from '../../scripts/audit-findings.ts';

const SCRIPT = fileURLToPath(new URL('../../scripts/audit.ts', import.meta.url));
const LIST = new URL('../../scripts/accepted-advisories.json', import.meta.url);
const ACCEPTED = JSON.parse(readFileSync(LIST, 'utf8')) as Accepted[];
const LOCK = JSON.parse(readFileSync(new URL('../../package-lock.json', import.meta.url), 'utf8'));

const advisory = (name: string, id: string, severity: string) => ({
  name,
  severity,
  title: `a fault of ${name}`,
  url: `https://github.com/advisories/${id}`,
});

const report = (...advisories: ReturnType<typeof advisory>[]): string =>
  JSON.stringify({
    auditReportVersion: 2,
    vulnerabilities: Object.fromEntries([
      ...advisories.map((one) => [one.name, { name: one.name, severity: one.severity, via: [one] }]),
      ['parent', { name: 'parent', severity: 'high', via: advisories.map(({ name }) => name) }],
    ]),
  });

describe('advisories', () => {
  const known: Accepted = { id: 'GHSA-1', package: 'a', until: '2027-01-31', reason: 'not called' };

  test('are listed once each, not for each package that they affect', () => {
    expect(findings(report(advisory('a', 'GHSA-1', 'high'), advisory('b', 'GHSA-2', 'low')))).toEqual([
      { id: 'GHSA-1', package: 'a', severity: 'high', title: 'a fault of a' },
      { id: 'GHSA-2', package: 'b', severity: 'low', title: 'a fault of b' },
    ]);
  });

  test.each([
    ['severe and unknown', 'GHSA-9', 'a', 'high', '2027-01-01', false],
    ['critical and unknown', 'GHSA-9', 'a', 'critical', '2027-01-01', false],
    ['known', 'GHSA-1', 'a', 'high', '2027-01-31', true],
    ['known for too long', 'GHSA-1', 'a', 'high', '2027-02-01', false],
    ['known of another package', 'GHSA-1', 'b', 'high', '2027-01-01', false],
    ['moderate', 'GHSA-9', 'a', 'moderate', '2027-01-01', true],
  ])('that are %s', (_what, id, name, severity, today, isClean) => {
    expect(judgeFindings(findings(report(advisory(name, id, severity))), [known], today).isClean).toBe(isClean);
  });

  test('that are gone must be removed from the list', () => {
    expect(judgeFindings([], [known], '2027-01-01')).toEqual({
      isClean: true,
      lines: ['note: a GHSA-1 is accepted, and was not found: remove it from the list'],
    });
  });

  test('that are accepted have an installed package, a reason and an end date', () => {
    for (const { id, package: name, until, reason } of ACCEPTED) {
      expect(id).toMatch(/^GHSA(-[0-9a-z]{4}){3}$/);
      expect(LOCK.packages[`node_modules/${name}`]).toBeDefined();
      expect(new Date(until).toISOString().slice(0, 10)).toBe(until);
      expect(reason.length).toBeGreaterThan(40);
    }
  });
});

describe('npm run audit', () => {
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'expressway-audit-'));
  });

  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  function audit(answer: string) {
    writeFileSync(join(folder, 'answer'), answer);
    writeFileSync(join(folder, 'npm'), `#!/bin/sh\ncat "${folder}/answer"\nexit 1\n`);
    chmodSync(join(folder, 'npm'), 0o755);
    const env = { ...process.env, PATH: `${folder}${delimiter}${process.env.PATH}` };
    return spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', SCRIPT], { encoding: 'utf8', env });
  }

  test('passes with accepted advisories, and prints the reasons', () => {
    const [first] = ACCEPTED as [Accepted];
    const { status, stdout } = audit(report(advisory(first.package, first.id, 'high')));
    expect(stdout).toContain(`1 advisories found\npasses: ${first.package} ${first.id} (high)`);
    expect(stdout).toContain(first.reason);
    expect(status).toBe(0);
  });

  test('fails on other advisories', () => {
    const { status, stdout } = audit(report(advisory('undici', 'GHSA-9', 'high')));
    expect(stdout).toContain('refused: undici GHSA-9 (high) a fault of undici\n');
    expect(status).toBe(1);
  });

  test.each(['{"message":"audit endpoint returned an error"}', ''])('fails without a valid response: %j', (answer) => {
    const { status, stderr } = audit(answer);
    expect(stderr).toMatch(/^the registry sent no response that can be read: /);
    expect(status).toBe(1);
  });
});
