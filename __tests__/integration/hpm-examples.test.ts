import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import express, { type RequestHandler } from 'express';
import { undiciTransport } from 'expressway';
import { createProxyMiddleware, type Plugin } from 'http-proxy-middleware';
import { WebSocket, WebSocketServer } from 'ws';
import { certificate, trustCertificate } from '../support/certificate.ts';
import { Cleanup } from '../support/gateway.ts';
import { RawClient, rawRequest } from '../support/raw-client.ts';
import { closedPort, eventually, listen, type RunningServer } from '../support/servers.ts';
import { expectWarnings } from '../support/warnings.ts';
import { type Backends, backend, EXAMPLES, type Example } from './hpm-example-cases.ts';

expectWarnings('WARN_EXPRESSWAY_PATH_FILTER');

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** By which client requests are made in this process; those of the tests themselves are sockets. */
let transports: string[] = [];
const byUndici = () => void transports.push('undici');
const byNode = () => void transports.push('native');
beforeEach(() => {
  transports = [];
  subscribe('undici:request:create', byUndici);
  subscribe('http.client.request.start', byNode);
});
afterEach(() => {
  unsubscribe('undici:request:create', byUndici);
  unsubscribe('http.client.request.start', byNode);
});

const listening = async (name: string): Promise<string> => cleanup.add(await listen(backend(name))).url;

/** Runs an example over a set of backends; gives what its clients got, and by which transport it went. */
async function run({ options, asked, before }: Example, at: Backends, plugins: Plugin[]) {
  const app = express();
  if (before !== undefined) app.use(before);
  app.use(createProxyMiddleware({ ...options(at), plugins }) as RequestHandler);
  const gateway = cleanup.add(await listen(app));
  transports = [];
  const got: string[] = [];
  let last: Awaited<ReturnType<typeof rawRequest>> | undefined;
  for (const [path, host = 'gw.example', json] of asked) {
    const content =
      json === undefined ? '' : `Content-Type: application/json\r\nContent-Length: ${json.length}\r\n\r\n${json}`;
    const head = `${json === undefined ? 'GET' : 'POST'} ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n`;
    last = await rawRequest(gateway.port, head + (content || '\r\n'));
    got.push(last.status === 404 ? '404' : `${last.status} ${last.content}`);
  }
  return { got, field: (name: string) => last?.field(name), transports: [...new Set(transports)] };
}

describe('the examples of http-proxy-middleware with undiciTransport()', () => {
  test.each(Object.keys(EXAMPLES))('%s', async (name) => {
    const example = EXAMPLES[name] as Example;
    cleanup.add(trustCertificate());
    const tls = cleanup.add(await listen(backend('tls'), createTlsServer(certificate, backend('tls'))));
    const [a, b, c] = [await listening('a'), await listening('b'), await listening('c')];
    const at = { a, b, c, tls: `https://localhost:${tls.port}`, gone: `http://127.0.0.1:${await closedPort()}` };
    const without = await run(example, at, []);
    const withIt = await run(example, at, [undiciTransport()]);
    expect(withIt.got).toEqual(example.got);
    expect(withIt.transports).toEqual([example.transport]);
    expect([without.got, without.transports]).toEqual([example.got, ['native']]);
    if (example.field !== undefined) expect(withIt.field(example.field[0])).toBe(example.field[1]);
  });

  const handler = (target: string) => createProxyMiddleware({ target, plugins: [undiciTransport()] });

  test('http-server, connect: without Express', async () => {
    const proxy = handler(await listening('a'));
    const gateway = cleanup.add(await listen((req, res) => void proxy(req, res)));
    const { status, content } = await rawRequest(gateway.port, 'GET /users HTTP/1.1\r\nHost: gw.example\r\n\r\n');
    expect([status, content.toString(), transports]).toEqual([200, 'a GET /users gw.example', ['undici']]);
  });

  test('sse: events one by one', async () => {
    const streams: ServerResponse[] = [];
    const source = cleanup.add(
      await listen((_req: IncomingMessage, res) => {
        res.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: one\n\n');
        streams.push(res);
      }),
    );
    const app = express().use('/sse', handler(source.url) as RequestHandler);
    const gateway = cleanup.add(await listen(app));
    const client = cleanup.add(await RawClient.connect(gateway.port));
    client.send('GET /sse/prices HTTP/1.1\r\nHost: gw.example\r\n\r\n');
    await client.until((buffer) => buffer.includes('data: one'));
    streams[0]?.end('data: two\n\n');
    await client.until((buffer) => buffer.includes('data: two'));
    expect(transports).toEqual(['undici']);
  });

  async function echoes(): Promise<RunningServer> {
    const sockets = new WebSocketServer({ noServer: true });
    const server = createServer(backend('ws'));
    server.on('upgrade', (req, socket, head) =>
      sockets.handleUpgrade(req, socket, head, (opened) =>
        opened.on('message', (data) => opened.send(`${req.url} ${req.headers['x-special'] ?? '-'} ${data}`)),
      ),
    );
    return cleanup.add(await listen(backend('ws'), server));
  }

  test('websocket: paths, and on.proxyReqWs, over the native transport', async () => {
    const { url } = await echoes();
    const proxy = createProxyMiddleware({
      target: url,
      ws: true,
      pathFilter: '/socket',
      pathRewrite: { '^/socket': '' },
      on: { proxyReqWs: (request) => void request.setHeader('x-special', 'foobar') },
      plugins: [undiciTransport()],
    });
    const gateway = cleanup.add(await listen(express().use(proxy as RequestHandler)));
    gateway.server.on('upgrade', proxy.upgrade);
    const socket = new WebSocket(`ws://127.0.0.1:${gateway.port}/socket/chat`);
    await once(socket, 'open');
    const asked = transports.length;
    socket.send('hello');
    const [data] = await once(socket, 'message');
    socket.terminate();
    expect(String(data)).toBe('/chat foobar hello');
    expect(asked).toBeGreaterThan(0);
    expect(transports).not.toContain('undici');
  });

  test('websocket: ws: true subscribes by itself, after the first request', async () => {
    const { url } = await echoes();
    const proxy = createProxyMiddleware({ target: url, ws: true, plugins: [undiciTransport()] });
    const gateway = cleanup.add(await listen(express().use(proxy as RequestHandler)));
    expect((await rawRequest(gateway.port, 'GET / HTTP/1.1\r\nHost: gw.example\r\n\r\n')).status).toBe(200);
    await eventually('it has subscribed', () => gateway.server.listenerCount('upgrade') > 0);
    const socket = new WebSocket(`ws://127.0.0.1:${(gateway.server.address() as AddressInfo).port}/chat`);
    await once(socket, 'open');
    socket.send('hello');
    const [data] = await once(socket, 'message');
    socket.terminate();
    expect(String(data)).toBe('/chat - hello');
  });
});

test('docs/http-proxy-middleware.md names the transport of each example', () => {
  const page = readFileSync(new URL('../../docs/http-proxy-middleware.md', import.meta.url), 'utf8');
  const [, table = ''] = page.split('## Their examples');
  const rows = [...table.matchAll(/^\| ([^|]+) \| (undici|native) \|/gm)].map(([, name, transport]) => [
    name,
    transport,
  ]);
  const own = Object.entries(EXAMPLES).map(([name, { transport }]) => [name, transport]);
  expect(rows).toEqual([...own, ['http-server, connect', 'undici'], ['sse', 'undici'], ['websocket', 'native']]);
});
