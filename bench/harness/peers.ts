import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const FOLDER = new URL('../', import.meta.url);

/** The packages of `bench/package.json`. `npm ci` of the repository leaves them out; the first target that needs one installs them. */
class Peers {
  #isTried = false;
  #why: string | undefined;

  /** Why they cannot be used, if so. */
  missing(): string | undefined {
    if (!this.#isTried) {
      this.#isTried = true;
      if (!isInstalled()) this.#why = install();
    }
    return this.#why;
  }
}

export const peers = new Peers();

function isInstalled(): boolean {
  const wanted = memberOf<Record<string, string>>('package.json', 'devDependencies');
  return Object.entries(wanted).every(([name, version]) => {
    try {
      return memberOf(`node_modules/${name}/package.json`, 'version') === version;
    } catch {
      return false;
    }
  });
}

function memberOf<T>(file: string, member: string): T {
  return JSON.parse(readFileSync(new URL(file, FOLDER), 'utf8'))[member];
}

function install(): string | undefined {
  process.stderr.write('installing what bench/package.json lists: npm ci in bench\n');
  const { status, error } = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: fileURLToPath(FOLDER),
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (status === 0) return undefined;
  const how = error === undefined ? `exit code ${status}` : error.message;
  return `npm ci in bench failed (${how}). It needs the npm registry, or npm's cache (npm ci --offline)`;
}
