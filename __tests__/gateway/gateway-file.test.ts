import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import * as yaml from 'yaml';
import { ConfigError, readConfig, VARIABLES } from '../../lib/gateway/config/config.ts';
import { GatewayFile, GatewayFileError, parseDeclaration } from '../../lib/gateway/config/declaration/gateway-file.ts';
import { middlewareOptions } from '../../lib/gateway/hosted-app.ts';
import {
  backendCircuitDefaults,
  dnsDefaults,
  GatewayEvents,
  healthCheckDefaults,
  type RoundRobinProxyOptions,
  retryDefaults,
  roundRobinProxyDefaults,
} from '../../lib/index.ts';
import { stays } from '../support/pause.ts';
import { until } from './until.ts';

// biome-ignore-start lint/suspicious/noTemplateCurlyInString: these are references of the file.

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'expressway-gateway-file-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const read = (text: string, env = {}, name = 'gateway.yaml') => parseDeclaration(text, name, yaml, env);

function problems(text: string, env = {}, name?: string): readonly string[] {
  try {
    read(text, env, name);
  } catch (error) {
    if (error instanceof GatewayFileError) return error.problems;
    throw error;
  }
  return [];
}

const GOOD = `services:
  users: { backends: [http://localhost:3001] }
routes:
  - { path: /users, service: users }
`;

/** A route to `users` that responds with a body. */
const withBody = (body: string) => `${GOOD}  - path: /hello\n    respond: { status: 200 }\n    name: ${body}\n`;
const bodyOf = (body: string, env = {}) => read(withBody(body), env).routes[1]?.name;

/** A declaration with every part that is checked beyond its own value. */
const WITH_ALL_PARTS = {
  services: { users: { backends: [{ url: 'http://localhost:3001', weight: 2 }] } },
  authentication: {
    partners: { apiKey: { keys: [{ sha256: 'a'.repeat(64), consumer: 'acme' }] } },
    login: { jwt: { secret: 's'.repeat(32) } },
  },
  rateLimits: {
    each: { limit: '5/1m', key: 'consumer', plans: { gold: '9/1m' } },
    claim: { limit: '5/1m', key: { claim: 'sub' } },
  },
  errors: { pages: {} },
  routes: [
    {
      path: { prefix: '/users' },
      service: 'users',
      authentication: 'partners',
      rateLimit: ['each', { limit: '1/1s' }],
    },
    { path: '/a', service: [{ name: 'users', weight: 1 }], mirror: { service: 'users' }, cors: { origin: '*' } },
    { path: '/b', service: 'users', authentication: { jwt: { secret: 's'.repeat(32) } }, rateLimit: 'claim' },
    { path: '/c', methods: ['GET'], hostnames: ['a.example'], headers: { 'x-a': 'b' }, respond: { status: 200 } },
    { path: '/d', redirect: { prefix: '/e' } },
  ],
};

/** The paths of all values in a value. */
const pathsOf = (value: unknown): (readonly string[])[] =>
  typeof value !== 'object' || value === null
    ? []
    : Object.entries(value).flatMap(([key, one]) => [[key], ...pathsOf(one).map((path) => [key, ...path])]);

function replaced(value: object, path: readonly string[], by: unknown): object {
  const copy = structuredClone(value);
  const parent = path.slice(0, -1).reduce((one, key) => (one as Record<string, object>)[key] as object, copy);
  (parent as Record<string, unknown>)[path.at(-1) as string] = by;
  return copy;
}

