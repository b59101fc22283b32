import { createHash, generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import express from 'express';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { exchangeOf } from '../../lib/core/exchange.ts';
import type { Middleware } from '../../lib/core/http.ts';
import { apiKeyAuth, basicAuth, forwardAuth, hashPassword, jwtAuth } from '../../lib/index.ts';
import { eventually } from '../support/servers.ts';

const servers: Server[] = [];

async function listen(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

interface Seen {
  status: number;
  challenge: string | null;
  body: {
    cause?: string;
    detail?: string;
    consumer?: { name: string; plan?: string };
    headers: Record<string, string>;
    url: string;
  };
}

/** Sends one request through the middleware; a request that passes gets its headers and its consumer as the response. */
async function ask(middleware: Middleware, headers: Record<string, string> = {}, path = '/'): Promise<Seen> {
  const app = express();
  app.use(middleware);
  app.use((req, res) => {
    res.json({ headers: req.headers, url: req.url, consumer: exchangeOf(req, res).consumer });
  });
  const response = await fetch((await listen(app)) + path, { headers, redirect: 'manual' });
  const text = await response.text();
  return {
    status: response.status,
    challenge: response.headers.get('www-authenticate'),
    body: text.startsWith('{') ? JSON.parse(text) : { headers: {}, url: text },
  };
}

const SECRET = 'a shared secret of at least 32 characters';
const secret = new TextEncoder().encode(SECRET);

const token = (
  claims: Record<string, unknown>,
  { alg = 'HS256', key = secret as never, kid = '' } = {},
): Promise<string> =>
  new SignJWT({ sub: 'alice', exp: Math.floor(Date.now() / 1000) + 60, ...claims })
    .setProtectedHeader({ alg, ...(kid === '' ? {} : { kid }) })
    .sign(key);

describe('jwtAuth()', () => {
  const auth = () =>
    jwtAuth({
      secret: SECRET,
      issuer: 'https://issuer.example',
      audience: 'api',
      claimHeaders: { 'x-user': 'sub', 'x-roles': 'roles' },
    });
  const good = { iss: 'https://issuer.example', aud: 'api' };

  test('a valid token passes, and its claims go to the backend', async () => {
    const seen = await ask(auth(), {
      authorization: `bearer ${await token({ ...good, roles: ['a', 'b'] })}`,
      'x-user': 'mallory',
      x_user: 'mallory',
      'X-Roles': 'admin',
    });
    expect(seen.status).toBe(200);
    expect(seen.body.consumer).toMatchObject({ name: 'alice' });
    expect(seen.body.headers).toMatchObject({ 'x-user': 'alice', 'x-roles': 'a,b' });
    expect(seen.body.headers).not.toHaveProperty('x_user');
  });

  test.each([
    ['a claim that the token lacks', {}],
    ['a list whose member would read as two', { roles: ['a,admin'] }],
    ['an object', { roles: { admin: true } }],
    ['a text that no header can hold', { roles: 'a\r\nx-admin: 1' }],
  ])('the header of the client is removed for %s', async (_title, claims) => {
    const seen = await ask(auth(), {
      authorization: `Bearer ${await token({ ...good, ...claims })}`,
      'x-roles': 'admin',
    });
    expect(seen.status).toBe(200);
    expect(seen.body.headers).not.toHaveProperty('x-roles');
  });

  const expired = { exp: Math.floor(Date.now() / 1000) - 60 };
  test.each<[string, () => Promise<string> | string, RegExp]>([
    ['no token', () => '', /no bearer token/],
    ['another scheme', () => 'Basic YTpi', /no bearer token/],
    ['no JSON Web Token', () => 'Bearer abc', /malformed/],
    ['an expired one', async () => `Bearer ${await token({ ...good, ...expired })}`, /expired/],
    ['one that is not valid yet', async () => `Bearer ${await token({ ...good, nbf: 4e9 })}`, /nbf/],
    ['one that never expires', async () => `Bearer ${await token({ ...good, exp: undefined })}`, /exp/],
    ['another issuer', async () => `Bearer ${await token({ ...good, iss: 'https://other.example' })}`, /iss/],
    ['another audience', async () => `Bearer ${await token({ ...good, aud: 'other' })}`, /aud/],
    ['no audience', async () => `Bearer ${await token({ iss: good.iss })}`, /aud/],
    ['no subject', async () => `Bearer ${await token({ ...good, sub: '' })}`, /no claim sub/],
    [
      'a changed payload',
      async () => `Bearer ${(await token(good)).replace(/\.[^.]+\./, `.${btoa('{"sub":"root"}')}.`)}`,
      /signature|malformed/,
    ],
    [
      'the algorithm none',
      () => `Bearer ${btoa('{"alg":"none"}').replaceAll('=', '')}.${btoa('{"sub":"root"}').replaceAll('=', '')}.`,
      /not accepted|malformed/,
    ],
  ])('%s gets 401', async (_title, authorization, detail) => {
    const value = await authorization();
    const seen = await ask(auth(), value === '' ? {} : { authorization: value });
    expect(seen.status).toBe(401);
    expect(seen.challenge).toMatch(/^Bearer/);
    expect(seen.body).toMatchObject({ cause: 'unauthenticated', detail: expect.stringMatching(detail) });
  });

  test('a public key is no secret: a token signed with it by HMAC gets 401', async () => {
    const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString();
    const forged = await token({}, { key: new TextEncoder().encode(pem) as never });
    expect((await ask(jwtAuth({ publicKey: pem }), { authorization: `Bearer ${forged}` })).status).toBe(401);
  });

  test('a token in a cookie', async () => {
    const cookie = `other=1; session=${await token({})}`;
    expect((await ask(jwtAuth({ secret: SECRET, cookie: 'session' }), { cookie })).body.consumer?.name).toBe('alice');
    expect((await ask(jwtAuth({ secret: SECRET }), { cookie })).status).toBe(401);
  });

  test('a key set is fetched once, again for a new key, and its failure is a 503', async () => {
    const first = await generateKeyPair('ES256');
    let keys = [{ ...(await exportJWK(first.publicKey)), kid: 'one', alg: 'ES256' }];
    let fetched = 0;
    let isUp = true;
    const url = await listen((_req, res) => {
      fetched += 1;
      res.statusCode = isUp ? 200 : 500;
      res.setHeader('Content-Type', 'application/json');
      res.end(JSON.stringify({ keys }));
    });
    const auth = jwtAuth({ jwksUrl: `${url}/keys` });
    const authorization = `Bearer ${await token({}, { alg: 'ES256', key: first.privateKey as never, kid: 'one' })}`;
    const all = await Promise.all([
      ask(auth, { authorization }),
      ask(auth, { authorization }),
      ask(auth, { authorization }),
    ]);
    expect(all.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(fetched).toBe(1);

    const second = await generateKeyPair('ES256');
    keys = [{ ...(await exportJWK(second.publicKey)), kid: 'two', alg: 'ES256' }];
    const rotated = {
      authorization: `Bearer ${await token({}, { alg: 'ES256', key: second.privateKey as never, kid: 'two' })}`,
    };
    // Not at once: a stranger with made-up key names must not make the gateway fetch for each request.
    expect((await ask(auth, rotated)).status).toBe(401);
    expect(fetched).toBe(1);
    expect((await ask(jwtAuth({ jwksUrl: `${url}/keys` }), rotated)).status).toBe(200);

    isUp = false;
    const seen = await ask(jwtAuth({ jwksUrl: `${url}/keys` }), rotated);
    expect([seen.status, seen.body.cause]).toEqual([503, 'authentication_unavailable']);
  });

  test('a clock that is set back after a failed fetch of the key set does not keep all clients out', async () => {
    const { publicKey, privateKey } = await generateKeyPair('ES256');
    const keys = [{ ...(await exportJWK(publicKey)), kid: 'one', alg: 'ES256' }];
    let isUp = false;
    const url = await listen((_req, res) => void (isUp ? res : res.writeHead(500)).end(JSON.stringify({ keys })));
    const auth = jwtAuth({ jwksUrl: `${url}/keys`, clockToleranceMs: 7_200_000 });
    const authorization = `Bearer ${await token({}, { alg: 'ES256', key: privateKey as never, kid: 'one' })}`;
    expect((await ask(auth, { authorization })).status).toBe(503);
    isUp = true;
    const now = jest.spyOn(Date, 'now').mockReturnValue(Date.now() - 3_600_000);
    try {
      expect((await ask(auth, { authorization })).status).toBe(200);
    } finally {
      now.mockRestore();
    }
  });

  test.each<[string, RequestListener]>([
    ['responds with an error', (_req, res) => void res.writeHead(500).end()],
    ['redirects', (_req, res) => void res.writeHead(302, { location: '/' }).end()],
    ['responds with something else', (_req, res) => void res.end('<html>')],
    ['closes connections', (req) => void req.socket.destroy()],
  ])('an issuer that %s gets one request a second, whatever strangers send', async (_title, fails) => {
    const { publicKey, privateKey } = await generateKeyPair('ES256');
    const keys = [{ ...(await exportJWK(publicKey)), kid: 'one', alg: 'ES256' }];
    const signed = async (kid: string) => ({
      authorization: `Bearer ${await token({}, { alg: 'ES256', key: privateKey as never, kid })}`,
    });
    const [known, unknown] = [await signed('one'), await signed('none')];
    let fetched = 0;
    let isUp = false;
    const url = await listen((req, res) => {
      fetched += 1;
      if (isUp) res.end(JSON.stringify({ keys }));
      else fails(req, res);
    });
    const now = jest.spyOn(Date, 'now').mockReturnValue(Date.now());
    const later = (ms: number) => now.mockReturnValue(Date.now() + ms);
    try {
      const auth = jwtAuth({ jwksUrl: `${url}/keys` });
      const statuses = async (...all: (typeof known)[]) => {
        const seen = [];
        for (const one of all) seen.push((await ask(auth, one)).status);
        return seen;
      };
      expect(await statuses(known, unknown, known)).toEqual([503, 503, 503]);
      expect(fetched).toBe(1);
      isUp = true;
      later(1_000);
      expect(await statuses(known, unknown)).toEqual([200, 401]);
      isUp = false;
      later(30_000);
      expect(await statuses(unknown, unknown, known)).toEqual([503, 503, 200]);
      expect(fetched).toBe(3);
    } finally {
      now.mockRestore();
    }
  });

  test('a token that names no key passes by any key of the set, as while keys are changed', async () => {
    const [first, second, other] = [1, 2, 3].map(() => generateKeyPairSync('ec', { namedCurve: 'P-256' }));
    const jwks = await Promise.all([first, second].map(async (one) => exportJWK(one?.publicKey as never)));
    const keys = jwks.map((one, index) => ({ ...one, kid: String(index) }));
    const url = await listen((_req, res) => void res.end(JSON.stringify({ keys })));
    const auth = jwtAuth({ jwksUrl: url, issuer: 'https://issuer.example' });
    const seen = async (pair: typeof first, claims = {}) => {
      const text = await token(
        { iss: 'https://issuer.example', ...claims },
        { alg: 'ES256', key: pair?.privateKey as never },
      );
      const { status, body } = await ask(auth, { authorization: `Bearer ${text}` });
      return [status, body.detail];
    };
    expect(await seen(first)).toEqual([200, undefined]);
    expect(await seen(second)).toEqual([200, undefined]);
    expect(await seen(other)).toEqual([401, 'The signature of the token is not valid.']);
    expect(await seen(second, expired)).toEqual([401, 'The token has expired.']);
  });

  test('a token that names no key passes also if another key of the set is too short', async () => {
    const [short, good, other] = [1_024, 2_048, 2_048].map((modulusLength) =>
      generateKeyPairSync('rsa', { modulusLength }),
    );
    const jwks = await Promise.all([short, good, short].map(async (one) => exportJWK(one?.publicKey as never)));
    const keys = jwks.map((one, index) => ({ ...one, kid: String(index) }));
    const url = await listen((_req, res) => void res.end(JSON.stringify({ keys })));
    const auth = jwtAuth({ jwksUrl: url });
    const seen = async (pair: typeof good, claims = {}) => {
      const text = await token(claims, { alg: 'RS256', key: pair?.privateKey as never });
      const { status, body } = await ask(auth, { authorization: `Bearer ${text}` });
      return [status, body.detail];
    };
    expect(await seen(good)).toEqual([200, undefined]);
    expect(await seen(other)).toEqual([401, 'The signature of the token is not valid.']);
    expect(await seen(good, expired)).toEqual([401, 'The token has expired.']);
  });

  test.each([
    [{}, /exactly one of jwksUrl, publicKey and secret, got none/],
    [{ secret: SECRET, jwksUrl: 'https://issuer.example' }, /exactly one/],
    [{ secret: 'short' }, /at least 32 characters/],
    [{ secret: SECRET, algorithms: ['RS256'] }, /RS256 cannot be used with secret/],
    [{ jwksUrl: 'https://issuer.example', algorithms: ['HS256'] }, /HS256 cannot be used with jwksUrl/],
    [{ publicKey: 'no key' }, /PEM/],
    [{ jwksUrl: 'ftp://issuer.example' }, /http or https/],
    [{ secret: SECRET, claimHeaders: { 'a b': 'sub' } }, /not a header name/],
    [{ secret: SECRET, algorithm: 'HS256' }, /use algorithms/],
  ])('%j throws', (options, message) => {
    expect(() => jwtAuth(options as never)).toThrow(message);
  });
});

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

describe('apiKeyAuth()', () => {
  const keys = [
    { sha256: sha256('gold-key'), consumer: 'acme', plan: 'gold' },
    { sha256: sha256('other-key').toUpperCase(), consumer: 'other' },
  ];

  test('a known key passes, and does not reach the backend', async () => {
    const seen = await ask(apiKeyAuth({ keys }), { 'X-API-Key': 'gold-key', 'x-consumer': 'mallory' });
    expect(seen.body.consumer).toEqual({ name: 'acme', plan: 'gold' });
    expect(seen.body.headers['x-consumer']).toBe('acme');
    expect(seen.body.headers).not.toHaveProperty('x-api-key');
    expect((await ask(apiKeyAuth({ keys }), { 'x-api-key': 'other-key' })).body.consumer).toEqual({ name: 'other' });
  });

  test.each([
    ['no key', {}],
    ['an empty key', { 'x-api-key': '' }],
    ['an unknown key', { 'x-api-key': 'gold-key2' }],
    ['the hash instead of the key', { 'x-api-key': sha256('gold-key') }],
  ])('%s gets 401', async (_title, headers) => {
    const seen = await ask(apiKeyAuth({ keys }), headers);
    expect([seen.status, seen.challenge, seen.body.cause]).toEqual([401, 'ApiKey name="x-api-key"', 'unauthenticated']);
  });

  test('a key in the query does not reach the backend; the other parameters stay as they are', async () => {
    const auth = apiKeyAuth({ keys, query: 'key' });
    expect((await ask(auth, {}, '/a?b=%20c&key=gold-key&d')).body.url).toBe('/a?b=%20c&d');
    expect((await ask(auth, {}, '/a?key=gold-key')).body.url).toBe('/a');
    expect((await ask(apiKeyAuth({ keys }), {}, '/a?key=gold-key')).status).toBe(401);
  });

  test('a file is read again when it changes, and a bad one changes nothing', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'keys-')), 'keys.json');
    writeFileSync(path, JSON.stringify([keys[0]]));
    const auth = apiKeyAuth({ keys: path });
    let message = '';
    const spy = jest.spyOn(process, 'emitWarning').mockImplementation((warning) => {
      message = String(warning);
    });
    try {
      expect((await ask(auth, { 'x-api-key': 'other-key' })).status).toBe(401);
      writeFileSync(path, JSON.stringify(keys));
      await eventually(
        'the new file counts',
        async () => (await ask(auth, { 'x-api-key': 'other-key' })).status === 200,
      );
      writeFileSync(path, '[{"sha256": "gold-key"');
      await eventually('the bad file is reported', () => message !== '');
      expect(message).toMatch(/The API keys stay as they were: .*it is not JSON/);
      expect(message).not.toMatch(/gold-key/);
      expect((await ask(auth, { 'x-api-key': 'other-key' })).status).toBe(200);
    } finally {
      auth.close();
      spy.mockRestore();
    }
  });

  test('a function that cannot look a key up gives 503', async () => {
    const lookups = [
      () => Promise.reject(new Error('database down')),
      () => {
        throw new Error('database down');
      },
    ];
    for (const lookup of lookups)
      expect((await ask(apiKeyAuth({ keys: lookup }), { 'x-api-key': 'a' })).status).toBe(503);
    const found = await ask(apiKeyAuth({ keys: async (key) => ({ name: `of ${key}` }) }), { 'x-api-key': 'a' });
    expect(found.body.consumer?.name).toBe('of a');
  });

  test('problems of the list name the entry and never its value', () => {
    const bad = [
      { sha256: 'my-secret-key', consumer: 'a' },
      { sha256: sha256('a'), consumer: '', plna: 'x' },
    ];
    expect(() => apiKeyAuth({ keys: bad as never })).toThrow(
      /key 1: sha256 must be 64.*key 2: consumer must.*key 2: unknown plna/,
    );
    expect(() => apiKeyAuth({ keys: bad as never })).not.toThrow(/my-secret-key/);
    expect(() => apiKeyAuth({ keys: '/no/such/file' })).toThrow(/cannot be read: no such file/);
  });
});

