import { spawnSync } from 'node:child_process';

const QUESTIONS = {
  nginx: ['nginx', '-v'],
  haproxy: ['haproxy', '-v'],
  caddy: ['caddy', 'version'],
  go: ['go', 'version'],
  wrk: ['wrk', '-v'],
} as const satisfies Record<string, readonly [string, string]>;

export type BinaryName = keyof typeof QUESTIONS;

/** The version of a program of the system; `undefined` where it is not on the path. */
export function binaryVersion(name: BinaryName): string | undefined {
  const [file, question] = QUESTIONS[name];
  const { error, stdout, stderr } = spawnSync(file, [question], { encoding: 'utf8', timeout: 5_000 });
  if (error !== undefined) return undefined;
  return /\d+\.\d+(\.\d+)?/.exec(stdout + stderr)?.[0] ?? 'unknown';
}

export function binaryVersions(): Record<string, string> {
  const names = Object.keys(QUESTIONS) as BinaryName[];
  return Object.fromEntries(names.map((name) => [name, binaryVersion(name) ?? 'not installed']));
}
