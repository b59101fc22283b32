import type { Socket } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import express from 'express';
import { circuitBreaker, type RoundRobinProxyOptions, roundRobinProxy } from 'expressway';
import { Cleanup } from '../support/gateway.ts';
import { pause } from '../support/pause.ts';
import { RawClient } from '../support/raw-client.ts';
import { answer, RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';
import { collectGarbage } from '../support/settled-heap.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const HANG: Script = () => undefined;
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

async function setUp(
  script: Script,
  options: Partial<RoundRobinProxyOptions> = {},
  first: express.RequestHandler = (_req, _res, next) => next(),
) {
  const backend = cleanup.add(await RecorderBackend.start(script));
  const proxy = cleanup.add(roundRobinProxy({ backends: [backend.url], retry: { attempts: 0 }, ...options }));
  const app = express().set('env', 'test');
  app.use(first, proxy);
  const { port } = cleanup.add(await listen(app));
  const get = async (target = '/') => {
    const client = cleanup.add(await RawClient.connect(port));
    client.send(`GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    return client.response();
  };
  return { backend, proxy, port, get };
}

test('a timeout of the route counts against the backend that did not respond', async () => {
  const route = circuitBreaker({ timeoutMs: 50 });
  const { proxy, get } = await setUp(HANG, { circuit: { consecutiveFailures: 1 } }, route);
  expect((await get()).status).toBe(504);
  expect(proxy.status()).toMatchObject([{ circuit: 'open', inFlight: 0 }]);
});

test('after the head of a response, idleTimeoutMs applies, and not responseTimeoutMs', async () => {
  const head = answer('HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n');
  const { get } = await setUp(head, { responseTimeoutMs: 1_000_000, idleTimeoutMs: 100 });
  expect((await get().catch(() => undefined))?.framingComplete ?? false).toBe(false);
});

test('requests that have ended are not kept while another one goes on', async () => {
  const seen: WeakRef<express.Request>[] = [];
  const { get, backend } = await setUp(
    (socket, { target }) => void (target !== '/held' && socket.write(OK)),
    {},
    (req, _res, next) => {
      seen.push(new WeakRef(req));
      next();
    },
  );
  void get('/held').catch(() => 'cut at the end of the test');
  await eventually('it is there', () => backend.requests.length === 1);
  for (let request = 0; request < 20; request += 1) expect((await get()).status).toBe(200);
  await eventually('only a few are left', () => {
    collectGarbage();
    return seen.filter((ref) => ref.deref() !== undefined).length < 10;
  });
});

test('a POST does not go to a kept connection that its backend has just closed', async () => {
  const kept = new Set<Socket>();
  const { get, port, backend } = await setUp(
    (socket) => {
      kept.add(socket);
      socket.write(OK);
    },
    {},
    (req, _res, next) => {
      if (req.method === 'POST') for (const socket of kept) socket.destroy();
      next();
    },
  );
  expect((await get()).status).toBe(200);
  const client = cleanup.add(await RawClient.connect(port));
  client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok');
  expect([(await client.response()).status, backend.requests.length]).toEqual([200, 2]);
});

test('bytes that are no response, on a kept connection: the request is not sent again', async () => {
  let served = 0;
  const { backend, get } = await setUp((socket) => {
    socket.write(served === 0 ? OK : 'no response\r\n\r\n');
    served += 1;
  });
  expect([(await get()).status, (await get()).status, served]).toEqual([200, 502, 2]);
  expect(backend.received[0]?.toString().match(/GET/g)).toHaveLength(2);
});

test('a kept connection that ends more than a second after the request counts against its backend', async () => {
  let served = 0;
  const { proxy, get } = await setUp(
    async (socket) => {
      served += 1;
      if (served === 1) return void socket.write(OK);
      await pause('longer than a close and a request that cross each other', 3_000);
      socket.destroy();
    },
    { circuit: { consecutiveFailures: 1 } },
  );
  expect([(await get()).status, (await get()).status, served]).toEqual([200, 502, 2]);
  expect(proxy.status()).toMatchObject([{ circuit: 'open' }]);
});

// A POST waits for two turns, in which closed connections are noticed.
test.each(['GET', 'POST'])(
  'a client that leaves before its %s is sent: the backend gets no request',
  async (method) => {
    const { proxy, port, backend } = await setUp(HANG, {}, (req, _res, next) => {
      next();
      // The connection to the backend takes a turn of the event loop at least.
      req.socket.destroy();
    });
    const client = cleanup.add(await RawClient.connect(port));
    client.send(`${method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n`);
    await client.closed();
    await eventually('the request is over', () => proxy.load().inFlight === 0 && proxy.status()[0]?.inFlight === 0);
    const next = cleanup.add(await RawClient.connect(port));
    next.send('GET /next HTTP/1.1\r\nHost: a\r\n\r\n');
    await next.closed();
    expect(backend.requests).toEqual([]);
  },
);
