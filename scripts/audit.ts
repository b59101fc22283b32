/**
 * Asks the registry for advisories on what the package depends on. Fails on severe ones that are not in
 * accepted-advisories.json, for which npm has no place, and when the registry does not answer.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { type Accepted, findings, judgeFindings } from './audit-findings.ts';

const accepted = JSON.parse(
  readFileSync(new URL('./accepted-advisories.json', import.meta.url), 'utf8'),
) as readonly Accepted[];

// Its exit code says only that there are findings.
const { stdout, stderr, error } = spawnSync('npm', ['audit', '--omit=dev', '--json'], { encoding: 'utf8' });
if (error !== undefined) throw error;
try {
  const found = findings(stdout);
  const { lines, isClean } = judgeFindings(found, accepted, new Date().toISOString().slice(0, 10));
  process.stdout.write(`${found.length} advisories found\n${lines.map((line) => `${line}\n`).join('')}`);
  if (!isClean) process.exitCode = 1;
} catch (problem) {
  process.stderr.write(`the registry sent no response that can be read: ${(problem as Error).message}\n${stderr}`);
  process.exitCode = 1;
}
