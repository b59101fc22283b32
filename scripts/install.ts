/**
 * Installs the packages of a folder with a `package.json` of its own, unless it has installed what the lock file wants:
 * `node scripts/install.ts FOLDER`. Tests, checks and benchmarks do that by themselves, before they need them.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../', import.meta.url));

/** @returns Why the packages of a folder of the repository cannot be used, if so. */
export function install(name: string): string | undefined {
  const folder = resolve(ROOT, name);
  const wanted = join(folder, 'package-lock.json');
  // npm has such a file as well, but `npm install --package-lock-only` writes it without installing anything.
  const installed = join(folder, 'node_modules/.installed-lock.json');
  if (existsSync(installed) && readFileSync(installed).equals(readFileSync(wanted))) return undefined;
  process.stderr.write(`installing what ${name}/package.json lists: npm ci in ${name}\n`);
  const { status, error } = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (status === 0) {
    copyFileSync(wanted, installed);
    return undefined;
  }
  const how = error === undefined ? `exit code ${status}` : error.message;
  return `npm ci in ${name} failed (${how}). It needs the npm registry, or all packages in npm's cache`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [name] = process.argv.slice(2);
  if (name === undefined) throw new Error('usage: node scripts/install.ts FOLDER');
  const why = install(name);
  if (why !== undefined) {
    process.stderr.write(`${why}\n`);
    process.exitCode = 1;
  }
}
