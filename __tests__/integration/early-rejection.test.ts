import { createServer, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterEach, expect, test } from '@jest/globals';
import express from 'express';
import {
  GatewayEvents,
  type HardenServerOptions,
  hardenServer,
  type LoadSheddingOptions,
  loadShedding,
  OptionsError,
  type RejectedEarlyEvent,
} from 'expressway';
import { certificate } from '../support/certificate.ts';
import { endsNow, ForcedShedding, respondsAtOnce } from '../support/forced-shedding.ts';
import { Cleanup } from '../support/gateway.ts';
import { pause } from '../support/pause.ts';
import { RawClient } from '../support/raw-client.ts';
import { eventually, listen } from '../support/servers.ts';
import { hold } from '../support/stall.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const H = 'Host: gw.example\r\n';
const get = (target: string, fields = '') => `GET ${target} HTTP/1.1\r\n${H}${fields}\r\n`;

class Site {
  readonly forced = cleanup.add(new ForcedShedding());
  /** Requests that the app has seen. */
  readonly seen: string[] = [];
  readonly told: RejectedEarlyEvent[] = [];
  readonly #options: LoadSheddingOptions;
  readonly #bounds: HardenServerOptions;

  constructor(options: LoadSheddingOptions = {}, bounds: HardenServerOptions = {}) {
    this.#options = options;
    this.#bounds = bounds;
  }