describe('a file of services and routes', () => {
  test('is the declaration of serviceRouter(), in YAML and in JSON', () => {
    const declared = read(GOOD);
    expect(declared).toEqual({
      ambiguousPaths: 'reject',
      mergeSlashes: true,
      services: { users: { backends: ['http://localhost:3001'] } },
      routes: [{ path: '/users', service: 'users' }],
    });
    expect(read(JSON.stringify(declared), {}, 'gateway.json')).toEqual(declared);
    const loose = `{
      "services": { "users": { "backends": ["http://localhost:3001",] } },
      # a comment
      "routes": [{ "path": "/users", "service": "users" },],
    }`;
    expect(read(loose, {}, 'gateway.json')).toEqual(declared);
  });

  test('may use anchors', () => {
    const text = `services:\n  a: &own { backends: [http://a] }\n  b: *own\nroutes: [{ service: a }]\n`;
    expect(read(text).services).toEqual({ a: { backends: ['http://a'] }, b: { backends: ['http://a'] } });
  });

  // Each is one kind of problem, with the place that a reader looks for.
  test.each([
    [
      'an unknown option',
      'routes:\n  - path: /a\n    service: users\n    rateLimt: 1/1m',
      '4:5 routes[0]: unknown option "rateLimt": did you mean "rateLimit"?',
    ],
    ['a bad value', 'routes:\n  - path: a\n    service: users', '2:5 routes[0]: path must begin with a slash, got "a"'],
    [
      'a bad item',
      'routes:\n  - methods: [GET, post]\n    service: users',
      '2:20 routes[0].methods: method 2 must be in upper case, got "post"',
    ],
    [
      'a missing option',
      'routes:\n  - path: /a',
      '2:5 routes[0]: must have exactly one of service, redirect and respond, got none',
    ],
    [
      'a name that does not exist',
      'routes:\n  - service: user',
      '2:5 routes[0]: service must name one of services: there is no service "user": did you mean "users"?',
    ],
    [
      'two routes alike',
      'routes:\n  - service: users\n  - service: users\n    name: b',
      '3:5 routes[1]: takes no request, because route 1 has the same conditions',
    ],
    [
      'a repeated key',
      'routes:\n  - service: users\n    service: users',
      '3:5 routes[0]: "service" is repeated: it is also in line 2',
    ],
    [
      'a variable that is not set',
      'routes:\n  - service: $WHERE',
      '2:14 routes[0].service: the variable WHERE is not set, and has no default (${WHERE:-default})',
    ],
    [
      'a lone dollar sign',
      'routes:\n  - service: users\n    requestHeaders: { set: { x-price: 5$ } }',
      '3:39 routes[0].requestHeaders.set.x-price: a dollar sign begins no $VAR, ${VAR:-default} or ${file:path}: write $$ for the sign itself',
    ],
    [
      'a missing file',
      'routes:\n  - service: "${file:/no/such}"',
      '2:14 routes[0].service: the file /no/such cannot be read: no such file',
    ],
    ['what only code can have', 'routes:\n  - service: users\nevents: {}', '3:1 unknown option "events"'],
    [
      'a bracket that is not closed',
      'routes: [{ service: users }',
      '2:1 the indentation does not fit (items of one list or mapping begin in the same column), or a bracket is not closed',
    ],
    ['bad indentation', 'routes:\n  - service: users\n    path: /a\n   name: b', '4:1 something is missing here'],
    ['a tab', 'routes:\n\t- service: users', '2:1 tabs cannot indent: use spaces'],
    [
      'an alias without an anchor',
      'routes:\n  - service: *users',
      '2:14 routes[0].service: an alias (*) must stand for an anchor (&) before it',
    ],
    [
      'a merge key',
      'routes:\n  - &a { service: users }\n  - { <<: *a, path: /a }',
      '3:7 routes[1]: merge keys (<<) are not part of YAML 1.2: repeat the options here',
    ],
    ['a tag', 'routes:\n  - service: !js users', '2:14 tags (!) other than those of YAML 1.2 cannot be used'],
    [
      'a second document',
      'routes:\n  - service: users\n---\na: 1',
      '3:1 there must be one document only (--- begins another one)',
    ],
  ])('%s is a problem with its place', (_, routes, problem) => {
    const text = `${routes}\nservices: { users: { backends: [http://localhost:1] } }\n`;
    const [first, ...others] = problems(text);
    expect(first?.startsWith(`gateway.yaml:${problem}`) ? problem : first).toBe(problem);
    expect(others.filter((one) => !/^gateway.yaml:\d+:\d+ /.test(one))).toEqual([]);
  });

  // An empty value is null in YAML, as in "login:" with nothing behind it. Problems were looked for in it, and the check crashed.
  test('a value of the wrong kind anywhere is a problem with its place, and no crash', () => {
    const wrong = [null, 'wrong', 7, ['wrong'], [null], { wrong: null }];
    const failures: string[] = [];
    for (const path of pathsOf(WITH_ALL_PARTS)) {
      for (const value of wrong) {
        const text = JSON.stringify(replaced(WITH_ALL_PARTS, path, value));
        const what = `${path.join('.')} = ${JSON.stringify(value)}`;
        try {
          // A place in a text, such as authentication.login.0, is none.
          failures.push(...problems(text).filter((one) => /\.\d/.test(one.split(': ')[0] as string)));
        } catch (error) {
          failures.push(`${what}: ${error}`);
        }
      }
    }
    expect(problems(JSON.stringify(WITH_ALL_PARTS))).toEqual([]);
    expect(failures).toEqual([]);
  });

  test('lists that are nested too deeply are a problem', () => {
    // How deep the parser goes depends on the stack of this version of Node.
    const text = `routes: ${'['.repeat(9_000)}\n`;
    expect(problems(text)[0]).toMatch(/^gateway\.yaml:1:\d+ lists and mappings are nested too deeply/);
  });

  test('all problems come at once, in the order of the file', () => {
    const text = `services:
  Users: { backends: [] }
  shop: { backends: [$SHOP], maxRequest: 5 }
routes:
  - { path: /a, servce: shop }
  - { path: /b, service: shpo }
`;
    expect(problems(text)).toEqual([
      'gateway.yaml:2:3 services: "Users" must be of lower-case letters, digits and dashes, at most 63',
      'gateway.yaml:3:22 services.shop.backends[0]: the variable SHOP is not set, and has no default (${SHOP:-default})',
      'gateway.yaml:3:30 services.shop: unknown option "maxRequest": did you mean "maxRequests"?',
      'gateway.yaml:5:17 routes[0]: unknown option "servce": did you mean "service"?',
      'gateway.yaml:6:17 routes[1]: service must name one of services: there is no service "shpo": did you mean "shop"?',
    ]);
  });

  test.each([
    ['nothing', ''],
    ['a comment', '# nothing\n'],
    ['a list', '- a'],
    ['a text', 'services'],
    ['YAML 1.1', `%YAML 1.1\n---\n${GOOD}`],
    ['brackets without end', '['.repeat(100_000)],
    ['mappings without end', '{a: '.repeat(20_000)],
    ['a key of every object', '__proto__: { services: {} }'],
    ['a list as a key', '? [a]\n: b'],
    ['an anchor within itself', 'services: &a { b: *a }\nroutes: []'],
    [
      'aliases of aliases',
      `${Array.from({ length: 12 }, (_, i) => `a${i}: &a${i} [${Array(10).fill(i === 0 ? '1' : `*a${i - 1}`)}]`).join('\n')}\n`,
    ],
  ])('%s is refused in short time', (_, text) => {
    expect(problems(text).length).toBeGreaterThan(0);
    for (const problem of problems(text)) expect(problem).toMatch(/^gateway.yaml:\d+:\d+ /);
  });

  test('files that the declaration names and that do not exist have their line, and the file that is probably meant', () => {
    writeFileSync(join(folder, 'keys.json'), '[]');
    writeFileSync(join(folder, 'page.html'), 'x');
    const text = `services: { users: { backends: [http://localhost:3001] } }
authentication:
  partners:
    apiKey: { keys: ./keys.json }
errors:
  html: ${join(folder, 'paeg.html')}
  pages: { 404: /none/404.html, 600: /none/600.html }
routes:
  - path: /
    service: users
    authentication: { apiKey: { keys: none/keys.json } }
  - { path: /usr, service: usres }
`;
    const name = join(folder, 'gateway.yaml');
    const file = (path: string) => join(folder, path);
    expect(problems(text, {}, name)).toEqual([
      `gateway.yaml:4:15 authentication.partners.apiKey: keys "./keys.json" cannot be read: no such file: did you mean ${file('keys.json')}?`,
      `gateway.yaml:6:3 errors: html "${file('paeg.html')}" cannot be read: no such file: did you mean ${file('page.html')}?`,
      `gateway.yaml:7:12 errors: pages.404 "/none/404.html" cannot be read: no such file`,
      `gateway.yaml:7:33 errors.pages: "600" must be a status or a cause of the gateway's own responses`,
      `gateway.yaml:11:33 routes[0].authentication.apiKey: keys "none/keys.json" cannot be read: no such file (in ${process.cwd()})`,
      'gateway.yaml:12:19 routes[1]: service must name one of services: there is no service "usres": did you mean "users"?',
    ]);
  });

  test('20,000 keys take no quadratic time, and not all problems are shown', () => {
    const keys = Array.from({ length: 20_000 }, (_, i) => `k${i}: 1`).join('\n');
    expect(problems(keys)).toHaveLength(101);
  });
});

