import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { SystemSetUp } from '../harness/system-target.ts';

const SOURCE = fileURLToPath(new URL('./go/main.go', import.meta.url));
const BUILD_MS = 120_000;

/** `httputil.ReverseProxy` of Go's standard library, built before it is started: `go run` would be a process of its own. */
export const go: SystemSetUp = ({ folder, port, backends }) => {
  const binary = join(folder, 'reverse-proxy');
  // No module: it needs nothing but the standard library.
  const env = { ...process.env, GO111MODULE: 'off' };
  const built = spawnSync('go', ['build', '-o', binary, SOURCE], { encoding: 'utf8', env, timeout: BUILD_MS });
  if (built.status !== 0) throw new Error(`go build: ${built.error?.message ?? built.stderr.trim()}`);
  return { command: [binary, String(port), ...backends], env: { GOMAXPROCS: '1' } };
};
