import { expect, test } from '@jest/globals';
import { applications } from '../../../lib/cli/doctor/applications.ts';
import { readConfig } from '../../../lib/gateway/config/config.ts';

/** In the way of no application. */
const SUITS_ALL = {
  BACKENDS: 'http://a:1,http://b:1',
  RESPONSE_TIMEOUT_MS: '25001',
  AMBIGUOUS_PATHS: 'pass',
  MERGE_SLASHES: 'off',
  LOAD_BALANCING: 'hash',
  MAX_BODY_BYTES: '0',
  MAX_TARGET_BYTES: '0',
};
const SECRET = { STICKY_SECRET: 'x'.repeat(32) };

/** The variable that each note begins with, and what it says. */
async function notes(env: Readonly<Record<string, string>>) {
  const findings = await applications.run({ config: readConfig(env), sample: undefined });
  expect(findings.filter(({ level, fix }) => level !== 'note' || fix === undefined)).toEqual([]);
  return findings.map(({ what }) => what);
}

test('with the defaults, doctor tells which applications need another setting', async () => {
  expect((await notes({})).map((what) => what.replace(/:.*/, ''))).toEqual([
    'LOAD_BALANCING=round-robin with several backends',
    'MAX_BODY_BYTES=10485760',
    'AMBIGUOUS_PATHS=reject',
    'MERGE_SLASHES=on',
    'MAX_TARGET_BYTES=8192',
  ]);
});

test.each([
  [{ RESPONSE_TIMEOUT_MS: '25000' }, ['RESPONSE_TIMEOUT_MS=25000: polls of socket.io']],
  [{ AMBIGUOUS_PATHS: 'strict' }, ['AMBIGUOUS_PATHS=strict: npm', 'AMBIGUOUS_PATHS=strict: S3']],
  [{ AMBIGUOUS_PATHS: 'reject' }, ['AMBIGUOUS_PATHS=reject: S3']],
  [{ MERGE_SLASHES: 'on' }, ['MERGE_SLASHES=on: S3']],
  [{ LOAD_BALANCING: 'latency' }, ['LOAD_BALANCING=latency with several backends: polling of socket.io']],
  [{ LOAD_BALANCING: 'latency', BACKENDS: 'http://a:1' }, []],
  [{ LOAD_BALANCING: 'latency', BACKENDS: 'dns://a:1' }, ['LOAD_BALANCING=latency with several backends']],
  [{ LOAD_BALANCING: 'weighted', BACKENDS: 'srv://a' }, ['LOAD_BALANCING=weighted with several backends']],
  [{ LOAD_BALANCING: 'sticky', ...SECRET }, []],
  [{ HASH_LOAD_FACTOR: '1.25' }, ['HASH_LOAD_FACTOR=1.25: a client']],
  [{ HASH_BY: 'cookie:user' }, []],
  [{ MAX_BODY_BYTES: '1073741823' }, ['MAX_BODY_BYTES=1073741823: larger uploads']],
  [{ MAX_BODY_BYTES: '1073741824' }, []],
  [{ MAX_TARGET_BYTES: '8192' }, ['MAX_TARGET_BYTES=8192: longer paths']],
  [{ MAX_TARGET_BYTES: '15000' }, []],
])('of %j doctor notes what matters, and nothing else', async (env, expected) => {
  const said = await notes({ ...SUITS_ALL, ...(env as Record<string, string>) });
  expect(said).toEqual(
    expected.map((beginning) => expect.stringMatching(new RegExp(`^${beginning.replace(/[.]/g, '\\.')}`))),
  );
});

/** Notes beside a file of services and routes. */
async function notesOn(declaration: object, env: Readonly<Record<string, string>> = { MAX_BODY_BYTES: '0' }) {
  const config = readConfig({ GATEWAY_CONFIG: 'gateway.yaml', MAX_TARGET_BYTES: '0', ...env });
  const findings = await applications.run({ config: { ...config, declaration } as never, sample: undefined });
  return findings.map(({ what, fix }) => `${what}. ${fix}`);
}

const SUITS_PATHS = { ambiguousPaths: 'pass', mergeSlashes: false };
const TWO = { backends: ['http://a:1', 'http://b:1'] };

test('beside GATEWAY_CONFIG, doctor names the options of the file, and no variables that do not apply', async () => {
  const said = await notesOn({ services: { users: TWO }, routes: [{ service: 'users' }] });
  expect(said).toEqual([
    expect.stringMatching(/^service users, loadBalancing: round-robin with several backends.*set loadBalancing: hash/),
    expect.stringMatching(/^ambiguousPaths: reject: S3.*set ambiguousPaths: pass/),
    expect.stringMatching(/^mergeSlashes: true: S3.*set mergeSlashes: false/),
  ]);
  expect(said.join()).not.toMatch(/[A-Z]+_[A-Z]+/);
});

test.each([
  [{}, '10485760'],
  [{ MAX_BODY_BYTES: '5000' }, '5000'],
] as const)('with %j, doctor notes the bound of bodies that a service gets from it', async (env, bytes) => {
  const services = { users: { backends: ['http://a:1'] }, shop: { backends: ['http://b:1'], maxBodyBytes: 0 } };
  const said = await notesOn({ services, routes: [{ service: 'users' }], ...SUITS_PATHS }, env);
  expect(said).toEqual([expect.stringContaining(`service users, maxBodyBytes: ${bytes}: larger uploads`)]);
});

test('a finding of several services is listed once', async () => {
  const one = { backends: ['http://a:1'], maxBodyBytes: 1_000 };
  const routes = [{ service: 'users' }, { path: '/shop', service: 'shop' }];
  const said = await notesOn({ services: { users: one, shop: one }, routes, ...SUITS_PATHS });
  expect(said).toEqual([expect.stringMatching(/^services users, shop, maxBodyBytes: 1000: larger uploads/)]);
});

test.each([
  ['the service', { responseTimeoutMs: 9_000 }, {}, 9_000],
  ['a route', {}, { responseTimeoutMs: 8_000 }, 8_000],
  ['a route in place of the service', { responseTimeoutMs: 9_000 }, { responseTimeoutMs: 30_000 }, undefined],
  ['a stream', { responseTimeoutMs: 9_000 }, { stream: true }, undefined],
])('the timeout that counts is the one of %s', async (_, service, route, ms) => {
  const said = await notesOn({
    services: { users: { backends: ['http://a:1'], ...service } },
    routes: [{ service: 'users', ...route }],
    ...SUITS_PATHS,
  });
  expect(said).toEqual(
    ms === undefined ? [] : [expect.stringContaining(`service users, responseTimeoutMs: ${ms}: polls`)],
  );
});