describe('references', () => {
  const env = { NAME: 'ann', EMPTY: '', PORT: '8080', YES: 'true', LONG: 'a b: {c}' };

  test.each([
    ['$NAME', 'ann'],
    ['${NAME}', 'ann'],
    ['"${NAME}-$NAME"', 'ann-ann'],
    ["'$NAME'", 'ann'],
    ['${NONE:-bob}', 'bob'],
    ['${EMPTY:-bob}', 'bob'],
    ['"${NONE:-}x"', 'x'],
    ['$$NAME', '$NAME'],
    ['$$$NAME', '$ann'],
    ['$LONG', 'a b: {c}'],
  ])('%s stands for %s', (body, value) => {
    expect(bodyOf(body, env)).toBe(value);
  });

  test('an unquoted value is typed as YAML types it, a quoted one is a text', () => {
    const read1 = (value: string, name?: string) =>
      problems(`services: { a: { backends: [http://a], maxRequests: ${value} } }\nroutes: [{ service: a }]`, env, name);
    expect(read1('$PORT')).toEqual([]);
    expect(read1('"$PORT"')).toEqual(['gateway.yaml:1:40 services.a: maxRequests must be an integer of at least 0']);
    expect(read1('$YES')).toEqual(['gateway.yaml:1:40 services.a: maxRequests must be an integer of at least 0']);
  });

  test('JSON has no unquoted references: a text that is one reference is typed', () => {
    const text = (value: string) =>
      JSON.stringify({ services: { a: { backends: ['http://a'], maxRequests: value } }, routes: [{ service: 'a' }] });
    expect(read(text('${PORT}'), env, 'gateway.json').services.a?.maxRequests).toBe(8080);
    expect(problems(text('1$PORT'), env, 'gateway.json')).toHaveLength(1);
  });

  test('a file gives a text, without the line break at its end', () => {
    const path = join(folder, 'secret');
    writeFileSync(path, '12345\n');
    expect(bodyOf(`"\${file:${path}}"`)).toBe('12345');
    // Never a number: a secret of digits is a secret.
    expect(bodyOf(`\${file:${path}}`)).toBe('12345');
  });

  // A secret is what comes from a variable or a file, and what stands where secrets are.
  test.each([
    ['a variable', 'routes: [{ service: users, path: $SECRET }]'],
    ['a part of a value', 'routes: [{ service: users, path: a$SECRET }]'],
    ['an authenticator', 'routes: [{ service: users, authentication: { jwt: hunter2 } }]'],
    ['a secret of the file', 'routes: [{ service: users, authentication: { jwt: { secret: hunter2 } } }]'],
    ['a password', 'routes: [{ service: users, authentication: { basic: { users: { ann: hunter2 } } } }]'],
    ['a key', 'routes: [{ service: users, authentication: { apiKey: { keys: [{ sha256: hunter2, consumer: a }] } } }]'],
    ['a syntax error', 'routes: [{ service: users, path: "hunter2 }]'],
    ['another one', 'routes:\n  - service: users\n   hunter2'],
    [
      'a key of TLS',
      'routes: [{ service: users }]\nservices: { users: { backends: [http://a], tls: { key: hunter2 } } }',
    ],
  ])('%s is not shown', (_, text) => {
    const all = text.includes('services') ? text : `${text}\nservices: { users: { backends: [http://a] } }`;
    const found = problems(all, { SECRET: 'hunter2' });
    expect(found.length).toBeGreaterThan(0);
    expect(found.join('\n')).not.toContain('hunter2');
  });
});

