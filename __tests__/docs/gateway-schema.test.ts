import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { Ajv2020 } from 'ajv/dist/2020.js';
import * as yaml from 'yaml';
import { parseDeclaration } from '../../lib/gateway/config/declaration/gateway-file.ts';
import { assertDeclaration } from '../../lib/routing/declaration.ts';
import { gatewaySchema } from '../../scripts/docs/gateway-schema.ts';
import { blocksOf } from './pages.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const schema = JSON.parse(read('gateway.schema.json'));
const validate = new Ajv2020({ strict: true, strictRequired: false, allowUnionTypes: true }).compile(schema);

const isGood = (declaration: unknown): boolean => {
  try {
    assertDeclaration(declaration);
    return true;
  } catch {
    return false;
  }
};

test('gateway.schema.json is what "npm run docs" writes, and in the package', () => {
  expect(read('gateway.schema.json')).toBe(gatewaySchema(root));
  const { files, exports } = JSON.parse(read('package.json'));
  expect(files).toContain('gateway.schema.json');
  expect(exports['./gateway.schema.json']).toBe('./gateway.schema.json');
});

test('it accepts the example file, with its references and with their values', () => {
  const text = read('example-gateway/gateway.yaml');
  const valid = validate(yaml.parse(text));
  expect(validate.errors).toBeNull();
  expect(valid).toBe(true);
  const declared = parseDeclaration(text, 'gateway.yaml', yaml, {});
  expect(validate(declared)).toBe(true);
  for (const example of schema.examples) expect([validate(example), isGood(example)]).toEqual([true, true]);
});

test('it accepts every declaration in docs/services.md', () => {
  const files = blocksOf('docs/services.md').filter(({ language }) => language === 'yaml');
  expect(files.length).toBeGreaterThanOrEqual(2);
  for (const { code } of files) {
    // In a file, variables say where limits are counted.
    const { limiter: _limiter, ...declared } = yaml.parse(code);
    validate(declared);
    expect(validate.errors).toBeNull();
  }
});

test('every option has a description, and no option is a function or an emitter', () => {
  const missing: string[] = [];
  const names = new Set<string>();
  const look = (one: Record<string, never>, path: string): void => {
    for (const [key, own] of Object.entries(one.properties ?? {}) as [string, Record<string, never>][]) {
      names.add(key);
      if (typeof own.description !== 'string') missing.push(`${path}.${key}`);
      look(own, `${path}.${key}`);
    }
    for (const form of [one.items, one.additionalProperties, ...((one.anyOf as never[] | undefined) ?? [])]) {
      if (typeof form === 'object') look(form, path);
    }
  };
  look(schema, '');
  // The members of objects that have no interface: their option describes them.
  expect(missing.filter((path) => !/\.(?:path|key|by)\.\w+$/.test(path))).toEqual([]);
  expect(names.size).toBeGreaterThan(120);
  for (const code of ['events', 'limiter', 'isFailure', 'isHealthy', 'resolver', 'change', 'onStateChange']) {
    expect([code, names.has(code)]).toEqual([code, false]);
  }
});

const users = { backends: ['http://localhost:1'] };
const inService = (options: object) => ({
  services: { users: { ...users, ...options } },
  routes: [{ service: 'users' }],
});
const inRoute = (options: object) => ({ services: { users }, routes: [{ service: 'users', ...options }] });
const withJwt = (jwt: object) => inRoute({ authentication: { jwt } });

