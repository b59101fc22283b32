import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { cycles, type Import, importsBelow } from '../support/import-graph.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const imports = importsBelow(root, 'lib', 'example-gateway');

/** Which parts each part may import, beside itself: a part that is not listed here may not exist. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  core: [],
  auth: ['core'],
  ingress: ['core'],
  'rate-limit': ['core'],
  'circuit-breaker': ['core'],
  observability: ['core'],
  testing: ['core'],
  backends: ['core', 'circuit-breaker'],
  proxy: ['core', 'ingress', 'circuit-breaker', 'backends'],
  routing: ['core', 'auth', 'ingress', 'rate-limit', 'circuit-breaker', 'proxy'],
  lifecycle: ['core', 'ingress'],
  index: [
    'core',
    'auth',
    'ingress',
    'rate-limit',
    'circuit-breaker',
    'observability',
    'backends',
    'proxy',
    'routing',
    'lifecycle',
  ],
  gateway: ['core', 'rate-limit', 'backends', 'lifecycle', 'index'],
  cli: ['core', 'auth', 'ingress', 'rate-limit', 'backends', 'proxy', 'routing', 'index', 'gateway'],
  // It uses the public API of the package only, by its name.
  'example-gateway': [],
};

/** Packages that one part alone may import. A spare worker of the gateway loads `redis` ahead of time as well. */
const IMPORTER: Readonly<Record<string, string>> = {
  jose: 'auth',
  'acme-client': 'gateway',
  undici: 'proxy',
  'http-proxy-middleware': 'proxy',
  httpxy: 'proxy',
  cockatiel: 'circuit-breaker',
  'express-rate-limit': 'rate-limit',
  'rate-limit-redis': 'rate-limit',
  redis: 'rate-limit',
  ioredis: 'rate-limit',
  yaml: 'gateway',
};

/** `lib/proxy/a.ts` is of `proxy`, `lib/index.ts` of `index`. Nothing for a package. */
function partOf(path: string): string | undefined {
  const [folder, ...rest] = path.split('/');
  if (folder === 'example-gateway') return folder;
  if (folder !== 'lib') return undefined;
  return rest.length > 1 ? rest[0] : rest[0]?.replace(/\.ts$/, '');
}

/** Gives what is wrong with an import. */
function problemOf({ from, to }: Import): string | undefined {
  const [part = '', other] = [partOf(from), partOf(to)];
  const allowed = MAY_IMPORT[part];
  if (allowed === undefined) return `${from}: nobody has said what ${part} may import`;
  if (other !== undefined) {
    return other === part || allowed.includes(other)
      ? undefined
      : `${from} imports ${to}: ${part} may not need ${other}`;
  }
  const name = to.startsWith('@') ? to.split('/').slice(0, 2).join('/') : (to.split('/')[0] as string);
  if (name === 'expressway') return part === 'example-gateway' ? undefined : `${from} imports its own package by name`;
  const importer = IMPORTER[name];
  const isAhead = name === 'redis' && from === 'lib/gateway/cluster/worker.ts';
  return importer === undefined || importer === part || isAhead
    ? undefined
    : `${from} imports ${to}: that is for ${importer}`;
}

describe('layers', () => {
  test('imports go in the directions of the design, and each library has one importer', () => {
    expect(imports.length).toBeGreaterThan(500);
    expect(imports.flatMap((one) => problemOf(one) ?? [])).toEqual([]);
    // A list that grew too long would allow what nobody needs.
    const used = new Set(imports.map(({ from, to }) => `${partOf(from)} ${partOf(to)}`));
    const unused = Object.entries(MAY_IMPORT).flatMap(([part, others]) =>
      others.filter((other) => !used.has(`${part} ${other}`)).map((other) => `${part} ${other}`),
    );
    expect(unused).toEqual([]);
  });

  test('no imports form a cycle, not even type imports', () => {
    expect(cycles(imports)).toEqual([]);
  });

  test.each([
    ['lib/core/a.ts', 'lib/ingress/b.ts'],
    ['lib/observability/status/a.ts', 'lib/proxy/b.ts'],
    ['lib/proxy/a.ts', 'lib/cli/b.ts'],
    ['lib/proxy/a.ts', 'lib/index.ts'],
    ['lib/backends/a.ts', 'lib/cli/doctor/b.ts'],
    ['lib/rate-limit/a.ts', 'lib/testing/b.ts'],
    ['lib/rate-limit/redis/a.ts', 'undici'],
    ['lib/proxy/a.ts', 'redis'],
    ['lib/cli/a.ts', 'http-proxy-middleware/dist/x.js'],
    ['lib/proxy/a.ts', 'lib/gateway/standard-app.ts'],
    ['lib/proxy/a.ts', 'expressway'],
    ['lib/new/a.ts', 'lib/core/b.ts'],
    ['example-gateway/a.ts', 'lib/index.ts'],
    ['example-gateway/admin/a.ts', 'lib/core/b.ts'],
    ['example-gateway/a.ts', 'undici'],
  ])('%s may not import %s', (from, to) => {
    expect(problemOf({ from, to, isType: true })).toEqual(expect.any(String));
  });

  test('the test detects cycles of two and more files, and no others', () => {
    const graph = (...edges: string[]): Import[] =>
      edges.map((edge) => ({ from: edge[0] as string, to: edge[1] as string, isType: true }));
    expect(cycles(graph('ab', 'bc', 'ac', 'dc'))).toEqual([]);
    expect(cycles(graph('ab', 'ba', 'bc', 'cd', 'de', 'ec', 'ff'))).toEqual([['c', 'd', 'e'], ['a', 'b'], ['f']]);
  });

  test('no two files of lib share a name, save for index.ts', () => {
    const names = readdirSync(join(root, 'lib'), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts'))
      .map((path) => basename(path));
    const twice = names.filter((name, index) => names.indexOf(name) !== index && name !== 'index.ts');
    expect(twice).toEqual([]);
  });

  test('lib/testing imports only Node and lib/core, and nothing in lib imports it', () => {
    const needed = imports.filter(({ from }) => partOf(from) === 'testing').map(({ to }) => to);
    expect(needed).toContain('lib/core/options.ts');
    expect(needed.filter((name) => !/^(?:node:|lib\/core\/|lib\/testing\/)/.test(name))).toEqual([]);
  });

  test('only the hosted gateway loads optional peers', () => {
    const { peerDependenciesMeta } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    const optional = Object.keys(peerDependenciesMeta);
    expect(optional).toContain('redis');
    const loaded = imports.filter(
      ({ from, isType, isDynamic }) =>
        from.startsWith('lib/') && !from.startsWith('lib/gateway/') && !isType && !isDynamic,
    );
    expect(loaded.map(({ to }) => to)).toContain('cockatiel');
    expect(loaded.filter(({ to }) => optional.includes(to))).toEqual([]);
  });
});
