import { AsyncLocalStorage } from 'node:async_hooks';
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import * as api from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import express from 'express';
import {
  circuitBreaker,
  GatewayEvents,
  observability,
  type RejectedEvent,
  type RoundRobinProxyOptions,
  roundRobinProxy,
  tracing,
  undiciTransport,
  upgradeHandler,
} from 'expressway';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { Cleanup } from '../support/gateway.ts';
import { afterRead } from '../support/pause.ts';
import { RawClient } from '../support/raw-client.ts';
import { type RecordedRequest, RecorderBackend } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(async () => {
  await cleanup.run();
  api.trace.disable();
  api.context.disable();
});

const USERS = ['alice', 'bob', 'carol', 'dave'];
const ROUNDS = 5;

const store = new AsyncLocalStorage<string>();

/** What one callback saw: `user` is whose request it was called for, where that is known. */
interface Sighting {
  readonly what: string;
  readonly user: string | undefined;
  readonly context: string | undefined;
  /** Of the span that is active, when requests are traced. */
  readonly trace: string | undefined;
}

interface Setup {
  readonly transport: 'roundRobinProxy()' | 'undiciTransport()';
  readonly isTraced?: boolean;
  readonly proxy?: Partial<RoundRobinProxyOptions>;
}

async function open({ transport, isTraced = false, proxy: options }: Setup) {
  if (isTraced) {
    const spanProcessors = [new SimpleSpanProcessor(new InMemorySpanExporter())];
    api.trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors }));
    api.context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  }
  const seen: Sighting[] = [];
  const see = (what: string, user?: unknown) =>
    seen.push({
      what,
      user: user === undefined ? undefined : String(user),
      context: store.getStore(),
      trace: api.trace.getActiveSpan()?.spanContext().traceId,
    });
  const waiting: [Socket, RecordedRequest][] = [];
  // All requests of a round are answered at once. The connection that was free last is taken first: the first client gets
  // the one that the last client opened.
  const backend = cleanup.add(
    await RecorderBackend.start((socket, request) => {
      socket.setNoDelay(true);
      waiting.push([socket, request]);
      if (waiting.length < USERS.length) return;
      for (const [to, { target }] of waiting.splice(0)) answer(to, target);
    }),
  );
  const events = new GatewayEvents();
  for (const name of ['forwarded', 'attemptFailed', 'rejected'] as const) {
    events.on(name, ({ exchange }: RejectedEvent) => see(name, exchange.req.headers['x-user']));
  }
  const sink = {
    started: () => see('sink: started'),
    attempt: () => see('sink: attempt'),
    finished: ({ req }: { req: { headers: Record<string, unknown> } }) => see('sink: finished', req.headers['x-user']),
  };
  const isFailure = () => {
    see('isFailure');
    return false;
  };
  const app = express();
  app.use((req, res, next) => {
    const user = String(req.headers['x-user']);
    store.run(user, () => {
      for (const name of ['finish', 'close', 'pipe'] as const) res.on(name, () => see(name, user));
      for (const name of ['setHeader', 'writeHead', 'write', 'end'] as const) {
        const method = res[name] as (...args: unknown[]) => unknown;
        Object.assign(res, {
          [name]: (...args: unknown[]) => {
            see(name, user);
            return method.apply(res, args);
          },
        });
      }
      next();
    });
  });
  app.use(observability({ metrics: sink as never, ...(isTraced && { tracing: tracing({ api: api as never }) }) }));
  app.use((req, _res, next) => {
    if (isTraced) see('the span of the request', req.headers['x-user']);
    next();
  });
  app.use(circuitBreaker({ isFailure, events }));
  if (transport === 'undiciTransport()') {
    const on = {
      error: (_error: Error, req: { headers: Record<string, unknown> }, res: unknown) => {
        see('error', req.headers['x-user']);
        (res as express.Response).status(502).end();
      },
    };
    app.use(
      createProxyMiddleware({ target: backend.url, plugins: [undiciTransport()], proxyTimeout: 300, on: on as never }),
    );
  } else {
    app.use(
      cleanup.add(
        roundRobinProxy({
          backends: [backend.url],
          events,
          isFailure,
          responseTimeoutMs: 300,
          retry: { attempts: 0 },
          ...options,
        }),
      ),
    );
  }
  const server = createServer(app);
  server.on('upgrade', upgradeHandler(app));
  const { port } = cleanup.add(await listen(app, server));
  const clients = await Promise.all(USERS.map(async () => cleanup.add(await RawClient.connect(port))));
  return { seen, backend, port, clients };
}

function answer(socket: Socket, target: string): void {
  switch (target) {
    case '/small':
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      break;
    case '/trailers':
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n');
      break;
    case '/stream':
      socket.write(
        'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n',
      );
      afterRead(() => socket.write('2\r\nok\r\n0\r\n\r\n'));
      break;
    case '/endless':
      socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nok');
      break;
    case '/large':
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n');
      socket.write(Buffer.alloc(3_000_000));
      break;
    case '/503':
      socket.write('HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n');
      break;
    case '/reset':
      socket.resetAndDestroy();
      break;
    case '/half':
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\nhalf', () => socket.resetAndDestroy());
      break;
  }
}

const get = (target: string, user: string, more: string) =>
  `GET ${target} HTTP/1.1\r\nHost: a\r\nX-User: ${user}\r\nTE: trailers\r\n${more}\r\n`;

const UPGRADE = 'Connection: Upgrade\r\nUpgrade: websocket\r\n';

function sendAll(clients: readonly RawClient[], target: string, more = ''): void {
  for (const [n, client] of clients.entries()) client.send(get(target, USERS[n] as string, more));
}