describe('GATEWAY_CONFIG', () => {
  const configProblems = (env: NodeJS.ProcessEnv): readonly string[] => {
    try {
      readConfig(env);
    } catch (error) {
      if (error instanceof ConfigError) return error.problems;
      throw error;
    }
    return [];
  };

  test('names the variables of one service that are set beside it', () => {
    const env = {
      GATEWAY_CONFIG: 'gateway.yaml',
      BACKENDS: 'http://a',
      RETRY_ATTEMPTS: '2',
      PORT: '1',
      MERGE_SLASHES: 'off',
    };
    expect(configProblems(env)).toEqual([
      'GATEWAY_CONFIG: BACKENDS, MERGE_SLASHES, RETRY_ATTEMPTS say how one service is run and do not apply: put it into that file, or leave the variable empty',
    ]);
    expect(configProblems({ GATEWAY_CONFIG: 'gateway.yaml', RATE_LIMIT: 'off' })).toEqual([]);
    expect(configProblems({ RATE_LIMIT: 'off' })).toEqual([
      'RATE_LIMIT: can be off only with GATEWAY_CONFIG, whose routes have limits of their own',
    ]);
  });

  test.each(Object.entries(VARIABLES))('%s beside it is either in effect, or refused by name', (name, variable) => {
    const refused = configProblems({ GATEWAY_CONFIG: 'gateway.yaml', [name]: 'none of its values' }).filter((problem) =>
      problem.startsWith('GATEWAY_CONFIG: '),
    );
    expect(refused).toEqual(variable.isOfOneService === true ? [expect.stringContaining(name)] : []);
  });

  test('a service without options has the same settings as BACKENDS without further variables', () => {
    const events = new GatewayEvents();
    const services = { users: { backends: ['http://a'] } };
    const config = {
      ...readConfig({ BACKENDS: 'http://a' }),
      declaration: { services, routes: [{ service: 'users' }] },
    };
    const { proxy, router } = middlewareOptions(config, events);
    expect(complete(router?.services.users as RoundRobinProxyOptions)).toEqual(complete(proxy));
  });

  /** The options with the defaults of those that are missing, also within the groups. */
  function complete({ events, ...options }: RoundRobinProxyOptions) {
    const { servers, ...dns } = { ...dnsDefaults, ...options.dns };
    return {
      ...roundRobinProxyDefaults,
      ...options,
      dns: { ...dns, ...(servers && { servers }) },
      circuit: { ...backendCircuitDefaults, ...options.circuit },
      retry: { ...retryDefaults, ...options.retry },
      healthCheck: { path: undefined, ...healthCheckDefaults, ...options.healthCheck },
    };
  }

  test.each([
    ['that does not exist', () => join(folder, 'none.yaml'), /none.yaml: cannot be read: no such file$/],
    ['that is a folder', () => folder, /cannot be read: it is a directory$/],
    ['that is too large', () => large(), /large.yaml: it is larger than 1048576 bytes$/],
    ['that is not UTF-8', () => latin(), /latin.yaml: it is not UTF-8$/],
  ])('a file %s is refused', async (_, path, problem) => {
    const reading = new GatewayFile(path(), () => ({})).read();
    await expect(reading).rejects.toThrow(problem);
  });

  const large = () => written('large.yaml', ' '.repeat(1_048_577));
  const latin = () => written('latin.yaml', Buffer.from('# caf\xe9', 'latin1'));

  function written(name: string, content: string | Buffer): string {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  }

  test('is checked again only if its text, a variable or a file that a value comes from has changed', async () => {
    let env = { NAME: 'one' };
    const path = written('again.yaml', withBody('$NAME'));
    const file = new GatewayFile(path, () => env);
    const first = await file.read();
    expect(await file.read()).toBe(first);
    written('again.yaml', withBody('$NAME'));
    expect(await file.read()).toBe(first);
    env = { NAME: 'two' };
    expect((await file.read()).routes[1]?.name).toBe('two');
    written('again.yaml', withBody('three'));
    expect((await file.read()).routes[1]?.name).toBe('three');
    const name = written('secret', 'four');
    written('again.yaml', withBody(`"\${file:${name}}"`));
    expect((await file.read()).routes[1]?.name).toBe('four');
    written('secret', 'five');
    expect((await file.read()).routes[1]?.name).toBe('five');
    written('again.yaml', 'services: 1');
    await expect(file.read()).rejects.toThrow(/must be an object/);
    await expect(file.read()).rejects.toThrow(/must be an object/);
  });

  test('is watched, with the files that its values are in', async () => {
    const name = written('name', 'one');
    const path = written('watched.yaml', withBody(`"\${file:${name}}"`));
    const file = new GatewayFile(path, () => ({}), 20);
    let changes = 0;
    let names: unknown[] = [];
    const note = async () => {
      changes += 1;
      names = [...names, (await file.read()).routes[1]?.name];
    };
    expect((await file.read()).routes[1]?.name).toBe('one');
    file.watch(() => void note());
    try {
      written('name', 'two!');
      await until(() => names.length === 1);
      written('watched.yaml', withBody('three'));
      await until(() => names.length === 2);
      expect(names).toEqual(['two!', 'three']);
      expect(changes).toBe(2);
    } finally {
      file.close();
    }
  });

  // A deployment may write the declaration before the files that it names.
  test.each([
    ['a page', (named: string) => `errors: { html: ${named} }\n`, '<h1>{{status}}</h1>'],
    ['a page of one status', (named: string) => `errors: { pages: { 404: ${named} } }\n`, '<h1>{{status}}</h1>'],
    ['API keys', (named: string) => `authentication: { partners: { apiKey: { keys: ${named} } } }\n`, '[]'],
  ])('after a refusal, the file of %s that it names is watched, too', async (_, naming, content) => {
    const name = `named-${randomUUID()}`;
    const path = written(`${name}.yaml`, GOOD + naming(join(folder, name)));
    const file = new GatewayFile(path, () => ({}), 20);
    await expect(file.read()).rejects.toThrow(/cannot be read: no such file/);
    let readings = 0;
    file.watch(() => void file.read().then(() => (readings += 1)));
    try {
      written(name, content);
      await until(() => readings === 1);
    } finally {
      file.close();
    }
  });

  test('is watched with its pages, and leaves its API keys to their authenticator', async () => {
    const keys = written('watched-keys', '[]');
    const page = written('watched-page', 'one');
    const authentication = `authentication: { partners: { apiKey: { keys: ${keys} } } }\n`;
    const path = written('with-page.yaml', `${GOOD}${authentication}errors: { html: ${page} }\n`);
    const file = new GatewayFile(path, () => ({}), 20);
    await file.read();
    let changes = 0;
    file.watch(() => (changes += 1));
    try {
      written('watched-keys', '[ ]');
      await stays('no reload for changed keys', () => changes === 0, 200);
      written('watched-page', 'two!');
      await until(() => changes === 1);
    } finally {
      file.close();
    }
  });
});

// biome-ignore-end lint/suspicious/noTemplateCurlyInString: these are references of the file.
