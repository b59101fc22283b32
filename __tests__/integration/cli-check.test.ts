import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { run } from '../../lib/cli/run.ts';

const EXAMPLE = fileURLToPath(new URL('../../example-gateway/gateway.yaml', import.meta.url));

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'expressway-check-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const check = (...args: string[]) => checkWith('', ...args);

async function checkWith(input: string, ...args: string[]) {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const texts = Promise.all([stdout, stderr].map(async (one) => (await one.toArray()).join('')));
  const code = await run(['check', ...args], { stdin: Readable.from([input]), stdout, stderr });
  stdout.end();
  stderr.end();
  const [out = '', err = ''] = await texts;
  return { code, out, err };
}

function written(text: string): string {
  const path = join(folder, 'gateway.yaml');
  writeFileSync(path, text);
  return path;
}

/** The lines of one block, without indentation, and with one space between columns. */
const lines = (out: string, block: number) =>
  (out.split('\n\n')[block] ?? '').split('\n').map((line) => line.trim().replace(/ {2,}/g, ' | '));

describe('expressway check', () => {
  test('checks the files that the declaration names', async () => {
    const keys = join(folder, 'keys.json');
    const text = `services: { a: { backends: [http://a] } }
routes: [{ service: a, authentication: { apiKey: { keys: ${keys} } } }]
`;
    expect(await check(written(text))).toMatchObject({ code: 1, err: expect.stringContaining('no such file') });
    writeFileSync(keys, '[{"sha256": 7}]');
    expect(await check(written(text))).toMatchObject({ code: 1, err: expect.stringContaining(`keys "${keys}"`) });
    writeFileSync(keys, '[]');
    expect(await check(written(text))).toMatchObject({ code: 0 });
  });

  test('prints the routes of the example in matching order', async () => {
    const { code, out, err } = await check(EXAMPLE);
    expect([code, err]).toEqual([0, '']);
    expect(out).toContain('gateway.yaml: 3 services, 6 routes.');
    const [headings, ...routes] = lines(out, 1).filter((line) => line !== '');
    expect(headings).toBe('route | hostnames | path | if | to | with');
    expect(routes.map((line) => line.split(' | ')[0])).toEqual([
      '=/status',
      '=/',
      '/events',
      'POST|PUT|PATCH|DELETE /users',
      '/users',
      '/shop',
    ]);
  });

  test('names every option of a route that the other columns do not show', async () => {
    const { out } = await check(
      written(`
services:
  users: { backends: [http://u] }
  next: { backends: [http://n] }
routes:
  - path: /users
    service: users
    rateLimit: 5/1s
    mirror: { service: next }
    sessionPersistence: { secret: 0123456789abcdef0123456789abcdef }
    responseTimeoutMs: 5000
    maxInFlight: 3
    requestHeaders: { remove: [cookie] }
    response: { rewriteUrls: true }
`),
    );
    const [, row] = lines(out, 1);
    expect(row?.split(' | ').at(-1)).toBe(
      '5/1s, mirror, sessionPersistence, responseTimeoutMs, maxInFlight, requestHeaders, response',
    );
  });

  test('shows no value of a condition whose name is that of a secret', async () => {
    const path = written(`
services: { users: { backends: [http://u] } }
routes: [{ path: /, headers: { x-origin-secret: hunter2, x-beta: on }, query: { api_key: hunter2 }, service: users }]
`);
    const { out } = await check(path);
    expect(lines(out, 1)[1]).toContain('x-origin-secret: ***, x-beta: on, ?api_key=***');
    expect(out + (await check(path, 'GET', '/')).out).not.toContain('hunter2');
  });

  test('prints all problems, each with its place, and exits with 1', async () => {
    const path = written('services: { users: { backends: [http://a], maxBodyByte: 5 } }\nroutes:\n  - service: user\n');
    expect(await check(path)).toEqual({
      code: 1,
      out: '',
      err:
        'gateway.yaml:1:44 services.users: unknown option "maxBodyByte": did you mean "maxBodyBytes"?\n' +
        'gateway.yaml:3:5 routes[0]: service must name one of services: there is no service "user": did you mean "users"?\n',
    });
    expect(await check(join(folder, 'none.yaml'))).toMatchObject({ code: 1, out: '' });
  });

  // The differences that a comparison with a running gateway found, with generated routes and requests.
  test.each([
    [['TRACE', '/users'], 1, 'rejected | 405 method_not_allowed: TRACE and CONNECT are never forwarded'],
    [['TRACE', '/fixed'], 0, 'response | response (200)'],
    [['CONNECT', '/users'], 1, 'rejected | 405 method_not_allowed: TRACE and CONNECT are never forwarded'],
    [['GET', 'http://*.example.com/users'], 1, 'rejected | 400 bad_request: The field Host is not valid.'],
    [['GET', '/users', '-H', 'Host: a,b'], 1, 'rejected | 400 bad_request: The field Host is not valid.'],
    [['GET', 'http://b\u00fccher.example/users'], 0, 'route | /users'],
    [['GET', 'http://inner.example/users'], 0, 'route | inner'],
    [['GET', '/users', '-H', 'Host: inner.example'], 0, 'route | inner'],
  ])('answers as the gateway does: %j', async (request, code, line) => {
    const path = written(`
services: { users: { backends: [http://u] } }
routes:
  - { path: /users, service: users }
  - { path: /users, name: inner, service: users, headers: { host: inner.example } }
  - { path: /fixed, respond: { status: 200 } }
`);
    const { code: got, out } = await check(path, ...request);
    expect(lines(out, 1)).toContain(line);
    expect(got).toBe(code);
  });

  const RICH = `
services:
  users: { backends: [http://u1, http://u2], changeOrigin: true, idleTimeoutMs: 5000 }
  canary: { backends: [http://c] }
rateLimits:
  gold: { limit: 10/1m, key: consumer, plans: { gold: 600/1m } }
authentication:
  main: { basic: { users: { ann: "$HASH" } } }
routes:
  - path: /api
    hostnames: "*.example.com"
    service: [{ name: users, weight: 9 }, { name: canary, weight: 1 }]
    headers: { x-beta: '1' }
    query: { v: '2' }
    allow: [10.0.0.0/8]
    authentication: main
    rateLimit: [gold, 5/1s, { limit: 7/1h, key: { header: x-tenant } }]
    rewrite: { prefix: / }
    requestHeaders: { set: { x-secret: $SECRET }, remove: [cookie] }
    requestTimeoutMs: 9000
    responseTimeoutMs: 700
    maxInFlight: 8
    cors: { origin: https://app.example }
  - path: /api
    service: users
`;

  test('shows what happens to a request, in order, and shows no secret', async () => {
    process.env.SECRET = 'hunter2';
    process.env.HASH = `scrypt$16384$8$1$${'A'.repeat(22)}$${'A'.repeat(43)}`;
    try {
      const path = written(RICH);
      const url = 'https://a.example.com/api/x?v=2';
      const { code, out } = await check(path, 'get', url, '-H', 'X-Beta: 1');
      expect([code, out.includes('hunter2'), out.includes('scrypt')]).toEqual([0, false, false]);
      expect(lines(out, 0)).toEqual([`GET ${url}`]);
      expect(lines(out, 1)).toEqual([
        'route | *.example.com/api',
        'limit | 100 in 60000 ms for each client address, all requests (RATE_LIMIT_*)',
        'allow | 10.0.0.0/8',
        'cors | preflight requests are answered',
        'limit | 5/1s for each client address',
        'authentication | basic (authentication.main)',
        'limit | 10/1m for each consumer, plan gold: 600/1m (rateLimits.gold)',
        'limit | 7/1h for each value of the header x-tenant',
        'in progress | at most 8',
        'service | users (by weight: users:9 canary:1): http://u1, http://u2',
        'host | that of the backend',
        'service | canary (by weight: users:9 canary:1): http://c',
        'host | a.example.com',
        'path | /x?v=2',
        'headers | x-forwarded-prefix: /api, -cookie, +x-secret',
        'timeouts | whole request 9000 ms, connect 2000 ms, response 700 ms, idle 5000 ms',
        'timeouts | whole request 9000 ms, connect 2000 ms, response 700 ms, idle 60000 ms',
      ]);
      expect(lines(out, 2).slice(0, 2)).toEqual(['other routes', '/api | fits, but is less specific']);
      const other = await check(path, 'GET', 'https://b.example.com/api?v=1');
      expect(lines(other.out, 2)[1]).toBe(
        '*.example.com/api | header x-beta is missing, not "1"; query parameter v is "1", not "2"',
      );
    } finally {
      delete process.env.SECRET;
      delete process.env.HASH;
    }
  });

  test.each([
    [['GET', '/nothing'], 1, 'no route | 404 no_route'],
    [['GET', '/'], 0, 'response | redirect (302)'],
    [['GET', '/status'], 0, 'response | response (200)'],
    [['GET', '/users/%5c'], 1, /^rejected \| 400 bad_request/],
    [['GET', '/events/x'], 0, 'timeouts | connect 2000 ms, no others (stream)'],
    [['GET', '//users//7'], 0, 'path | /users/7'],
  ] as const)('%j exits with %i', async (args, expected, line) => {
    const { code, out } = await check(EXAMPLE, ...args);
    expect(code).toBe(expected);
    expect(lines(out, 1)).toContainEqual(typeof line === 'string' ? line : expect.stringMatching(line));
  });

  const AS_CLIENTS_DO = `
services: { a: { backends: [http://a] }, b: { backends: [http://b] } }
routes:
  - { name: host, hostnames: a.example, service: a }
  - { name: unicode, path: /%C3%BC, service: a }
  - { name: list, path: /list, headers: { x-list: "1, 2" }, service: a }
  - { name: cookie, path: /list, headers: { cookie: "a=1; b=2" }, service: a }
  - { name: put, path: /put, methods: [PUT], service: a, deny: [10.0.0.0/8], rateLimit: 1/1m, cors: { origin: https://app.example } }
  - { name: key, path: /key, service: a, authentication: { apiKey: { keys: [], query: key } } }
  - { name: rest, service: b }
`;

  test.each([
    ['a Host header', ['GET', '/x', '-H', 'Host: A.example:8080'], 'route | host'],
    ['a Host header beside a URL', ['GET', 'http://b.example/x', '-H', 'Host: a.example'], 'route | host'],
    ['a URL with a password, which no client sends', ['GET', 'http://me:secret@a.example/x'], 'route | host'],
    ['a path that clients encode', ['GET', '/ü/a b'], 'path | /%C3%BC/a%20b (as it came)'],
    ['a repeated header', ['GET', '/list', '-H', 'x-list: 1', '-H', 'X-List: 2'], 'route | list'],
    ['a repeated cookie', ['GET', '/list', '-H', 'cookie: a=1', '-H', 'cookie: b=2'], 'route | cookie'],
    [
      'a preflight request',
      ['OPTIONS', '/put', '-H', 'Origin: https://app.example', '-H', 'Access-Control-Request-Method: PUT'],
      'cors | the gateway responds to this preflight request',
    ],
    ['an API key in the query, which is not forwarded', ['GET', '/key?a=1&key=s&b'], 'path | /key?a=1&b'],
  ])('%s is read as the gateway reads it', async (_what, args, line) => {
    const { code, out } = await check(written(AS_CLIENTS_DO), ...args);
    expect(code).toBe(0);
    expect(lines(out, 1)).toContain(line);
    expect(out).not.toContain('secret');
  });

  test('a preflight request passes no limit and reaches no service', async () => {
    const { out } = await check(
      written(AS_CLIENTS_DO),
      ...['OPTIONS', '/put', '-H', 'Origin: https://app.example', '-H', 'Access-Control-Request-Method: PUT'],
    );
    expect(lines(out, 1).map((line) => line.split(' | ')[0])).toEqual(['route', 'limit', 'deny', 'cors']);
  });

  test('reads standard input for -, for the output of templates', async () => {
    const text = 'services: { a: { backends: [http://a] } }\nroutes: [{ path: /, service: SERVICE }]\n';
    const good = await checkWith(text.replace('SERVICE', 'a'), '-');
    expect([good.code, good.err]).toEqual([0, '']);
    expect(good.out).toContain('standard input: 1 service, 1 route.');
    const bad = await checkWith(text, '-', 'GET', '/');
    expect([bad.code, bad.out]).toEqual([1, '']);
    expect(bad.err).toMatch(/^standard input:2:\d+ routes\[0\]: service must name one of services/);
  });

  test('names a problem of the text once', async () => {
    const { code, err } = await check(written('services:\n  users:\n    backends: [http://u:1\n  next:\n'));
    expect(code).toBe(1);
    const said = err.trimEnd().split('\n');
    expect(new Set(said).size).toBe(said.length);
  });

  test('schemes may be in capitals', async () => {
    const { code, out } = await check(EXAMPLE, 'GET', 'HTTP://api.example.com/shop');
    expect([code, lines(out, 0)]).toEqual([0, ['GET http://api.example.com/shop']]);
  });

  test('a method that Node does not know takes no route', async () => {
    const { code, out } = await check(EXAMPLE, 'foo', '/shop');
    expect([code, lines(out, 1)[0]]).toEqual([1, 'rejected | 501 not_implemented: Node does not know this method']);
  });

  test.each([
    [[], 'which file?'],
    [[EXAMPLE, 'GET'], 'give a file, or a file, a method and a URL'],
    [[EXAMPLE, 'GET', 'users'], '"users" must be a URL of http or https, or a path'],
    [[EXAMPLE, 'G T', '/'], '"G T" is not a method'],
    [[EXAMPLE, 'GET', '/', '-H', 'x'], '--header must be \'name: value\', got "x"'],
    [[EXAMPLE, '--heder', 'x'], 'there is no option --heder; did you mean --header?'],
  ])('%j are invalid arguments', async (args, problem) => {
    const { code, err } = await check(...args);
    expect(code).toBe(2);
    expect(err).toContain(problem);
  });
});
