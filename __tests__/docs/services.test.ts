import { createHash } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import express from 'express';
import { serviceRouter } from 'expressway';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { WebSocket, WebSocketServer } from 'ws';
import { parse } from 'yaml';
import { Cleanup } from '../support/gateway.ts';
import { describeWithRedis } from '../support/redis.ts';
import { listen } from '../support/servers.ts';
import { backendsAt, type Example, runExample } from './example.ts';
import { type Block, blocksOf } from './pages.ts';

const blocks = blocksOf('docs/services.md');
const yaml = blocks.find(({ language }) => language === 'yaml') as Block;
const program = blocks.find(({ run }) => run === 'services') as Block;

test('docs/services.md: the whole example is the same in YAML and in code', () => {
  const [, object = ''] = /const declaration: ServiceRouterOptions = (\{.*?\n\});/s.exec(program.code) ?? [];
  const declared: unknown = JSON.parse(JSON.stringify(runInNewContext(`(${object})`)));
  expect(declared).toEqual(parse(yaml.code));
});

test('docs/services.md: the canary gets its share, its testers, and keeps its clients', async () => {
  const example = blocks.find(({ language, code }) => language === 'yaml' && code.includes('shop-canary')) as Block;
  const servers = await Promise.all(
    ['shop', 'shop', 'shop-canary'].map((name) => listen((_req, res) => void res.end(name))),
  );
  const text = example.code
    .replaceAll(/http:\/\/localhost:300(\d)/g, (_whole, port) => servers[Number(port) - 1]?.url ?? '')
    .replace(/\$\{SESSION_SECRET\}/, 'a secret of the test, 40 characters long');
  const router = serviceRouter(parse(text));
  const gateway = await listen(express().use(router));
  const random = jest.spyOn(Math, 'random');
  const ask = async (headers = {}) => {
    const response = await fetch(gateway.url, { headers });
    return { body: await response.text(), cookie: response.headers.get('set-cookie')?.split(';')[0] ?? '' };
  };
  try {
    random.mockReturnValue(0.96);
    const { body, cookie } = await ask();
    expect(body).toBe('shop-canary');
    random.mockReturnValue(0.94);
    expect((await ask({ cookie })).body).toBe('shop-canary');
    expect((await ask()).body).toBe('shop');
    expect((await ask({ 'x-canary': 'always' })).body).toBe('shop-canary');
  } finally {
    random.mockRestore();
    for (const one of [gateway, router, ...servers]) await one.close();
  }
});

describeWithRedis('docs/services.md: the whole example', (redis) => {
  const cleanup = new Cleanup();
  let gateway: Example;
  let token = '';

  const backend = async (name: string, listener?: RequestListener) => {
    const echo: RequestListener = ({ url, headers }, res) => {
      res.setHeader('Content-Type', 'application/json');
      res.end(JSON.stringify({ name, url, user: headers['x-user'], consumer: headers['x-consumer'] }));
    };
    return cleanup.add(await listen(listener ?? echo));
  };

  beforeAll(async () => {
    const { publicKey, privateKey } = await generateKeyPair('ES256');
    const keys = [{ ...(await exportJWK(publicKey)), alg: 'ES256', kid: 'one' }];
    const jwks = await backend('jwks', (_req, res) => void res.end(JSON.stringify({ keys })));
    token = await new SignJWT({ sub: 'alice' })
      .setProtectedHeader({ alg: 'ES256', kid: 'one' })
      .setIssuer('https://login.example')
      .setAudience('api')
      .setExpirationTime('10m')
      .sign(privateKey);
    const hash = (key: string) => createHash('sha256').update(key).digest('hex');
    const file = join(mkdtempSync(join(tmpdir(), 'services-')), 'api-keys.json');
    writeFileSync(
      file,
      JSON.stringify([
        { sha256: hash('gold key'), consumer: 'acme', plan: 'gold' },
        { sha256: hash('free key'), consumer: 'small', plan: 'free' },
      ]),
    );
    const chat = await backend('chat');
    const sockets = new WebSocketServer({ server: chat.server });
    sockets.on('connection', (socket) => socket.on('message', (message) => socket.send(`echo ${message}`)));
    const feed = await backend('feed', (_req, res) => {
      res.writeHead(200, { 'Content-Type': 'text/event-stream' });
      res.write('data: first\n\n');
    });
    const plain = [await backend('users'), await backend('users'), await backend('orders'), await backend('web')];
    const all = [...plain, chat, feed, jwks].map(({ url }) => url);
    gateway = cleanup.add(
      runExample('services', { ...backendsAt(...all), 'api-keys.json': file, 'redis://localhost:6379': redis.url }),
    );
    await gateway.port();
  });

  afterAll(() => cleanup.run());

  const json = async (response: Response) => [response.status, await response.json()];

  test('users and orders want a token, and learn who it belongs to', async () => {
    expect((await gateway.get('/api/users/1')).status).toBe(401);
    const authorization = `Bearer ${token}`;
    expect(await json(await gateway.get('/api/users/1', { authorization, 'x-user': 'mallory' }))).toEqual([
      200,
      { name: 'users', url: '/api/users/1', user: 'alice' },
    ]);
    expect(await json(await gateway.get('/api/orders', { authorization }))).toEqual([
      200,
      { name: 'orders', url: '/api/orders', user: 'alice' },
    ]);
  });

  test('partners have API keys, and limits by their plan', async () => {
    const remaining = async (key: string) => {
      const response = await gateway.get('/partners/orders/7', { 'x-api-key': key });
      expect(await response.json()).toMatchObject({ name: 'orders', url: '/api/orders/7' });
      return response.headers.get('ratelimit');
    };
    expect(await remaining('gold key')).toMatch(/r=5999/);
    expect(await remaining('free key')).toMatch(/r=59(?!\d)/);
    expect((await gateway.get('/partners/orders/7', { 'x-api-key': 'other' })).status).toBe(401);
    expect((await gateway.get('/partners/orders/7', { 'x-api-key': 'gold key' }, 'POST')).status).toBe(200);
  });

  test('pages of the app may call the API', async () => {
    const preflight = { origin: 'https://app.example', 'access-control-request-method': 'GET' };
    const response = await gateway.get('/api/users', preflight, 'OPTIONS');
    expect([response.status, response.headers.get('access-control-allow-origin')]).toEqual([
      204,
      'https://app.example',
    ]);
  });

  test('the chat is a WebSocket, the feed an event stream, all else the web front end', async () => {
    const socket = new WebSocket((await gateway.url('/chat')).replace('http', 'ws'));
    await new Promise((resolve) => socket.once('open', resolve));
    const reply = new Promise((resolve) => socket.once('message', (data) => resolve(String(data))));
    socket.send('hello');
    expect(await reply).toBe('echo hello');
    socket.close();

    const abort = new AbortController();
    const feed = await fetch(await gateway.url('/feed'), { signal: abort.signal });
    const { value } = (await feed.body?.getReader().read()) ?? {};
    expect(new TextDecoder().decode(value)).toBe('data: first\n\n');
    abort.abort();

    expect(await json(await gateway.get('/about'))).toEqual([200, { name: 'web', url: '/about' }]);
    expect(await (await gateway.get('/healthz')).text()).toBe('ok');
  });

  test('an error is a page for a browser', async () => {
    const response = await gateway.get('/api/users', { accept: 'text/html' });
    expect([response.status, response.headers.get('content-type')]).toEqual([401, 'text/html; charset=utf-8']);
  });
});
