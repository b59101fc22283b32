import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import express, { type ErrorRequestHandler, type Express, type RequestHandler } from 'express';
import {
  accessLog,
  changeBody,
  circuitBreaker,
  GatewayEvents,
  type HardenServerOptions,
  hardenServer,
  ipRateLimit,
  observability,
  prometheusMetrics,
  roundRobinProxy,
  upgradeHandler,
} from 'expressway';
import { Registry } from 'prom-client';
import { ask, type Json } from '../support/ask.ts';
import { Cleanup } from '../support/gateway.ts';
import { afterRead } from '../support/pause.ts';
import { closedPort, eventually, listen, type RunningServer } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

let lines: Json[];
let register: Registry;
let backend: RunningServer;

/** The method and target of each request that the backend got, with its id. */
let asked: string[];

beforeEach(async () => {
  lines = [];
  asked = [];
  register = new Registry();
  backend = cleanup.add(
    await listen((req, res) => {
      asked.push(String(req.headers['x-request-id']));
      if (req.url === '/hang') return;
      if (req.url === '/cut') {
        res.writeHead(200, { 'Content-Length': 100_000 });
        res.write('x'.repeat(50_000), () => afterRead(() => req.socket.resetAndDestroy()));
        return;
      }
      if (req.url === '/html') res.setHeader('Content-Type', 'text/html');
      res.statusCode = Number(/^\/status\/(\d+)/.exec(req.url ?? '')?.[1] ?? 200);
      req.resume().once('end', () => res.end('hello'));
    }),
  );
});

interface Setup {
  readonly limit?: number;
  readonly backends?: readonly string[];
  readonly trustProxy?: string;
  readonly prepare?: (app: Express) => void;
  readonly observe?: object;
  readonly bounds?: HardenServerOptions;
}

async function open({ limit = 1_000, backends = [backend.url], trustProxy, prepare, observe, bounds }: Setup = {}) {
  const events = new GatewayEvents();
  const app = express();
  if (trustProxy !== undefined) app.set('trust proxy', trustProxy);
  const limiter = cleanup.add(ipRateLimit({ limit, events }));
  const breaker = circuitBreaker({ events, minimumRequests: 100 });
  const proxy = cleanup.add(roundRobinProxy({ backends: [...backends], events, responseTimeoutMs: 2_000 }));
  const metrics = cleanup.add(
    prometheusMetrics({ register, events, limiters: [limiter], breakers: [breaker], proxies: [proxy] }),
  );
  const log = cleanup.add(accessLog({ to: { write: (line: string) => lines.push(JSON.parse(line)) }, events }));
  app.use(observability({ metrics, accessLog: log, ...observe }));
  prepare?.(app);
  app.use(limiter, breaker, proxy);
  const server = hardenServer(createServer(app), { events, ...bounds });
  const gateway = cleanup.add(await listen(app, server));
  gateway.server.on('upgrade', upgradeHandler(app));
  return { ...gateway, proxy, breaker };
}

async function lineCount(count: number): Promise<void> {
  await eventually(`${count} lines`, () => lines.length >= count);
  expect(lines).toHaveLength(count);
}

/** The value of one sample of the text format, or the sum of all that match. */
async function metric(name: string, labels: Record<string, string> = {}): Promise<number> {
  let sum = 0;
  for (const line of (await register.metrics()).split('\n')) {
    const found = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (found?.[1] !== name) continue;
    if (Object.entries(labels).every(([key, value]) => found[2]?.includes(`${key}="${value}"`)))
      sum += Number(found[3]);
  }
  return sum;
}