describe('basicAuth()', () => {
  const users = { alice: hashPassword('pass:word é') };
  const header = (text: string) => ({ authorization: `Basic ${Buffer.from(text).toString('base64')}` });

  test('the right password passes, with a colon and in UTF-8', async () => {
    const seen = await ask(basicAuth({ users }), { ...header('alice:pass:word é'), 'x-consumer': 'root' });
    expect([seen.body.consumer, seen.body.headers['x-consumer']]).toEqual([{ name: 'alice' }, 'alice']);
  });

  test.each([
    ['no credentials', {}],
    ['a wrong password', header('alice:password')],
    ['an unknown user', header('bob:pass:word é')],
    ['no colon', header('alice')],
    ['a name of every object', header('constructor:x')],
  ])('%s gets 401', async (_title, headers) => {
    const seen = await ask(basicAuth({ users, realm: 'say "hi"' }), headers);
    expect([seen.status, seen.challenge]).toEqual([401, 'Basic realm="say \\"hi\\"", charset="UTF-8"']);
  });

  test('more guesses at a time than the bound get 503, and the right password passes afterwards', async () => {
    const auth = basicAuth({ users });
    const app = express().use(auth as never, (_req: unknown, res: { end(): void }) => res.end());
    const url = await listen(app);
    const guesses = Array.from({ length: 100 }, (_, index) => fetch(url, { headers: header(`alice:${index}`) }));
    const statuses = (await Promise.all(guesses)).map(({ status }) => status);
    expect(new Set(statuses)).toEqual(new Set([401, 503]));
    expect((await fetch(url, { headers: header('alice:pass:word é') })).status).toBe(200);
  });

  test('a password instead of a hash throws, without showing it', () => {
    expect(() => basicAuth({ users: { alice: 'hunter2' } })).toThrow(/"alice" must have a hash of hashPassword\(\)/);
    expect(() => basicAuth({ users: { alice: 'hunter2' } })).not.toThrow(/hunter2/);
  });
});