// Rules about several options are the checks' alone: no schema can say all of them.
describe('schema and checks agree', () => {
  test.each([
    ['a route', inRoute({})],
    ['a path', inRoute({ path: '/a' })],
    ['an exact path', inRoute({ path: { exact: '/a' } })],
    ['conditions', inRoute({ hostnames: ['*.a.example'], methods: ['GET'], headers: { a: 'b' }, query: { c: 'd' } })],
    ['a limit', inRoute({ rateLimit: '5/1m' })],
    ['limits', inRoute({ rateLimit: ['5/1m', { limit: '5/1m', key: { header: 'x' }, plans: { a: '6/1m' } }] })],
    ['a redirect', { services: { users }, routes: [{ redirect: { scheme: 'https', status: 308 } }] }],
    ['a response', { services: { users }, routes: [{ respond: { status: 404, body: '' } }] }],
    ['weights', inRoute({ service: [{ name: 'users', weight: 1 }] })],
    ['addresses', inRoute({ allow: ['10.0.0.0/8'], deny: ['::1'] })],
    ['a circuit', inRoute({ circuit: { failureRatio: 0.5, minimumRequests: 3 } })],
    ['a retry', inRoute({ retry: { attempts: 0, statuses: [503] } })],
    ['headers', inRoute({ requestHeaders: { set: { a: 'b' }, remove: ['c'] }, response: { hideServer: true } })],
    ['a secret', withJwt({ secret: 'x'.repeat(32), audience: ['a'], claimHeaders: { 'x-user': 'sub' } })],
    ['a key set', withJwt({ jwksUrl: 'https://a.example/jwks', algorithms: ['RS256'], issuer: 'a' })],
    ['a file of keys', inRoute({ authentication: { apiKey: { keys: 'keys.json', header: 'x-key' } } })],
    ['a list of keys', inRoute({ authentication: { apiKey: { keys: [{ sha256: 'a'.repeat(64), consumer: 'c' }] } } })],
    [
      'forward authentication',
      inRoute({ authentication: { forwardAuth: { url: 'http://a', responseHeaders: ['x'] } } }),
    ],
    ['CORS', inRoute({ cors: { origin: ['https://a.example'], credentials: true } })],
    ['backends', inService({ backends: [{ url: 'http://a', weight: 0, keepAlive: false }, 'dns://a:80'] })],
    ['a policy', inService({ loadBalancing: 'least-requests' })],
    ['a policy with options', inService({ loadBalancing: { policy: 'hash', by: 'ip' } })],
    ['TLS', inService({ tls: { serverName: 'a', rejectUnauthorized: true } })],
    ['a name in Via', inService({ via: 'edge-1' })],
    ['none', inService({ via: false, respectRetryAfter: false, adaptiveConcurrency: false })],
    ['groups', inService({ respectRetryAfter: { statuses: [503] }, adaptiveConcurrency: { latencyTolerance: 2 } })],
    ['health checks', inService({ healthCheck: { path: '/healthz', intervalMs: 5 }, identityHeaders: ['x-corp-*'] })],
    ['a name server', inService({ dns: { servers: ['10.0.0.2'], family: 4 } })],
    ['shared parts', { ...inRoute({ rateLimit: 'a' }), rateLimits: { a: { limit: '1/1s' } }, mergeSlashes: false }],
  ])('that %s is good', (_, declaration) => {
    const valid = validate(declaration);
    expect([validate.errors ?? [], valid, isGood(declaration)]).toEqual([[], true, true]);
  });

  test.each([
    ['no services', { routes: [{ service: 'users' }] }],
    ['no routes', { services: { users } }],
    ['an empty list of routes', { services: { users }, routes: [] }],
    ['a name in upper case', { services: { Users: users }, routes: [{ respond: {} }] }],
    ['an unknown option', { ...inRoute({}), events: {} }],
    ['an unknown option of a route', inRoute({ rateLimt: '5/1m' })],
    ['an unknown option of a service', inService({ target: 'http://a' })],
    ['a path without a slash', inRoute({ path: 'a' })],
    ['two kinds of path', inRoute({ path: { exact: '/a', prefix: '/b' } })],
    ['a method in lower case', inRoute({ methods: ['get'] })],
    ['a number as a header', inRoute({ headers: { a: 1 } })],
    ['a limit without a limit', inRoute({ rateLimit: { key: 'consumer' } })],
    ['an unknown key of a limit', inRoute({ rateLimit: { limit: '5/1m', key: 'ip' } })],
    ['a status of a redirect', { services: { users }, routes: [{ redirect: { scheme: 'https', status: 200 } }] }],
    ['a status that is none', { services: { users }, routes: [{ respond: { status: 99 } }] }],
    ['a weight that is none', inRoute({ service: [{ name: 'users' }] })],
    ['a text in place of a number', inRoute({ maxInFlight: '5' })],
    ['a text in place of a boolean', inRoute({ stream: 'yes' })],
    ['a duration of 0', inRoute({ responseTimeoutMs: 0 })],
    ['a ratio over 1', inRoute({ circuit: { failureRatio: 1.5 } })],
    ['a status that no retry has', inRoute({ retry: { statuses: [404] } })],
    ['an unknown authenticator', inRoute({ authentication: { oauth: {} } })],
    ['a short secret', withJwt({ secret: 'short' })],
    ['an unknown algorithm', withJwt({ secret: 'x'.repeat(32), algorithms: ['none'] })],
    ['a key without a consumer', inRoute({ authentication: { apiKey: { keys: [{ sha256: 'a'.repeat(64) }] } } })],
    ['no URL', inRoute({ authentication: { forwardAuth: {} } })],
    ['another scheme', inRoute({ authentication: { forwardAuth: { url: 'ftp://a' } } })],
    ['no backends', inService({ backends: [] })],
    ['a backend without a URL', inService({ backends: [{ weight: 1 }] })],
    ['a heavy backend', inService({ backends: [{ url: 'http://a', weight: 1001 }] })],
    ['an unknown policy', inService({ loadBalancing: 'best' })],
    ['a policy without its option', inService({ loadBalancing: 'sticky' })],
    ['another option of a policy', inService({ loadBalancing: { policy: 'round-robin', by: 'ip' } })],
    ['an odd name in Via', inService({ via: 'a b' })],
    ['true where false or options stand', inService({ respectRetryAfter: true })],
    ['low tolerance', inService({ adaptiveConcurrency: { latencyTolerance: 0.5 } })],
    ['a health check without a slash', inService({ healthCheck: { path: 'healthz' } })],
    ['an odd header', inService({ identityHeaders: ['a b'] })],
    ['CORS without an origin', inRoute({ cors: {} })],
    ['a word for a choice', { ...inRoute({}), ambiguousPaths: 'allow' }],
  ])('that %s is bad', (_, declaration) => {
    expect([validate(declaration), isGood(declaration)]).toEqual([false, false]);
  });

  test('and references may stand for values of every form', () => {
    const text = `services: { users: { backends: [$A], maxRequests: $N, panic: $B, forwarded: $F } }\nroutes: [{ service: users, path: $P, rateLimit: $L }]`;
    const env = { A: 'http://a', N: '5', B: 'true', F: 'append', P: '/a', L: '1/1s' };
    expect(validate(yaml.parse(text))).toBe(true);
    expect(validate(parseDeclaration(text, 'gateway.yaml', yaml, env))).toBe(true);
  });
});