/** Each callback that can tell its user ran in that user's context; the others ran once for each of them. */
function expectOwnContexts(seen: readonly Sighting[], isTraced: boolean): void {
  const traces = new Map(
    seen.filter(({ what }) => what === 'the span of the request').map(({ trace, user }) => [trace, user]),
  );
  const wrong = seen.filter(({ user, context, trace }) => {
    if (context === undefined || (user !== undefined && context !== user)) return true;
    return isTraced && trace !== undefined && traces.has(trace) && traces.get(trace) !== context;
  });
  expect(wrong.slice(0, 5)).toEqual([]);
  const perUser = (what: string) =>
    USERS.map((user) => seen.filter((one) => one.what === what && one.context === user).length);
  // How many pieces a body comes in depends on the network.
  for (const what of new Set(seen.map((one) => one.what).filter((name) => name !== 'write'))) {
    const counts = perUser(what);
    expect([what, counts.every((count) => count === counts[0])]).toEqual([what, true]);
  }
}

/** Node emits `close` in no context at all when the connection to the client is cut, whoever answers the request. */
const isNoClosedConnection = ({ what, context }: Sighting) => what !== 'close' || context !== undefined;

const TRANSPORTS = ['roundRobinProxy()', 'undiciTransport()'] as const;

describe.each(TRANSPORTS.flatMap((transport) => [false, true].map((isTraced) => ({ transport, isTraced }))))(
  '$transport, traced: $isTraced: callbacks run in the AsyncLocalStorage context of their own request',
  ({ transport, isTraced }) => {
    test.each(['/small', '/trailers', '/stream', '/large', '/503'])('%s, over kept connections', async (target) => {
      const { seen, clients } = await open({ transport, isTraced });
      for (let round = 0; round < ROUNDS; round += 1) {
        sendAll(clients, target);
        for (const client of clients) expect((await client.response()).framingComplete).toBe(true);
        const finished = (round + 1) * USERS.length;
        await eventually('all is told', () => seen.filter(({ what }) => what === 'sink: finished').length === finished);
      }
      const all = new Set(seen.map(({ what }) => what));
      expect([...all]).toEqual(
        expect.arrayContaining(
          ['finish', 'close', 'writeHead', 'end', 'sink: attempt', 'isFailure'].filter(
            (what) => transport === 'roundRobinProxy()' || what !== 'sink: attempt',
          ),
        ),
      );
      expectOwnContexts(seen, isTraced);
    });

    test.each(['/silent', '/reset', '/half'])('%s: a backend that fails', async (target) => {
      const { seen, clients } = await open({ transport, isTraced });
      sendAll(clients, '/small');
      for (const client of clients) await client.response();
      sendAll(clients, target);
      await eventually('all is told', () => seen.filter(({ what }) => what === 'sink: finished').length === 8);
      expectOwnContexts(seen.filter(isNoClosedConnection), isTraced);
    });

    test('a client that leaves', async () => {
      const { seen, clients } = await open({ transport, isTraced });
      sendAll(clients, '/small');
      for (const client of clients) await client.response();
      sendAll(clients, '/endless');
      for (const client of clients) await client.until((buffer) => buffer.includes('ok'));
      for (const client of clients) client.close();
      await eventually('all is told', () => seen.filter(({ what }) => what === 'sink: finished').length === 8);
      // Node itself emits `close` in no context then, with any handler.
      expectOwnContexts(
        seen.filter(({ what }) => what !== 'close' && what !== 'finish'),
        isTraced,
      );
    });
  },
);

describe('roundRobinProxy(): callbacks run in the AsyncLocalStorage context of their own request', () => {
  test('a request that waited for a place at a backend', async () => {
    const { seen, clients, backend } = await open({
      transport: 'roundRobinProxy()',
      proxy: { maxRequests: 1, queue: { size: 10, timeoutMs: 5_000 } },
    });
    backend.script = (socket) => answer(socket, '/small');
    sendAll(clients, '/small');
    for (const client of clients) expect((await client.response()).status).toBe(200);
    await eventually('all is told', () => seen.filter(({ what }) => what === 'sink: finished').length === 4);
    expectOwnContexts(seen, false);
  });

  test('a retry at another backend', async () => {
    const good = cleanup.add(await RecorderBackend.start((socket) => answer(socket, '/small')));
    const bad = cleanup.add(await RecorderBackend.start((socket) => answer(socket, '/reset')));
    const { seen, clients } = await open({
      transport: 'roundRobinProxy()',
      proxy: { backends: [bad.url, good.url], retry: { attempts: 2, budgetMinimum: 100 } },
    });
    sendAll(clients, '/small');
    for (const client of clients) expect((await client.response()).status).toBe(200);
    await eventually('all is told', () => seen.filter(({ what }) => what === 'sink: finished').length === 4);
    const own = seen.filter(({ what }) => what !== 'attemptFailed' && what !== 'isFailure' && what !== 'sink: attempt');
    expectOwnContexts(own, false);
    expect(seen.filter(({ user, context }) => user !== undefined && user !== context)).toEqual([]);
    expect(seen.some(({ what }) => what === 'attemptFailed')).toBe(true);
  });

  test('an upgraded connection', async () => {
    const { seen, clients, backend } = await open({ transport: 'roundRobinProxy()' });
    backend.script = (socket) =>
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    sendAll(clients, '/', UPGRADE);
    for (const client of clients) expect((await client.response()).status).toBe(101);
    for (const client of clients) client.socket.end();
    await eventually('all is told', () => seen.filter(({ what }) => what === 'sink: finished').length === 4);
    expectOwnContexts(seen, false);
  });
});
