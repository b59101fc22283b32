import { createHash, generateKeyPairSync } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import express from 'express';
import { SignJWT } from 'jose';
import type { Middleware } from '../../lib/core/http.ts';
import {
  type Authenticator,
  apiKeyAuth,
  basicAuth,
  forwardAuth,
  jwtAuth,
  roundRobinProxy,
  serviceRouter,
  upgradeHandler,
} from '../../lib/index.ts';
import { RawClient, type RawMessage } from '../support/raw-client.ts';
import { eventually, listen } from '../support/servers.ts';

const open: { close(): Promise<void> }[] = [];

afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

async function serve(listener: RequestListener) {
  const server = await listen(listener);
  open.push(server);
  return server;
}

/** A gateway with a middleware before its proxy. */
const behind = (auth: Middleware) => before((backend) => [auth, proxyTo(backend)]);

/** A gateway with middlewares before a backend that responds with the headers that it got, WebSockets too. */
async function before(
  middlewares: (backend: string) => Middleware[],
  trustProxy = false,
): Promise<(...lines: string[]) => Promise<RawMessage>> {
  const backend = await serve((req, res) => res.end(JSON.stringify(req.headers)));
  backend.server.on('upgrade', (req, socket) => {
    const head = 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket';
    socket.end(`${head}\r\nX-Got: ${JSON.stringify(req.headers)}\r\n\r\n`);
  });
  const app = express().set('trust proxy', trustProxy && 'loopback');
  app.use(middlewares(backend.url) as never);
  const gateway = await serve(app);
  gateway.server.on('upgrade', upgradeHandler(app));
  return async (...lines) => {
    const client = await RawClient.connect(gateway.port);
    const ending = lines.some((line) => line.startsWith('Connection:')) ? [] : ['Connection: close'];
    const request = lines[0]?.startsWith('GET ') ? lines : ['GET / HTTP/1.1', ...lines];
    client.send(`${[...request.toSpliced(1, 0, 'Host: gw'), ...ending].join('\r\n')}\r\n\r\n`);
    const response = await client.response();
    client.close();
    return response;
  };
}

function proxyTo(backend: string): Middleware {
  const proxy = roundRobinProxy({ backends: [backend] });
  open.push(proxy);
  return proxy;
}

const got = ({ content }: RawMessage): IncomingHttpHeaders => JSON.parse(content.toString());

const sha256 = createHash('sha256').update('key').digest('hex');
const SECRET = 'a shared secret of at least 32 characters';
const inAMinute = () => Math.floor(Date.now() / 1000) + 60;

describe('a client that claims an identity', () => {
  test.each([
    [['X-Consumer: root']],
    [['x_consumer: root']],
    [['x.consumer: root']],
    [['x~consumer: root']],
    [['X-Consumer: root', 'X-Consumer: root']],
    [['X-Consumer: acme', 'x_consumer: acme']],
    [['Connection: close, x-consumer']],
    [['Connection: close, x-consumer', 'X-Consumer: acme']],
  ])('%j: the backend learns the consumer of the key, once', async (lines) => {
    const ask = await behind(apiKeyAuth({ keys: [{ sha256, consumer: 'acme' }] }));
    const headers = got(await ask('X-API-Key: key', ...lines));
    const named = Object.entries(headers).filter(([name]) => name.replaceAll(/[^a-z]/g, '-') === 'x-consumer');
    expect(named).toEqual([['x-consumer', 'acme']]);
  });

  test('the backend learns an identity that the client claims if authentication confirms it', async () => {
    const confirms = await serve((_req, res) => res.setHeader('X-Auth-Request-User', 'alice').end());
    const ask = await behind(forwardAuth({ url: confirms.url, responseHeaders: ['x-auth-request-user'] }));
    const claims = ['Connection: close', 'X-Auth-Request-User: alice'];
    expect(got(await ask(...claims))['x-auth-request-user']).toBe('alice');
    expect(got(await ask(...claims.toReversed()))['x-auth-request-user']).toBe('alice');
  });

  test.each(['x-role', 'x_role', 'x.role', 'x!role', 'x~role', "x'role"])(
    '%s: the backend gets no header for a claim that the token lacks, WebSockets included',
    async (name) => {
      const ask = await behind(jwtAuth({ secret: SECRET, claimHeaders: { 'x-role': 'role' } }));
      const token = await new SignJWT({ sub: 'a', exp: inAMinute() })
        .setProtectedHeader({ alg: 'HS256' })
        .sign(new TextEncoder().encode(SECRET));
      const lines = [`Authorization: Bearer ${token}`, `${name}: admin`];
      expect(got(await ask(...lines))).not.toHaveProperty([name]);
      const upgraded = await ask(...lines, 'Connection: upgrade', 'Upgrade: websocket');
      expect([upgraded.status, JSON.parse(upgraded.field('x-got') ?? '')[name]]).toEqual([101, undefined]);
      expect((await ask('Connection: upgrade', 'Upgrade: websocket')).status).toBe(401);
    },
  );
});