describe('forwardAuth()', () => {
  test("a 2xx lets the request pass, with headers of the service in place of the client's", async () => {
    let question: IncomingMessage | undefined;
    const url = await listen((req, res) => {
      question = req;
      res.setHeader('x-user', 'alice');
      res.end('ignored');
    });
    const auth = forwardAuth({ url, responseHeaders: ['X-User', 'x-roles'], consumerHeader: 'x-user' });
    const seen = await ask(
      auth,
      {
        'x-user': 'mallory',
        x_roles: 'admin',
        cookie: 'session=1',
        'x-forwarded-uri': '/other',
        'content-type': 'a/b',
      },
      '/a?b',
    );
    expect(seen.body.consumer).toEqual({ name: 'alice' });
    expect(seen.body.headers).toMatchObject({ 'x-user': 'alice' });
    expect(seen.body.headers).not.toHaveProperty('x_roles');
    expect(question?.headers).toMatchObject({
      cookie: 'session=1',
      'x-forwarded-method': 'GET',
      'x-forwarded-uri': '/a?b',
      'x-forwarded-proto': 'http',
      'x-forwarded-for': '127.0.0.1',
    });
    expect(question?.headers).not.toHaveProperty('content-type');
  });

  test('the client gets any other response below 500', async () => {
    const url = await listen((_req, res) => {
      res.writeHead(302, { Location: '/login', 'Set-Cookie': ['a=1', 'b=2'] });
      res.end('please log in');
    });
    const app = express().use(forwardAuth({ url }) as never);
    const response = await fetch(await listen(app), { redirect: 'manual' });
    expect([response.status, response.headers.get('location'), response.headers.getSetCookie()]).toEqual([
      302,
      '/login',
      ['a=1', 'b=2'],
    ]);
    expect(await response.text()).toBe('please log in');
  });

  test.each([
    [301, {}, 'no-store'],
    [404, {}, 'no-store'],
    [401, { 'Cache-Control': 'max-age=5' }, 'max-age=5'],
  ])('no cache keeps a %i of the service with %j, unless it says so: %s', async (status, fields, expected) => {
    const url = await listen((_req, res) => void res.writeHead(status, { ...fields, Location: '/' }).end());
    const app = express().use(forwardAuth({ url }) as never);
    const { headers } = await fetch(await listen(app), { redirect: 'manual' });
    expect(headers.get('cache-control')).toBe(expected);
  });

  const down: [string, () => Promise<string>][] = [
    ['a service that is away', async () => 'http://127.0.0.1:2'],
    ['a service that responds 500', () => listen((_req, res) => void res.writeHead(500).end())],
    ['a service that does not respond', () => listen(() => undefined)],
    ['a login page that is too large', () => listen((_req, res) => void res.writeHead(401).end('x'.repeat(70_000)))],
  ];
  test.each(down)('%s gives 503', async (_title, start) => {
    const seen = await ask(forwardAuth({ url: await start(), timeoutMs: 200 }));
    expect([seen.status, seen.body.cause]).toEqual([503, 'authentication_unavailable']);
  });

  test.each(down.slice(0, 3))(
    'with onError: allow, %s lets the request pass without identity',
    async (_title, start) => {
      const auth = forwardAuth({ url: await start(), timeoutMs: 200, onError: 'allow', responseHeaders: ['x-user'] });
      const seen = await ask(auth, { 'x-user': 'mallory' });
      expect([seen.status, seen.body.consumer]).toEqual([200, undefined]);
      expect(seen.body.headers).not.toHaveProperty('x-user');
    },
  );
});
