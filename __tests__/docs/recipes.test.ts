import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { WebSocket, WebSocketServer } from 'ws';
import { parseAllDocuments } from 'yaml';
import { readConfig } from '../../lib/gateway/config/config.ts';
import { answer, startBackend } from '../../lib/testing/index.ts';
import { versionOf } from '../differential/reference-proxy.ts';
import { Cleanup } from '../support/gateway.ts';
import { closedPort, listen } from '../support/servers.ts';
import { backendsAt, runExample } from './example.ts';
import { startNginx } from './nginx.ts';
import { blocksOf } from './pages.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const blocks = blocksOf('docs/recipes.md');
const backend = async (content: string) => cleanup.add(await startBackend({ otherwise: answer({ content }) }));
const text = async (response: Promise<Response>) => (await response).text();

test('authentication: only clients with the key pass, and the backend gets their name', async () => {
  const orders = await backend('orders');
  const example = cleanup.add(runExample('authentication', backendsAt(orders.url)));
  expect((await example.get('/', { 'x-user': 'alice' })).status).toBe(401);
  expect((await example.get('/', { authorization: 'Bearer guess' })).status).toBe(401);
  const admitted = await example.get('/', { authorization: 'Bearer a-long-random-key', 'x-user': 'root' });
  expect(admitted.status).toBe(200);
  expect(orders.requests).toHaveLength(1);
  expect(orders.requests[0]?.headers).toMatchObject({ 'x-user': 'alice' });
  expect(orders.requests[0]?.headers.authorization).toBeUndefined();
});

test('limits per tenant: each tenant has its own limit, and a POST counts twice', async () => {
  const { url } = await backend('ok');
  const example = cleanup.add(runExample('tenants', backendsAt(url)));
  const ask = async (tenant: string, method = 'GET') => (await example.get('/', { 'x-tenant': tenant }, method)).status;
  expect([await ask('initech', 'POST'), await ask('initech'), await ask('initech')]).toEqual([200, 200, 429]);
  for (let i = 0; i < 10; i += 1) expect(await ask('acme')).toBe(200);
});

test('canary: five of a hundred requests, until the weight changes', async () => {
  const [stable, canary] = [await backend('stable'), await backend('canary')];
  const example = cleanup.add(runExample('canary', backendsAt(stable.url, canary.url)));
  for (let i = 0; i < 100; i += 1) await text(example.get('/'));
  expect([stable.requests.length, canary.requests.length]).toEqual([95, 5]);
  const weights = await (await example.get('/canary/100', {}, 'PUT', 9090)).json();
  expect(weights).toEqual([
    { backend: stable.url, weight: 0 },
    { backend: canary.url, weight: 100 },
  ]);
  for (let i = 0; i < 10; i += 1) expect(await text(example.get('/'))).toBe('canary');
});

test('blue-green: all requests switch at once', async () => {
  const [blue, green] = [await backend('blue'), await backend('green')];
  const example = cleanup.add(runExample('blue-green', backendsAt(blue.url, green.url)));
  expect(await text(example.get('/'))).toBe('blue');
  expect((await example.get('/live/red', {}, 'PUT', 9090)).status).toBe(404);
  expect((await example.get('/live/green', {}, 'PUT', 9090)).status).toBe(204);
  for (let i = 0; i < 5; i += 1) expect(await text(example.get('/'))).toBe('green');
});