describe('a client that claims an identity on a route without authentication', () => {
  const confirms = 'http://127.0.0.1:8/';
  const declared: [string, Authenticator, string][] = [
    ['apiKey', { apiKey: { keys: [{ sha256, consumer: 'acme' }] } }, 'x-consumer'],
    ['basic', { basic: { users: {}, consumerHeader: 'x-who' } }, 'x-who'],
    ['jwt', { jwt: { secret: SECRET, claimHeaders: { 'X-User': 'sub' } } }, 'x-user'],
    ['clientCert', { clientCert: { headers: { 'x-certified': 'subject' } } }, 'x-certified'],
    ['clientCert without options', { clientCert: {} }, 'x-client-cert-subject'],
    ['the certificate itself', { clientCert: {} }, 'client-cert'],
    ['its chain', { clientCert: { headers: {} } }, 'client-cert-chain'],
    ['forwardAuth', { forwardAuth: { url: confirms, responseHeaders: ['X-Mail'] } }, 'x-mail'],
    ['consumer of forwardAuth', { forwardAuth: { url: confirms, consumerHeader: 'X-Login' } }, 'x-login'],
  ];

  const names = (response: RawMessage) =>
    Object.keys(JSON.parse(response.field('x-got') ?? response.content.toString()));

  function routed(authenticator: Authenticator, trustProxy = false, first: Middleware[] = []) {
    return before((backend) => {
      const router = serviceRouter({
        services: { all: { backends: [backend] } },
        routes: [{ path: '/in', service: 'all', authentication: authenticator }, { service: 'all' }],
      });
      open.push(router);
      return [...first, router];
    }, trustProxy);
  }

  test.each(declared)(
    '%s: the backend does not get it, in any spelling, WebSockets included',
    async (...[, one, name]) => {
      const ask = await routed(one);
      const spellings = [name, name.replace('-', '_'), name.replace('-', '.'), name.toUpperCase()];
      const claims = spellings.map((spelling) => `${spelling}: root`);
      for (const more of [[], [`Connection: close, ${name}`], ['Connection: upgrade', 'Upgrade: websocket']]) {
        const got = names(await ask(...claims, ...more, 'X-Other: kept', 'Authorization: mine'));
        expect(got).toEqual(expect.arrayContaining(['x-other', 'authorization']));
        expect(got.filter((other) => other.replaceAll(/[^a-z]/g, '-') === name)).toEqual([]);
      }
    },
  );

  test.each(declared)(
    '%s: what a trusted proxy passes on is gone, and what a middleware wrote stays',
    async (...[, one, name]) => {
      const passedOn = await routed(one, true);
      expect(names(await passedOn(`${name}: root`, 'X-Other: kept'))).toEqual(expect.not.arrayContaining([name]));
      expect(names(await passedOn(`${name}: root`, 'X-Other: kept'))).toContain('x-other');
      const written: Middleware = (req, _res, next) => {
        req.headers[name] = 'alice';
        next();
      };
      const ask = await routed(one, false, [written]);
      for (const lines of [
        [`${name}: root`, `${name.replace('-', '_')}: root`],
        [],
        [`${name}: alice`, `Connection: close, ${name}`],
      ]) {
        const got = names(await ask(...lines));
        expect(got.filter((other) => other.replaceAll(/[^a-z]/g, '-') === name)).toEqual([name]);
      }
    },
  );

  test('credentials that a service of forwardAuth() replaces are not taken for an identity', async () => {
    const ask = await routed({ forwardAuth: { url: confirms, responseHeaders: ['authorization', 'cookie'] } });
    expect(names(await ask('Authorization: mine', 'Cookie: a=b'))).toEqual(
      expect.arrayContaining(['authorization', 'cookie']),
    );
  });

  test('X-Consumer of a client never passes a proxy without any authentication', async () => {
    const ask = await behind((_req, _res, next) => next());
    expect(
      names(await ask('X-Consumer: root', 'X_Consumer: root')).filter((name) => name.includes('consumer')),
    ).toEqual([]);
  });
});