test('a successful request has one access log line with its facts', async () => {
  const { url } = await open();
  const answer = await ask(`${url}/a?token=secret&b=1`, { headers: { 'User-Agent': 'me', Cookie: 'a=geheim' } });
  await lineCount(1);
  expect(lines[0]).toEqual({
    time: expect.stringMatching(/^\d{4}-.*Z$/),
    id: answer.headers['x-request-id'],
    client: '127.0.0.1',
    method: 'GET',
    target: '/a?token=***&b=1',
    protocol: 'HTTP/1.1',
    host: url.replace('http://', ''),
    route: 'default',
    status: 200,
    source: 'backend',
    service: 'default',
    backend: backend.url,
    attempts: 1,
    bytesIn: expect.any(Number),
    bytesOut: expect.any(Number),
    durationMs: expect.any(Number),
    gatewayMs: expect.any(Number),
    backendMs: expect.any(Number),
    userAgent: 'me',
    limits: [
      { limiter: 'ip', mode: 'memory', allowed: true, limit: 1_000, remaining: 999, resetMs: expect.any(Number) },
    ],
  });
  const { durationMs, gatewayMs, backendMs, bytesIn, bytesOut } = lines[0];
  expect(gatewayMs).toBeGreaterThan(0);
  expect(backendMs).toBeGreaterThan(0);
  expect(gatewayMs + backendMs).toBeCloseTo(durationMs, 2);
  expect(bytesIn).toBeGreaterThan('GET /a?token=secret&b=1 HTTP/1.1'.length);
  expect(bytesOut).toBeGreaterThan('HTTP/1.1 200 OK\r\n\r\nhello'.length);
  expect(JSON.stringify(lines)).not.toMatch(/secret|geheim/);
});

test('rejections by limiter and circuit, and other routes of the app, have a line with the cause', async () => {
  const { url, breaker } = await open({
    limit: 4,
    prepare: (app) => {
      app.get('/local', (_req, res) => void res.send('here'));
      app.get('/nothing', (_req, res) => void res.status(404).send('not here'));
      app.get('/throws', () => {
        throw new Error('oh');
      });
      app.use(((error, _req, res, _next) => void res.status(500).send(String(error))) as express.ErrorRequestHandler);
    },
  });
  for (const path of ['/local', '/nothing', '/throws', '/1', '/2', '/3']) await ask(url + path);
  const isolation = breaker.isolate();
  await ask(`${url}/4`);
  isolation.dispose();
  await ask(`${url}/5`);
  await lineCount(8);
  const summary = lines.map(({ target, status, source, cause = '-', attempts }) =>
    [target, status, source, cause, attempts].join(' '),
  );
  expect(summary).toEqual([
    '/local 200 gateway - 0',
    '/nothing 404 gateway - 0',
    '/throws 500 gateway - 0',
    '/1 200 backend - 1',
    '/2 200 backend - 1',
    '/3 200 backend - 1',
    '/4 503 gateway circuit_open 0',
    '/5 429 gateway rate_limited 0',
  ]);
  expect(lines[7].limits).toEqual([expect.objectContaining({ allowed: false, limit: 4, remaining: 0 })]);
  expect(await metric('expressway_limiter_decisions_total', { decision: 'allowed', mode: 'memory' })).toBe(4);
  expect(await metric('expressway_limiter_decisions_total', { decision: 'limited' })).toBe(1);
  expect(await metric('expressway_request_failures_total', { cause: 'rate_limited' })).toBe(1);
});

test('refused connections, retries and unavailable backends have a line with the cause', async () => {
  const dead = `http://127.0.0.1:${await closedPort()}`;
  const { url } = await open({ backends: [dead] });
  await ask(`${url}/refused`);
  await lineCount(1);
  expect(lines[0]).toMatchObject({ status: 502, source: 'gateway', cause: 'connection_refused', backend: dead });
  for (let i = 0; i < 8; i += 1) await ask(url);
  await eventually(
    'an open circuit',
    () => lines.at(-1)?.cause === 'no_backend' || lines.at(-1)?.cause === 'circuit_open',
  );
  expect(lines.at(-1)).toMatchObject({ status: 503, source: 'gateway' });
  expect(await metric('expressway_circuit_state', { circuit: dead, state: 'open' })).toBe(1);
  expect(await metric('expressway_backend_up', { backend: dead })).toBe(0);
  expect(await metric('expressway_circuit_transitions_total', { circuit: dead, to: 'open' })).toBe(1);
});

test.each<[string, (app: Express, fails: () => never) => void]>([
  ['changeBody()', (app, change) => app.use(changeBody({ types: ['text/html'], change }))],
  [
    'a function that wraps a method of the response',
    (app, fails) => {
      app.use((_req, res, next) => {
        res.writeHead = () => {
          Reflect.deleteProperty(res, 'writeHead');
          return fails();
        };
        next();
      });
    },
  ],
])('when %s fails, the error response of the app is not counted for the backend', async (_, prepare) => {
  const warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
  cleanup.add({ close: () => warned.mockRestore() });
  const { url } = await open({
    prepare: (app) => {
      app.set('env', 'test');
      prepare(app, () => {
        throw new Error('no');
      });
    },
  });
  expect(await ask(`${url}/html`)).toMatchObject({ status: 500 });
  await lineCount(1);
  expect(lines[0]).toMatchObject({ status: 500, source: 'gateway', backend: backend.url });
});