/** A backend that echoes over WebSockets. */
async function echo(): Promise<string> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  server.on('connection', (socket) => socket.on('message', (data) => socket.send(`echo ${data}`)));
  await once(server, 'listening');
  cleanup.add({
    close: () => {
      for (const client of server.clients) client.terminate();
      server.close();
    },
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function say(url: string, words: string): Promise<string> {
  const socket = new WebSocket(url);
  await once(socket, 'open');
  socket.send(words);
  const [data] = await once(socket, 'message');
  socket.terminate();
  return String(data);
}

test('WebSockets pass', async () => {
  const example = cleanup.add(runExample('websockets', backendsAt(await echo())));
  expect(await say(`ws://127.0.0.1:${await example.port()}/chat`, 'hello')).toBe('echo hello');
});

test('server-sent events arrive one by one, and other responses are compressed', async () => {
  const streams: (() => void)[] = [];
  const source = cleanup.add(
    await listen((req, res) => {
      if (req.url !== '/events') return void res.setHeader('content-type', 'text/plain').end('a'.repeat(5_000));
      res.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: one\n\n');
      streams.push(() => res.end('data: two\n\n'));
    }),
  );
  const example = cleanup.add(runExample('events', backendsAt(source.url)));
  const stream = await example.get('/events');
  const reader = (stream.body as ReadableStream<Uint8Array>).pipeThrough(new TextDecoderStream()).getReader();
  expect((await reader.read()).value).toBe('data: one\n\n');
  for (const end of streams) end();
  expect((await reader.read()).value).toBe('data: two\n\n');
  expect((await example.get('/page')).headers.get('content-encoding')).toMatch(/^(?:br|gzip)$/);
});

test('errors in the format of the app', async () => {
  const example = cleanup.add(
    runExample('error-format', { ...backendsAt(`http://127.0.0.1:${await closedPort()}`), 'limit: 100': 'limit: 1' }),
  );
  const first = await example.get('/');
  expect([first.status, await first.json()]).toEqual([
    502,
    { error: { status: 502, code: 'connection_refused', message: 'The backend could not be reached' } },
  ]);
  expect(await (await example.get('/')).json()).toEqual({
    error: { status: 429, code: 'rate_limited', message: 'Too many requests' },
  });
});

test('bodies of responses are changed on two paths', async () => {
  const bodies: Record<string, [string, string]> = {
    '/articles/1': ['application/json', '{"name":"a","cost":1}'],
    '/pages/1': ['text/html', '<a href="http://shop.internal/b">'],
    '/other': ['text/html', '<a href="http://shop.internal/b">'],
  };
  const shop = cleanup.add(
    await listen((req, res) => {
      const [type, body] = bodies[req.url ?? ''] ?? ['', ''];
      res.setHeader('content-type', type).end(body);
    }),
  );
  const example = cleanup.add(runExample('change-body', backendsAt(shop.url)));
  expect(await text(example.get('/articles/1'))).toBe('{"name":"a"}');
  expect(await text(example.get('/pages/1'))).toBe('<a href="https://shop.example/b">');
  expect(await text(example.get('/other'))).toBe('<a href="http://shop.internal/b">');
});

describe('behind a CDN', () => {
  const limited = { 'limit: 100': 'limit: 2' };
  const statuses = async (replacements: Record<string, string>) => {
    const { url } = await backend('ok');
    const example = cleanup.add(runExample('cdn', { ...backendsAt(url), ...limited, ...replacements }));
    const answers: number[] = [];
    for (const client of ['198.51.100.1', '198.51.100.2', '198.51.100.3', '198.51.100.1', '198.51.100.1']) {
      answers.push((await example.get('/', { 'x-forwarded-for': client })).status);
    }
    return answers;
  };

  test('clients that bypass the CDN cannot forge an address', async () => {
    expect(await statuses({})).toEqual([200, 200, 429, 429, 429]);
  });

  test('clients of the CDN are counted by the address that it sends', async () => {
    expect(await statuses({ '203.0.113.0/24': '127.0.0.0/8' })).toEqual([200, 200, 200, 200, 429]);
  });
});

describe('behind nginx', () => {
  const version = versionOf('nginx');
  if (version === undefined) process.stdout.write('skipped, there is no nginx: docs/recipes.md behind nginx\n');

  (version === undefined ? test.skip : test)('nginx sends the client address, and WebSockets pass', async () => {
    const server = cleanup.add(await listen((req, res) => void res.end(JSON.stringify(req.headers))));
    const sockets = new WebSocketServer({ server: server.server });
    sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(`echo ${data}`)));
    const example = cleanup.add(runExample('nginx', backendsAt(server.url)));
    const configuration = blocks.find(({ language }) => language === 'nginx')?.code ?? '';
    const { port } = cleanup.add(
      await startNginx(configuration.replace('127.0.0.1:8080', `127.0.0.1:${await example.port()}`)),
    );
    const answered = await fetch(`http://127.0.0.1:${port}/`, { headers: { 'x-forwarded-for': '198.51.100.7' } });
    expect(await answered.json()).toMatchObject({
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      'x-forwarded-host': `127.0.0.1:${port}`,
    });
    expect(await say(`ws://127.0.0.1:${port}/`, 'hello')).toBe('echo hello');
  });
});

describe('Kubernetes', () => {
  const manifests = parseAllDocuments(blocks.find(({ language }) => language === 'yaml')?.code ?? '').map((one) =>
    one.toJS(),
  );
  const [deployment] = manifests;
  const [container] = deployment.spec.template.spec.containers;
  const env = Object.fromEntries(container.env.map(({ name, value }: Record<string, string>) => [name, value]));

  test('the gateway accepts the variables of the manifest', () => {
    const config = readConfig(env);
    expect(config).toMatchObject({ backends: [env.BACKENDS], trustProxy: ['10.244.0.0/16'] });
    expect(deployment.spec.template.spec.terminationGracePeriodSeconds * 1_000).toBeGreaterThan(
      Number(env.SHUTDOWN_TIMEOUT_MS),
    );
  });

  test('selectors and ports match', () => {
    const { labels } = deployment.spec.template.metadata;
    const [, gateway, orders] = manifests;
    expect([deployment.spec.selector.matchLabels, gateway.spec.selector]).toEqual([labels, labels]);
    const ports = container.ports.map(({ name }: { name: string }) => name);
    expect(ports).toEqual(
      expect.arrayContaining([gateway.spec.ports[0].targetPort, container.readinessProbe.httpGet.port]),
    );
    expect(env.BACKENDS).toBe(
      `srv://_${orders.spec.ports[0].name}._tcp.${orders.metadata.name}.default.svc.cluster.local`,
    );
  });
});