describe('tokens', () => {
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const ed = generateKeyPairSync('ed25519');
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pem = ({ publicKey }: { publicKey: typeof ec.publicKey }) =>
    publicKey.export({ type: 'spki', format: 'pem' }) as string;

  test.each([
    ['ES256', ec],
    ['EdDSA', ed],
  ])('of %s, which the key cannot check, get 401, not a 503 that blames the gateway', async (alg, { privateKey }) => {
    const ask = await behind(jwtAuth({ publicKey: pem(rsa) }));
    const token = await new SignJWT({ sub: 'a', exp: inAMinute() }).setProtectedHeader({ alg }).sign(privateKey);
    expect((await ask(`Authorization: Bearer ${token}`)).status).toBe(401);
  });

  test.each([
    [() => pem(generateKeyPairSync('rsa', { modulusLength: 1024 })), /at least 2048 bits, got 1024/],
    [() => pem(generateKeyPairSync('x25519')), /no accepted algorithm fits publicKey, a key of x25519/],
    [() => pem(generateKeyPairSync('ec', { namedCurve: 'secp256k1' })), /a key of secp256k1/],
  ])('%#: a key that could check none throws at construction', (publicKey, message) => {
    expect(() => jwtAuth({ publicKey: publicKey() })).toThrow(message);
    expect(() => jwtAuth({ publicKey: pem(rsa), algorithms: ['ES256'] })).toThrow(/no accepted algorithm fits/);
  });
});

describe('a lookup in JavaScript', () => {
  const kinds: [string, (lookup: () => unknown) => Middleware, string][] = [
    ['apiKeyAuth()', (keys) => apiKeyAuth({ keys: keys as () => undefined }), 'X-API-Key: key'],
    ['basicAuth()', (users) => basicAuth({ users: users as () => undefined }), 'Authorization: Basic YTpi'],
  ];
  test.each(kinds)(
    '%s takes null for nothing, and anything without a name for a fault of the lookup',
    async (...kind) => {
      const [, make, line] = kind;
      for (const [lookup, status] of [
        [() => null, 401],
        [async () => null, 401],
        [async () => undefined, 401],
        [() => ({}), 503],
        [async () => 'acme', 503],
        [async () => Promise.reject(new Error('down')), 503],
      ] as const) {
        expect((await (await behind(make(lookup)))(line)).status).toBe(status);
      }
    },
  );

  test('a header that cannot exist throws at construction', () => {
    expect(() => basicAuth({ users: {}, consumerHeader: 'x user' })).toThrow(/consumerHeader must be a header name/);
  });
});