test('when the error handler passes the request on to another proxy, the response is that of its backend', async () => {
  const { url } = await open({
    prepare: (app) => {
      const first = cleanup.add(roundRobinProxy({ backends: [backend.url], name: 'first' }));
      const failOnce: RequestHandler = (_req, res, next) => {
        res.writeHead = () => {
          Reflect.deleteProperty(res, 'writeHead');
          throw new Error('no');
        };
        next();
      };
      const passOn: ErrorRequestHandler = (_error, _req, _res, next) => next();
      app.use(failOnce, first, passOn);
    },
  });
  const warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
  cleanup.add({ close: () => warned.mockRestore() });
  expect(await ask(url)).toMatchObject({ status: 200, text: 'hello' });
  await lineCount(1);
  expect(lines[0]).toMatchObject({ status: 200, source: 'backend', attempts: 2 });
});

test('a retried request has one line, with all attempts', async () => {
  const dead = `http://127.0.0.1:${await closedPort()}`;
  const { url } = await open({ backends: [dead, backend.url] });
  await ask(url);
  await ask(url);
  await lineCount(2);
  expect(lines.map(({ attempts }) => attempts)).toEqual([2, 2]);
  expect(await metric('expressway_retries_total', { reason: 'connection_refused' })).toBe(2);
  expect(await metric('expressway_attempt_failures_total', { backend: dead, cause: 'connection_refused' })).toBe(2);
  expect(await metric('expressway_retry_budget_left')).toBeGreaterThan(0);
});

test('a client that leaves is logged as 499, a truncated response with its cause', async () => {
  const { port, url } = await open();
  const socket = connect(port, '127.0.0.1');
  socket.write('GET /hang HTTP/1.1\r\nHost: a\r\n\r\n');
  await eventually('the backend is asked', () => asked.length === 1);
  expect(await metric('expressway_requests_in_flight')).toBe(1);
  socket.destroy();
  await lineCount(1);
  expect(lines[0]).toMatchObject({ status: 499, cause: 'client_abort', source: 'gateway', backend: backend.url });

  await expect(ask(`${url}/cut`)).rejects.toThrow();
  await lineCount(2);
  expect(lines[1]).toMatchObject({ status: 502, source: 'gateway', attempts: 1 });
  expect(lines[1].cause).toMatch(/^http_response_incomplete$|^connection_terminated$/);
  expect(lines[1].bytesOut).toBeGreaterThan(40_000);
  expect(await metric('expressway_requests_in_flight')).toBe(0);
});

