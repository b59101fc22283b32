import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';

const root = join(import.meta.dirname, '../..');

/** Loads a module in a new process, and gives the names of the modules of Node, and of the packages, that came with it. */
async function loadedWith(module: string): Promise<{ builtIn: string[]; packages: string[] }> {
  const program = `
    import { registerHooks } from 'node:module';
    const packages = new Set();
    // A hook for load() would itself load the undici in Node 22.
    registerHooks({ resolve: (specifier, context, next) => {
      const found = next(specifier, context);
      packages.add(/.*\\/node_modules\\/((?:@[^/]+\\/)?[^/]+)/.exec(found.url)?.[1]);
      return found;
    }});
    await import('${module}');
    console.log(JSON.stringify({ builtIn: process.moduleLoadList, packages: [...packages] }));`;
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--conditions=expressway-source', '--input-type=module', '--eval', program],
    { cwd: root },
  );
  return JSON.parse(stdout);
}

test.each(['expressway', 'expressway/gateway'])(
  '%s loads neither the undici in Node, nor what few need',
  async (name) => {
    const { builtIn, packages } = await loadedWith(name);
    expect(builtIn).toContain('NativeModule http');
    // An ES module that imports `node:http` loads it: see lib/core/node-http.ts.
    expect(builtIn).not.toContain('NativeModule internal/deps/undici/undici');
    expect(packages).toContain('undici');
    for (const rare of ['http-proxy-middleware', 'express-rate-limit', 'redis', 'jose', 'yaml', 'cors'])
      expect(packages).not.toContain(rare);
  },
);

test('the guard above can see it: an ES module that imports node:http loads the undici in Node', async () => {
  expect((await loadedWith('node:http')).builtIn).toContain('NativeModule internal/deps/undici/undici');
});
