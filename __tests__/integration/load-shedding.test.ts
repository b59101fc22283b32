import { AsyncLocalStorage } from 'node:async_hooks';
import { createServer, IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { afterEach, expect, jest, test } from '@jest/globals';
import express from 'express';
import {
  GatewayEvents,
  type LoadSheddingChangeEvent,
  type LoadSheddingOptions,
  loadShedding,
  observability,
} from 'expressway';
import { endsNow, ForcedShedding, respondsAtOnce } from '../support/forced-shedding.ts';
import { Cleanup } from '../support/gateway.ts';
import { RawClient } from '../support/raw-client.ts';
import { eventually, listen } from '../support/servers.ts';
import { hold } from '../support/stall.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** An app that keeps the event loop busy for some milliseconds per request, and holds requests for `/held` until they are let go. */
async function site(options: LoadSheddingOptions) {
  const changes: LoadSheddingChangeEvent[] = [];
  const events = new GatewayEvents();
  events.on('loadSheddingChange', (change) => changes.push(change));
  const shedding = loadShedding({ ...options, events });
  const held: (() => void)[] = [];
  const app = express();
  app.get('/healthz', (_req, res) => void res.end('well'));
  app.use(shedding);
  app.get('/held', (_req, res) => void held.push(() => res.end('held')));
  app.get('/busy', (_req, res) => {
    const from = process.cpuUsage();
    for (let used = 0; used < 10_000; ) used = process.cpuUsage(from).user;
    res.end('busy');
  });
  app.use((_req, res) => void res.end('ok'));
  const { port } = cleanup.add(await listen(() => {}, createServer(app)));
  return { port, shedding, changes, held };
}

const get = (target: string, fields = '') => `GET ${target} HTTP/1.1\r\nHost: gw.example\r\n${fields}\r\n`;

/** Asks on one connection, again and again, until it is told to stop. */
async function asking(port: number, request: string, isOver: () => boolean): Promise<number[]> {
  const client = cleanup.add(await RawClient.connect(port));
  const statuses: number[] = [];
  while (!isOver()) {
    client.send(request);
    statuses.push((await client.response()).status);
  }
  return statuses;
}

test('while the event loop is late requests get 503 at once, important ones last; afterwards all are let in again', async () => {
  const { port, shedding, changes } = await site({
    // A process that has just started may run four times as late.
    maxDelayMs: 30,
    priority: (req) => (req.headers['x-important'] === undefined ? 'normal' : 'high'),
  });
  let isOver = false;
  const normal = Array.from({ length: 20 }, () => asking(port, get('/busy'), () => isOver));
  const high = asking(port, get('/busy', 'X-Important: yes\r\n'), () => isOver);
  await eventually('it sheds for a while', () => shedding.status().rejected >= 250, 60_000);

  const client = cleanup.add(await RawClient.connect(port));
  client.send(get('/healthz'));
  expect((await client.response()).status).toBe(200);
  isOver = true;
  const ofNormal = (await Promise.all(normal)).flat();
  const ofHigh = await high;
  const partOf = (statuses: number[]) => statuses.filter((status) => status === 200).length / statuses.length;
  expect(new Set(ofNormal)).toEqual(new Set([200, 503]));
  expect(partOf(ofHigh)).toBeGreaterThan(partOf(ofNormal));
  expect(changes[0]).toMatchObject({ isShedding: true });

  await eventually('it lets all in again', () => !shedding.status().isShedding);
  expect(changes.at(-1)).toMatchObject({ isShedding: false });
  expect(shedding.status()).toMatchObject({ share: 1, inProgress: 0 });
  client.send(get('/'));
  expect((await client.response()).status).toBe(200);
});

test('in a turn of the event loop that does not end, requests are rejected as well', () => {
  jest.useFakeTimers({ now: 1e12 });
  let cpuMs = 0;
  jest.spyOn(process, 'cpuUsage').mockImplementation((since) => ({
    user: cpuMs * 1_000 - (since?.user ?? 0),
    system: 0,
  }));
  cleanup.add({
    close() {
      jest.useRealTimers();
      jest.restoreAllMocks();
    },
  });
  const shedding = loadShedding();
  let requests = 0;
  for (; shedding.status().rejected === 0 && requests < 2_000; requests += 1) {
    const req = new IncomingMessage(new Socket());
    shedding(req, new ServerResponse(req), () => {
      cpuMs += 1;
      jest.setSystemTime(Date.now() + 1);
    });
  }
  expect(shedding.status()).toMatchObject({ isShedding: true, rejected: 1 });
  // A process that has just started may run 400 ms late.
  expect(requests).toBeGreaterThan(400);
  expect(requests).toBeLessThan(450);
});

test('clients that wait for each response, with a new connection for each request, are no overload', async () => {
  const { port, shedding } = await site({});
  const statuses = new Map<number, number>();
  let left = 3_000;
  const client = async () => {
    while (left > 0) {
      left -= 1;
      const connection = await RawClient.connect(port);
      connection.send(get('/', 'Connection: close\r\n'));
      const { status } = await connection.response();
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
      connection.close();
    }
  };
  await Promise.all(Array.from({ length: 24 }, client));
  expect([...statuses]).toEqual([[200, 3_000]]);
  expect(shedding.status()).toMatchObject({ share: 1, rejected: 0 });
});

test('maxInProgress: one more gets 503 with Retry-After, even with an idle event loop; the least important requests have the fewest places', async () => {
  const { port, shedding, held } = await site({
    maxInProgress: 10,
    retryAfterMs: 2_500,
    priority: (req) => (req.url?.endsWith('low') ? 'low' : req.url?.endsWith('high') ? 'high' : 'normal'),
  });
  const ask = async (target: string) => {
    const client = cleanup.add(await RawClient.connect(port));
    client.send(get(target));
    return client;
  };
  for (let n = 1; n <= 8; n += 1) {
    await ask('/held');
    await eventually('it is in progress', () => held.length === n);
  }
  const low = await (await ask('/low')).response();
  expect([low.status, low.field('retry-after'), low.field('content-type')]).toEqual([
    503,
    '3',
    'application/problem+json',
  ]);
  expect(JSON.parse(low.content.toString())).toMatchObject({ status: 503, cause: 'load_shed' });
  expect((await (await ask('/normal')).response()).status).toBe(200);
  await ask('/held');
  await eventually('it is in progress', () => held.length === 9);
  expect((await (await ask('/normal')).response()).status).toBe(503);
  expect((await (await ask('/high')).response()).status).toBe(200);
  expect(shedding.status()).toMatchObject({ isShedding: false, inProgress: 9, rejected: 2 });
  for (const letGo of held) letGo();
  await eventually('nothing is in progress', () => shedding.status().inProgress === 0);
});

test('a rejected request leaves its connection open, and is an event', async () => {
  const rejected: unknown[] = [];
  const { port, held, shedding } = await site({ maxInProgress: 1 });
  shedding.events.on('rejected', ({ outcome }) => rejected.push(outcome));
  const first = cleanup.add(await RawClient.connect(port));
  first.send(get('/held'));
  await eventually('it is in progress', () => held.length === 1);
  const second = cleanup.add(await RawClient.connect(port));
  second.send(get('/'));
  expect((await second.response()).status).toBe(503);
  expect(rejected).toEqual([{ kind: 'rejected', cause: 'load_shed', retryAfterMs: 1_000 }]);
  held[0]?.();
  await first.response();
  second.send(get('/'));
  expect((await second.response()).status).toBe(200);
});

test('in a long turn of the event loop, a client that repeats a rejected request at once gets its response after the turn', async () => {
  const forced = cleanup.add(new ForcedShedding());
  const events = new GatewayEvents();
  const context = new AsyncLocalStorage<string>();
  const told: (string | undefined)[] = [];
  events.on('rejected', () => told.push(context.getStore()));
  const app = express();
  // Before the app's own context is there.
  app.use(observability());
  app.use((req, res, next) => {
    if (req.url === '/throws') {
      res.writeHead = () => {
        throw new Error('of the app');
      };
    }
    if (req.url === '/responded') setImmediate(() => res.writeHead(204).end());
    context.run(req.url, next);
  });
  app.use(loadShedding({ events }));
  app.use((_req, res) => void res.end('served'));
  const server = createServer(app);
  const sockets: Socket[] = [];
  server.on('connection', (socket) => sockets.push(socket));
  const { port } = cleanup.add(await listen(() => {}, server));
  const clients = [];
  for (let count = 0; count < 5; count += 1) {
    const client = cleanup.add(await RawClient.connect(port));
    client.send(get('/first'));
    expect((await client.response()).status).toBe(200);
    clients.push(client);
  }
  const [repeating, other, throwing, responded, ending] = clients as [
    RawClient,
    RawClient,
    RawClient,
    RawClient,
    RawClient,
  ];
  const reads = (index: number, target: string) => respondsAtOnce(sockets[index] as Socket, get(target));
  const emitWarning = jest.spyOn(process, 'emitWarning').mockReturnValue();
  cleanup.add({ close: () => emitWarning.mockRestore() });
  forced.isShedding = true;
  expect([0, 2, 3, 4].map((index) => reads(index, '/1'))).toEqual([true, true, true, true]);
  hold(80);
  expect(reads(1, '/1')).toBe(true);
  expect([reads(0, '/3'), reads(2, '/throws'), reads(3, '/responded'), reads(4, '/ending')]).toEqual([
    false,
    false,
    false,
    false,
  ]);
  endsNow(sockets[4] as Socket);
  const statuses = async (client: RawClient, count: number) => {
    const found = [];
    for (let n = 0; n < count; n += 1) found.push((await client.response()).status);
    return found;
  };
  expect(await statuses(repeating, 2)).toEqual([503, 503]);
  expect(await statuses(other, 1)).toEqual([503]);
  expect(await statuses(throwing, 1)).toEqual([503]);
  await throwing.closed();
  expect(await statuses(responded, 2)).toEqual([503, 204]);
  expect(await statuses(ending, 2)).toEqual([503, 503]);
  await ending.closed();
  expect(ending.closedBy).toBe('FIN');
  // In the context of its request, as in a turn that is not long.
  expect(told).toEqual(['/1', '/1', '/1', '/1', '/1', '/ending', '/3', '/throws']);
  expect(emitWarning.mock.calls).toEqual([
    [
      expect.stringContaining('responded to a request that loadShedding() rejected, and the connection was cut'),
      expect.objectContaining({ code: 'WARN_EXPRESSWAY_LISTENER' }),
    ],
  ]);
  // The next turn is not long.
  expect(reads(0, '/4')).toBe(true);
});

test('bad options are named, all in one error', () => {
  expect(() =>
    loadShedding({ maxDelayMs: -1, maxInProgress: -1, priority: 'high' as never, maxDelay: 1 } as never),
  ).toThrow(/loadShedding: .*maxDelayMs.*maxInProgress.*priority/s);
});

test.each<[string, () => unknown, string]>([
  ['throws', () => Reflect.get(undefined as never, 'x'), 'TypeError'],
  ['is asynchronous', async () => 'high', 'ERR_EXPRESSWAY_CALLBACK'],
  ['is asynchronous and rejects', () => Promise.reject(new Error('no')), 'ERR_EXPRESSWAY_CALLBACK'],
  ['gives no priority', () => 'hihg', 'ERR_EXPRESSWAY_CALLBACK'],
])('a priority function that %s is an error for the app, and no request is counted', async (_title, priority, code) => {
  const shedding = loadShedding({ priority: priority as () => 'high', maxInProgress: 1 });
  // A plain server, in which an error that is thrown would end the process.
  const server = createServer((req, res) =>
    shedding(req, res, (error) => res.end((error as { code?: string }).code ?? (error as Error).name)),
  );
  const { url } = cleanup.add(await listen(() => {}, server));
  for (let count = 0; count < 2; count += 1) expect(await (await fetch(url)).text()).toBe(code);
  expect(shedding.status()).toMatchObject({ inProgress: 0, rejected: 0 });
});