test('an upgraded connection is logged when the tunnel ends, a refused one at once', async () => {
  const tcp = createTcpServer((socket) => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
      socket.on('data', (chunk) => socket.write(chunk)).on('error', () => {});
    });
  });
  tcp.listen(0, '127.0.0.1');
  await once(tcp, 'listening');
  cleanup.add({ close: () => tcp.close() });
  const { port, url } = await open({
    backends: [`http://127.0.0.1:${(tcp.address() as AddressInfo).port}`],
    prepare: (app) => app.get('/no', (_req, res) => void res.status(404).send('no')),
  });
  const upgrade = (path: string) =>
    `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';
  const socket = connect(port, '127.0.0.1');
  let got = '';
  socket.on('data', (chunk) => {
    got += chunk;
  });
  socket.write(upgrade('/yes'));
  await eventually('101', () => got.includes(' 101 '));
  socket.write('x'.repeat(5_000));
  await eventually('an echo', () => got.endsWith('x'.repeat(5_000)));
  expect(lines).toHaveLength(0);
  socket.end();
  await lineCount(1);
  expect(lines[0]).toMatchObject({ target: '/yes', status: 101, source: 'backend', upgrade: 'websocket' });
  expect(lines[0].bytesIn).toBeGreaterThan(5_000);
  expect(lines[0].bytesOut).toBeGreaterThan(5_000);
  expect(await metric('expressway_request_duration_seconds_count')).toBe(0);

  const refused = connect(port, '127.0.0.1');
  refused.write(upgrade('/no'));
  refused.resume();
  await lineCount(2);
  expect(lines[1]).toMatchObject({ target: '/no', status: 404, source: 'gateway' });
  refused.destroy();
  expect(url).toBeDefined();
});

test('I05: client counts, metrics and log lines agree, and so do bytes on the wire', async () => {
  const { url, port } = await open({ limit: 60 });
  const paths = ['/', '/status/404', '/status/500', '/status/204', '/'];
  const statuses: Record<string, number> = {};
  const askAll = async (worker: number) => {
    for (let i = 0; i < 20; i += 1) {
      const method = i % 3 === 0 ? 'POST' : 'GET';
      const { status } = await ask(url + paths[(i + worker) % paths.length], {
        method,
        ...(method === 'POST' && { content: 'abc' }),
      });
      const family = `${Math.floor(status / 100)}xx`;
      statuses[family] = (statuses[family] ?? 0) + 1;
    }
  };
  await Promise.all([0, 1, 2, 3, 4].map(askAll));
  await lineCount(100);
  expect(Object.values(statuses).reduce((sum, one) => sum + one)).toBe(100);
  expect(await metric('expressway_requests_total')).toBe(100);
  expect(await metric('expressway_request_duration_seconds_count')).toBe(100);
  for (const [status, count] of Object.entries(statuses)) {
    expect([status, await metric('expressway_requests_total', { status })]).toEqual([status, count]);
    expect(lines.filter((line) => `${Math.floor(line.status / 100)}xx` === status)).toHaveLength(count);
  }
  expect(await metric('expressway_requests_total', { source: 'backend' })).toBe(
    lines.filter(({ source }) => source === 'backend').length,
  );
  expect(asked).toHaveLength(lines.reduce((sum, { attempts }) => sum + attempts, 0));

  // Two requests on one connection: what it carried is counted once.
  lines = [];
  const before = await metric('expressway_sent_bytes_total');
  const socket = connect(port, '127.0.0.1');
  let got = '';
  socket.on('data', (chunk) => {
    got += chunk.toString('latin1');
  });
  const request = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
  socket.write(request + request);
  await eventually('two answers', () => got.split('HTTP/1.1 ').length === 3 && lines.length === 2);
  expect((await metric('expressway_sent_bytes_total')) - before).toBe(Buffer.byteLength(got, 'latin1'));
  expect(lines[0].bytesIn + lines[1].bytesIn).toBe(2 * request.length);
  socket.destroy();
});

test('X-Request-Id: new for untrusted peers, kept for trusted ones if valid', async () => {
  const stranger = await open();
  const first = await ask(stranger.url, { headers: { 'X-Request-Id': 'mine' } });
  const second = await ask(stranger.url, { headers: { X_Request_Id: 'mine', Connection: 'close, X-Request-ID' } });
  expect(asked).toEqual([first.headers['x-request-id'], second.headers['x-request-id']]);
  expect(asked).toEqual([expect.stringMatching(/^[\w-]{18,40}$/), expect.stringMatching(/^[\w-]{18,40}$/)]);
  expect(new Set(asked).size).toBe(2);

  register = new Registry();
  asked = [];
  const { url } = await open({ trustProxy: 'loopback' });
  for (const id of ['abc-123', 'x'.repeat(129), 'a b', 'a"b', '']) await ask(url, { headers: { 'X-Request-Id': id } });
  expect(asked[0]).toBe('abc-123');
  for (const id of asked.slice(1)) expect(id).toMatch(/^[\w-]{18,40}$/);
});

test("Server-Timing has the time until the head, beside the backend's own entries", async () => {
  const { url } = await open({ observe: { serverTiming: true, requestId: false } });
  const { headers } = await ask(url);
  expect(headers['server-timing']).toMatch(/^gateway;dur=\d+\.\d, backend;dur=\d+\.\d$/);
  expect(headers).not.toHaveProperty('x-request-id');
  expect(lines[0]?.id).toBeUndefined();
});

test('client input creates no additional series, and a removed backend loses its series', async () => {
  const other = cleanup.add(await listen((_req, res) => void res.end()));
  const { url, proxy } = await open({ backends: [backend.url, other.url] });
  for (const method of ['PROPFIND', 'MKCOL', 'SEARCH', 'QUERY']) {
    await ask(`${url}/${method}/path`, { method, headers: { Host: `${method}.example` } });
  }
  await lineCount(4);
  expect(await metric('expressway_requests_total', { method: 'OTHER' })).toBe(4);
  const text = await register.metrics();
  expect(text).not.toMatch(/PROPFIND|MKCOL|SEARCH|QUERY/);
  expect(text).toContain(other.url);
  proxy.setBackends([backend.url]);
  expect(await register.metrics()).not.toContain(other.url);
});

describe('requests that no middleware sees', () => {
  const send = async (port: number, bytes: string): Promise<string> => {
    const socket = connect(port, '127.0.0.1');
    let got = '';
    socket.on('data', (chunk) => {
      got += chunk;
    });
    socket.on('error', () => {});
    socket.write(bytes);
    await once(socket, 'close');
    return got;
  };

  test.each([
    ['bytes that are no request', 'NONSENSE\r\n\r\n', 400, 'bad_request'],
    ['a head that is too large', `GET / HTTP/1.1\r\nA: ${'x'.repeat(20_000)}\r\n\r\n`, 431, 'head_too_large'],
    ['a head that does not end', 'GET / HTTP/1.1\r\nHost:', 408, 'client_timeout'],
    ['CONNECT', 'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n', 405, 'method_not_allowed'],
    [
      'an expectation',
      'POST / HTTP/1.1\r\nHost: a\r\nExpect: 200\r\nContent-Length: 1\r\n\r\na',
      417,
      'expectation_failed',
    ],
  ])('%s: one line, and a count', async (_what, bytes, status, cause) => {
    // What is complete must not miss it on a busy machine.
    const headTimeoutMs = status === 408 ? 300 : 60_000;
    const { port } = await open({ bounds: { headTimeoutMs, checkIntervalMs: 100 } });
    expect(await send(port, bytes)).toContain(`HTTP/1.1 ${status} `);
    await lineCount(1);
    const { detail, ...line } = lines[0] as { detail?: string };
    expect(line).toEqual({ time: expect.any(String), client: '127.0.0.1', status, source: 'gateway', cause });
    expect([undefined, 'The request line does not end in an HTTP version.']).toContain(detail);
    expect(await metric('expressway_clients_refused_total', { cause })).toBe(1);
    expect(asked).toEqual([]);
  });

  test('invalid content of a running request is logged once, in its line', async () => {
    const { port } = await open();
    await send(port, 'POST /hang HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nzz\r\n');
    await lineCount(1);
    expect(lines[0]).toMatchObject({ method: 'POST', target: '/hang', status: 400, cause: 'bad_request' });
    expect(await metric('expressway_clients_refused_total', { cause: 'bad_request' })).toBe(1);
  });

  test('invalid bytes after a request have a line of their own', async () => {
    const { port } = await open();
    const got = await send(port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\nNONSENSE\r\n\r\n');
    expect(got).toContain('HTTP/1.1 200 ');
    await lineCount(2);
    expect(lines.map(({ target = '-', source }) => `${target} ${source}`).sort()).toEqual(['- gateway', '/ backend']);
  });

  test('a flood of invalid connections makes few lines, but all are counted', async () => {
    const { port } = await open();
    await Promise.all(Array.from({ length: 100 }, () => send(port, 'NONSENSE\r\n\r\n')));
    const omitted = () => lines.reduce((sum, line) => sum + (line.omitted ?? 0), 0);
    const told = () => lines.filter(({ cause }) => cause === 'bad_request').length;
    await eventually('all are told or counted', () => told() + omitted() === 100);
    expect(omitted()).toBeGreaterThan(0);
    expect(await metric('expressway_clients_refused_total', { cause: 'bad_request' })).toBe(100);
  });
});

test('observability() mounted twice counts once; a failing route rule is reported once', async () => {
  const warned = jest.spyOn(process, 'emitWarning').mockReturnValue(undefined);
  const names = ['users', 'orders', 'third'];
  const { url } = await open({
    prepare: (app) => app.use(observability()),
    observe: {
      route: (req: { url: string }) => {
        if (req.url === '/throw') throw new Error('a rule that fails');
        return names.shift();
      },
    },
  });
  await ask(url);
  expect([(await ask(`${url}/throw`)).status, (await ask(`${url}/throw`)).status]).toEqual([200, 200]);
  await lineCount(3);
  expect(lines.map(({ route }) => route)).toEqual(['users', 'OTHER', 'OTHER']);
  const told = warned.mock.calls.map(([message]) => String(message));
  warned.mockRestore();
  expect(told).toEqual([expect.stringMatching(/route threw, the request is counted as OTHER.*a rule that fails/)]);
});
