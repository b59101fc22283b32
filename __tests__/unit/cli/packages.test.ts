import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from '@jest/globals';
import { GATEWAY_PACKAGES } from '../../../lib/cli/packages.ts';

const ROOT = new URL('../../../', import.meta.url);

/** In a process of its own: Jest resolves packages in a way that is not Node's. */
function require(names: readonly string[]): string {
  const module = new URL('lib/cli/packages.ts', ROOT).href;
  const script = `
    const { requirePackages } = await import(${JSON.stringify(module)});
    try { requirePackages(${JSON.stringify(names)}, 'start'); console.log('fine'); } catch ({ name, message }) { console.log(name, message); }`;
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    cwd: fileURLToPath(ROOT),
    encoding: 'utf8',
  });
  return stdout;
}

test('a missing package is named, with the command that installs it', () => {
  expect(require(GATEWAY_PACKAGES)).toBe('fine\n');
  const said = require([...GATEWAY_PACKAGES, 'expressway-has-no-such-package']);
  expect(said).toMatch(/^InputError a package is missing: expressway-has-no-such-package\n/);
  expect(said).toContain('  npm install expressway-has-no-such-package\n');
  expect(said).toContain(
    '  npx -p expressway -p express@5 -p pino@10 -p prom-client@15 -p expressway-has-no-such-package expressway start',
  );
});

test('the list has exactly the packages that the example gateway imports', () => {
  const packages = new Set<string>();
  const files = [new URL('lib/gateway/run-gateway.ts', ROOT).href];
  for (const file of files) {
    const text = readFileSync(new URL(file), 'utf8');
    for (const [, name = ''] of text.matchAll(/^(?:import|export) (?!type )[^;]*?from '([^']+)';/gms)) {
      const isOwn = new URL(name, file).href.startsWith(new URL('lib/gateway/', ROOT).href);
      if (!name.startsWith('.')) packages.add(name);
      else if (!isOwn) continue;
      else if (!files.includes(new URL(name, file).href)) files.push(new URL(name, file).href);
    }
  }
  expect(files.length).toBeGreaterThan(15);
  const others = [...packages].filter((name) => !name.startsWith('node:') && name !== 'expressway');
  expect(others.sort()).toEqual([...GATEWAY_PACKAGES].sort());
});