describe('forwardAuth()', () => {
  async function asked(lines: string[], trustProxy = false): Promise<IncomingHttpHeaders> {
    let question: IncomingHttpHeaders = {};
    const { url } = await serve((req, res) => {
      question = req.headers;
      res.end();
    });
    const auth = forwardAuth({ url });
    const app = express().set('trust proxy', trustProxy);
    app.use(auth as never, (_req, res) => void res.end());
    const { port } = await serve(app);
    const client = await RawClient.connect(port);
    client.send(`${[...lines, 'Host: gw', 'Connection: close'].join('\r\n')}\r\n\r\n`);
    await client.response();
    client.close();
    return question;
  }

  test('the service learns the path of a target in absolute form', async () => {
    expect((await asked(['GET http://gw/admin?a HTTP/1.1']))['x-forwarded-uri']).toBe('/admin?a');
    expect((await asked(['GET http://gw?a HTTP/1.1']))['x-forwarded-uri']).toBe('/?a');
  });

  const claims = [
    'X-Original-URL: /public',
    'X_Forwarded_Uri: /public',
    'X-Forwarded-User: root',
    'X-Real-IP: 1.2.3.4',
  ];
  const seen = (headers: IncomingHttpHeaders) =>
    Object.keys(headers).filter((name) => /original|x_|user$|real/.test(name));

  test('a client cannot claim another URL, address or user; a trusted proxy can name the user', async () => {
    expect(seen(await asked(['GET /admin HTTP/1.1', ...claims]))).toEqual([]);
    const trusted = await asked(['GET /admin HTTP/1.1', ...claims, 'X-Forwarded-Host: www.example.com'], true);
    expect(seen(trusted)).toEqual(['x-forwarded-user', 'x-real-ip']);
    // The client itself may have sent it, and the proxy passed it on.
    expect(trusted['x-real-ip']).toBe(trusted['x-forwarded-for']);
    expect(await asked(['GET / HTTP/1.1', 'Forwarded: for=1.2.3.4'], true)).not.toHaveProperty('forwarded');
    expect(trusted['x-forwarded-host']).toBe('www.example.com');
  });

  test("conditions on the client's cached copy are not for the service", async () => {
    const headers = await asked(['GET / HTTP/1.1', 'If-None-Match: *', 'Range: bytes=0-0', 'Cookie: a=1']);
    expect(headers).toMatchObject({ cookie: 'a=1' });
    for (const name of ['if-none-match', 'range']) expect(headers).not.toHaveProperty([name]);
  });

  test.each<[string, RequestListener]>([
    ['stalls', (_req, res) => void res.writeHead(401).write('x')],
    ['is cut', (_req, res) => void res.writeHead(401, { 'Content-Length': 9 }).write('x', () => res.destroy())],
  ])('with onError: allow, a refusal whose body %s stays one', async (_title, listener) => {
    const { url } = await serve(listener);
    const ask = await behind(forwardAuth({ url, timeoutMs: 2_000, onError: 'allow' }));
    expect((await ask()).status).toBe(503);
  });

  test.each(['deny', 'allow'] as const)(
    'onError: %s: a flood of requests opens no number of connections to the service, and no door',
    async (onError) => {
      const answers: (() => void)[] = [];
      const { url } = await serve((_req, res) => void answers.push(() => res.end()));
      const auth = forwardAuth({ url, onError, timeoutMs: 60_000 });
      const unbounded = jest.spyOn(globalThis, 'fetch').mockReturnValue(new Promise(() => {}));
      const req = () => ({ headers: {}, method: 'GET', url: '/', socket: {} }) as IncomingMessage;
      const res = { prependListener: () => {} } as unknown as ServerResponse;
      for (let i = 0; i < 999; i += 1) auth(req(), res, () => {});
      unbounded.mockRestore();
      const ask = await behind(auth);
      const last = ask();
      await eventually('the service is asked', () => answers.length === 1);
      expect((await ask()).status).toBe(503);
      answers[0]?.();
      expect((await last).status).toBe(200);
      const freed = ask();
      await eventually('the service is asked again', () => answers.length === 2);
      answers[1]?.();
      expect((await freed).status).toBe(200);
    },
  );

  test("the client's own header with the name of consumerHeader is gone", async () => {
    const { url } = await serve((_req, res) => void res.end());
    const ask = await behind(forwardAuth({ url, consumerHeader: 'x-user' }));
    expect(got(await ask('X-User: root'))).not.toHaveProperty('x-user');
  });

  test('a URL that leads back to the gateway is found out at the second request', async () => {
    let requests = 0;
    const app = express();
    const { url } = await serve(app);
    app.use((_req, _res, next) => {
      requests += 1;
      next();
    });
    app.use(forwardAuth({ url: `${url}/auth` }) as never);
    expect((await fetch(url)).status).toBe(503);
    expect(requests).toBe(2);
  });

  test('a URL with a password, which fetch takes for an error, throws at construction without showing it', () => {
    expect(() => forwardAuth({ url: 'http://me:hidden@auth.example/' })).toThrow(
      /^(?!.*hidden).*no password in the URL/,
    );
  });
});