  async open(isSecure = false) {
    const events = new GatewayEvents();
    events.on('rejectedEarly', (event) => this.told.push(event));
    const shedding = loadShedding({ ...this.#options, events });
    const app = express();
    app.use((req, _res, next) => {
      this.seen.push(`${req.method} ${req.url}`);
      next();
    });
    app.use(shedding);
    app.use((req, res) => void req.resume().on('end', () => res.end('served')));
    const made = isSecure ? (createTlsServer(certificate, app) as unknown as Server) : createServer(app);
    const server = hardenServer(made, this.#bounds);
    shedding.rejectEarly(server);
    const { port } = cleanup.add(await listen(() => {}, server));
    return { port, shedding, server };
  }
}

/** A connection that has had a response. */
async function known(port: number): Promise<RawClient> {
  const client = cleanup.add(await RawClient.connect(port));
  client.send(get('/first'));
  expect((await client.response()).status).toBe(200);
  return client;
}

test('requests are rejected before the app sees them, on a connection that stays open', async () => {
  const site = new Site({ retryAfterMs: 2_500 });
  const { port, shedding } = await site.open();
  const client = await known(port);
  site.forced.isShedding = true;
  for (let count = 0; count < 3; count += 1) {
    client.send(get('/a'));
    const response = await client.response();
    expect([response.status, response.field('retry-after'), response.field('content-type')]).toEqual([
      503,
      '3',
      'application/problem+json',
    ]);
    expect(response.field('date')).toMatch(/GMT$/);
    expect(JSON.parse(response.content.toString())).toMatchObject({ status: 503, cause: 'load_shed' });
  }
  client.send(`HEAD /a HTTP/1.1\r\n${H}\r\n`);
  const head = await client.response('HEAD');
  expect([head.status, Number(head.field('content-length')) > 0]).toEqual([503, true]);
  client.send(`POST /a HTTP/1.1\r\n${H}Content-Length: 5\r\n\r\nhello`);
  expect((await client.response()).status).toBe(503);
  site.forced.isShedding = false;
  client.send(get('/last'));
  expect((await client.response()).content.toString()).toBe('served');
  expect(site.seen).toEqual(['GET /first', 'GET /last']);
  expect(shedding.status()).toMatchObject({ rejected: 5, inProgress: 0 });
  const sum = (of: (event: RejectedEarlyEvent) => number) => site.told.reduce((all, event) => all + of(event), 0);
  const requests = (method: string) => sum((event) => event.requests.get(method) ?? 0);
  await eventually('all are told', () => requests('POST') === 1);
  expect(['GET', 'HEAD', 'POST'].map(requests)).toEqual([3, 1, 1]);
  expect(site.told[0]?.cause).toBe('load_shed');
  expect(sum(({ bytesIn }) => bytesIn)).toBeGreaterThan(5 * 30);
  expect(sum(({ bytesOut }) => bytesOut)).toBeGreaterThan(5 * 200);
});

test.each<[string, string, string]>([
  ['a request that ends the connection', get('/a', 'Connection: close\r\n'), 'GET /a'],
  ['the first one of two at once', get('/a') + get('/b'), 'GET /a'],
  ['chunked content', `POST /a HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`, 'POST /a'],
])('%s is rejected by the middleware', async (_what, bytes, seen) => {
  const site = new Site();
  const { port } = await site.open();
  const client = await known(port);
  site.forced.isShedding = true;
  client.send(bytes);
  expect((await client.response()).status).toBe(503);
  expect(site.seen.slice(1)).toEqual([seen]);
});

test('the first request of a connection is left to the middleware: afterwards Node no longer waits for it', async () => {
  const site = new Site({}, { headTimeoutMs: 2_000, checkIntervalMs: 50 });
  const { port } = await site.open();
  site.forced.isShedding = true;
  const client = cleanup.add(await RawClient.connect(port));
  client.send(get('/a'));
  expect((await client.response()).status).toBe(503);
  expect(site.seen).toEqual(['GET /a']);
  const until = Date.now() + 3_000;
  while (Date.now() < until) {
    client.send(get('/b'));
    expect((await client.response()).status).toBe(503);
    await pause('the pace of the client', 20);
  }
  expect(site.seen).toEqual(['GET /a']);
});

test('requests that the parser rejects are still rejected by it', async () => {
  const site = new Site();
  const { port } = await site.open();
  const client = await known(port);
  site.forced.isShedding = true;
  client.send(`GET /a HTTP/1.1\r\n${H}Content-Length : 5\r\n\r\n`);
  expect((await client.response()).status).toBe(400);
  await client.closed();
});

test('a request is judged once: after admission by its bytes, the middleware admits it, too', async () => {
  let asked = 0;
  const priority: LoadSheddingOptions['priority'] = ({ method, url, headers }) => {
    asked += 1;
    expect([method, url, headers.host, headers['x-kind']]).toEqual(['GET', '/a?b', 'gw.example', 'k']);
    return 'high';
  };
  const site = new Site({ priority });
  const { port } = await site.open();
  const client = cleanup.add(await RawClient.connect(port));
  for (const isShedding of [false, true, true]) {
    site.forced.isShedding = isShedding;
    site.forced.rejects = false;
    client.send(get('/a?b', 'X-Kind: k\r\n'));
    expect((await client.response()).status).toBe(200);
  }
  expect(asked).toBe(3);
  site.forced.rejects = true;
  client.send(get('/a?b', 'X-Kind: k\r\n'));
  expect((await client.response()).status).toBe(503);
  expect([asked, site.seen.length]).toEqual([4, 3]);
});

test('in a long turn of the event loop, a client that repeats a rejected request at once waits for the end of the turn', async () => {
  const site = new Site();
  const { port, server } = await site.open();
  const sockets: Socket[] = [];
  server.on('connection', (socket) => sockets.push(socket));
  const clients = [await known(port), await known(port), await known(port)] as const;
  const [repeating, other, leaving] = sockets as [Socket, Socket, Socket];
  site.forced.isShedding = true;
  expect([
    respondsAtOnce(repeating, get('/1')),
    respondsAtOnce(repeating, get('/2')),
    respondsAtOnce(leaving, get('/1')),
  ]).toEqual([true, true, true]);
  hold(80);
  expect([
    respondsAtOnce(repeating, get('/3')),
    respondsAtOnce(other, get('/1')),
    respondsAtOnce(leaving, get('/2')),
  ]).toEqual([false, true, false]);
  site.forced.rejects = false;
  // It must not get its response before the one to /3.
  expect(respondsAtOnce(repeating, get('/4'))).toBe(false);
  const errors: Error[] = [];
  server.on('clientError', (error) => errors.push(error));
  leaving.end();
  const responses = [];
  for (let count = 0; count < 4; count += 1) responses.push(await clients[0].response());
  expect(responses.map(({ status }) => status)).toEqual([503, 503, 503, 200]);
  expect((await clients[1].response()).status).toBe(503);
  expect(site.seen).toEqual([...Array(3).fill('GET /first'), 'GET /4']);
  expect(errors).toEqual([]);
  // The next turn is not long.
  site.forced.rejects = true;
  expect([respondsAtOnce(repeating, get('/5')), respondsAtOnce(repeating, get('/6'))]).toEqual([true, true]);
});

test('a client that ends its side right after its request gets the delayed rejection', async () => {
  const site = new Site();
  const { port, server } = await site.open();
  const connected = new Promise<Socket>((resolve) => server.once('connection', resolve));
  const client = await known(port);
  const socket = await connected;
  site.forced.isShedding = true;
  expect(respondsAtOnce(socket, get('/1'))).toBe(true);
  hold(80);
  expect(respondsAtOnce(socket, get('/2'))).toBe(false);
  endsNow(socket);
  expect([(await client.response()).status, (await client.response()).status]).toEqual([503, 503]);
  await client.closed();
  expect([client.closedBy, client.pending.length]).toEqual(['FIN', 0]);
});

test('a priority function that throws is an error for the app, as ever', async () => {
  const site = new Site({
    priority: ({ url }) => {
      if (url === '/first') return 'normal';
      throw new TypeError('no');
    },
  });
  const { port } = await site.open();
  const client = await known(port);
  site.forced.isShedding = true;
  client.send(get('/a'));
  expect((await client.response()).status).toBe(500);
});

test('a client that does not read its responses does not fill the memory', async () => {
  const site = new Site();
  const { port, server } = await site.open();
  let written = () => 0;
  server.on('connection', (socket) => {
    written = () => socket.writableLength;
  });
  const client = await known(port);
  site.forced.isShedding = true;
  client.socket.pause();
  let most = 0;
  for (let count = 0; count < 20_000 && client.socket.writableLength < 1_000_000; count += 1) {
    client.send(get('/a').repeat(3));
    if (count % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    most = Math.max(most, written());
  }
  expect(most).toBeLessThan(1_000_000);
});

test('a server that shuts down rejects by the middleware, which ends the connection', async () => {
  const site = new Site();
  const { port, server } = await site.open();
  const client = await known(port);
  // A request in progress keeps the connection open.
  client.send(`POST /a HTTP/1.1\r\n${H}Content-Length: 5\r\n\r\nhel`);
  await eventually('it is in progress', () => site.seen.length === 2);
  server.close();
  client.send('lo');
  expect((await client.response()).status).toBe(200);
  site.forced.isShedding = true;
  client.send(get('/b'));
  await eventually(
    'the app sees it, or the connection is closed',
    () => site.seen.length === 3 || client.closedBy !== undefined,
  );
  expect(site.told).toEqual([]);
});

test('over TLS', async () => {
  const site = new Site();
  const { port } = await site.open(true);
  const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false });
  cleanup.add({ close: () => void socket.destroy() });
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1');
  });
  socket.write(get('/first'));
  await eventually('it is served', () => text.endsWith('served'));
  site.forced.isShedding = true;
  socket.write(get('/a'));
  await eventually('it is rejected', () => text.includes('load_shed'));
  expect(site.seen).toEqual(['GET /first']);
});

test('a server without the bounds that it needs is refused', () => {
  const shedding = loadShedding();
  expect(() => shedding.rejectEarly(createServer())).toThrow(OptionsError);
  expect(() => shedding.rejectEarly(hardenServer(createServer(), { maxRequestsInProgress: 0 }))).toThrow(
    /hardenServer\(server\) first/,
  );
});
