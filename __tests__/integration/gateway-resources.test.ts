import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import net, { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import express from 'express';
import {
  accessLog,
  GatewayEvents,
  observability,
  prometheusMetrics,
  type RoundRobinProxyOptions,
  roundRobinProxy,
  statusFeed,
  undiciTransport,
} from 'expressway';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { Registry } from 'prom-client';
import { DnsServer } from '../support/dns-server.ts';
import { Cleanup } from '../support/gateway.ts';
import { stays } from '../support/pause.ts';
import { RawClient } from '../support/raw-client.ts';
import { eventually, listen } from '../support/servers.ts';
import { expectWarnings } from '../support/warnings.ts';

expectWarnings('WARN_EXPRESSWAY_RESOURCES');

const cleanup = new Cleanup();
afterEach(async () => {
  jest.restoreAllMocks();
  await cleanup.run();
});

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

/** A gateway with few descriptors, and a client that is connected to it. */
async function starvedGateway(options: RoundRobinProxyOptions) {
  const script = fileURLToPath(new URL('../support/starved-process.ts', import.meta.url));
  const command = 'ulimit -n 80; exec "$@"';
  // It looks at its warnings itself.
  const node = [process.execPath, '--disable-warning=WARN_EXPRESSWAY_RESOURCES', script, JSON.stringify(options)];
  const child: ChildProcess = spawn('sh', ['-c', command, 'sh', ...node], {
    env: { ...process.env, NODE_OPTIONS: '' },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const gone = once(child, 'exit');
  cleanup.add({
    close: () => {
      child.stdin?.end();
      return gone;
    },
  });
  const [line] = (await once(child.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
  const client = cleanup.add(await RawClient.connect(JSON.parse(line.toString()).port));
  const get = async (path: string) => {
    client.send(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
    return client.response();
  };
  const state = async () => JSON.parse((await get('/-/state')).content.toString());
  return { get, state };
}

const WARNING = /^WARN_EXPRESSWAY_RESOURCES The gateway could not connect to a backend, .* EMFILE: .*ulimit -n/;

describe('a gateway that has no file descriptor left', () => {
  test.each([
    ['an address', (port: number) => `http://127.0.0.1:${port}`],
    ['a name', (port: number) => `http://localhost:${port}`],
  ])('responds with 503, and blames no backend: %s', async (_what, backendAt) => {
    const { port } = cleanup.add(await listen((_req, res) => res.end('ok')));
    const { get, state } = await starvedGateway({
      backends: [backendAt(port)],
      circuit: { consecutiveFailures: 1, minimumRequests: 1, openMs: 60_000 },
    });
    await get('/-/starve');
    for (let i = 0; i < 20; i += 1) {
      const response = await get('/');
      expect([response.status, response.field('retry-after'), response.field('proxy-status')]).toEqual([
        503,
        '1',
        'expressway; error=proxy_internal_error',
      ]);
      expect(JSON.parse(response.content.toString())).toEqual({
        type: 'about:blank',
        title: 'Service temporarily overloaded',
        status: 503,
        cause: 'gateway_resources',
      });
    }
    const { told, backends } = await state();
    expect(backends[0]).toMatchObject({ circuit: 'closed', available: true, inFlight: 0 });
    // Told once, whatever the number of requests.
    expect(told.filter((event: string) => event !== 'rejected gateway_resources').sort()).toEqual([
      expect.stringMatching(WARNING),
      'resourceShortage EMFILE',
    ]);
    await get('/-/feed');
    expect((await get('/')).content.toString()).toBe('ok');
  });

  test('does not change the health of a backend', async () => {
    let checks = 0;
    const { url } = cleanup.add(
      await listen((_req, res) => {
        checks += 1;
        res.end('ok');
      }),
    );
    const { get, state } = await starvedGateway({
      backends: [url],
      healthCheck: { path: '/health', intervalMs: 20, unhealthyIntervalMs: 20, unhealthyAfter: 1, timeoutMs: 60_000 },
    });
    await eventually('it is healthy', async () => (await state()).backends[0].health === 'healthy');
    await get('/-/starve');
    await eventually('no more descriptors', async () => (await get('/')).status === 503);
    const before = checks;
    await stays('no check is made, though many are due', () => checks === before, 300);
    const starved = await state();
    expect(starved.backends[0]).toMatchObject({ health: 'healthy', available: true });
    expect(starved.told.filter((event: string) => /^health(Change unhealthy|Checked)/.test(event))).toEqual([]);
    await get('/-/feed');
    await eventually('it is checked again', () => checks > before);
  });

  test('reports a name lookup that fails for it, and keeps the known addresses', async () => {
    const { port } = cleanup.add(await listen((_req, res) => res.end('ok')));
    const dns = cleanup.add(await DnsServer.start());
    dns.records.set('api.test', { a: ['127.0.0.1'], ttl: 1 });
    const { get, state } = await starvedGateway({
      backends: [`dns://api.test:${port}`],
      dns: { servers: [dns.address], family: 4, timeoutMs: 500, refreshMs: 1_000 },
    });
    await eventually('it is found', async () => (await state()).backends.length === 1);
    await get('/-/starve');
    const failed = async () =>
      (await state()).told.filter((event: string) => event.startsWith('discoveryFailed')) as string[];
    await eventually('a lookup fails', async () => (await failed()).length > 0);
    expect(await failed()).toEqual([expect.stringMatching(/^discoveryFailed EMFILE: this process has no file/)]);
    expect((await state()).backends).toHaveLength(1);
  });
});

/** As Node fails when the system refuses a socket, or has no port for it. */
function failingConnections(...errors: readonly NodeJS.ErrnoException[]): void {
  const [first] = errors;
  const error =
    errors.length === 1 ? (first as Error) : Object.assign(new AggregateError(errors), { code: first?.code });
  jest.spyOn(net, 'connect').mockImplementation(() => {
    const socket = new Socket();
    process.nextTick(() => socket.destroy(error));
    return socket;
  });
}

const failure = (code: string) => Object.assign(new Error(`connect ${code}`), { code, syscall: 'connect' });

describe.each(['EMFILE', 'ENFILE', 'EADDRNOTAVAIL', 'ENOBUFS', 'ENOMEM'])('%s', (code) => {
  test('is reported by metrics, log and status as a problem of the gateway', async () => {
    const events = new GatewayEvents();
    const register = new Registry();
    const lines: { status: number; cause: string }[] = [];
    const proxy = cleanup.add(
      roundRobinProxy({ backends: ['http://127.0.0.1:1', 'http://127.0.0.1:2'], events, retry: { attempts: 3 } }),
    );
    const metrics = cleanup.add(prometheusMetrics({ register, events, proxies: [proxy] }));
    const log = cleanup.add(accessLog({ to: { write: (line: string) => lines.push(JSON.parse(line)) }, events }));
    const feed = cleanup.add(statusFeed({ metrics, events, proxies: [proxy] }));
    const app = express();
    app.use(observability({ metrics, accessLog: log }), proxy);
    const { port } = cleanup.add(await listen(app));
    const client = await RawClient.connect(port);
    failingConnections(failure(code));
    for (let i = 0; i < 30; i += 1) {
      client.send(GET);
      expect((await client.response()).status).toBe(503);
    }
    client.close();
    await eventually('all are logged', () => lines.length === 30);
    expect(new Set(lines.map(({ status, cause }) => `${status} ${cause}`))).toEqual(new Set(['503 gateway_resources']));
    for (const backend of proxy.status()) expect(backend).toMatchObject({ circuit: 'closed', available: true });
    const text = await register.metrics();
    expect(text).toMatch(/cause="gateway_resources".* 30\n/);
    expect(text).not.toMatch(/attempt_failures_total\{/);
    const { rates } = feed.snapshot();
    expect(rates).toMatchObject({ backendErrors: 0, gatewayErrors: expect.any(Number) });
    expect(rates.gatewayErrors).toBeGreaterThan(0);
    await eventually('the status names the problem', () =>
      feed
        .snapshot()
        .changes.some(({ kind, isBad, text }) => kind === 'problem' && isBad && text.includes(`(${code})`)),
    );
  });

  test('is reported by undiciTransport() as the error', async () => {
    const errors: unknown[] = [];
    const app = express();
    app.use(
      createProxyMiddleware({
        target: 'http://127.0.0.1:1',
        plugins: [undiciTransport()],
        on: {
          error(error, _req, res) {
            errors.push((error as NodeJS.ErrnoException).code);
            if ('writeHead' in res) res.writeHead(500).end();
          },
        },
      }),
    );
    const { port } = cleanup.add(await listen(app));
    const client = await RawClient.connect(port);
    failingConnections(failure(code));
    client.send(GET);
    expect((await client.response()).status).toBe(500);
    client.close();
    expect(errors).toEqual([code]);
  });
});

test.each([
  ['both addresses', ['EADDRNOTAVAIL', 'EADDRNOTAVAIL'], 'gateway_resources'],
  ['the first', ['EADDRNOTAVAIL', 'ECONNREFUSED'], 'connection_refused'],
  ['the second', ['ECONNREFUSED', 'EADDRNOTAVAIL'], 'connection_refused'],
])('of a backend with two addresses, %s cannot be used: %j', async (_which, codes, cause) => {
  const app = express();
  app.use(cleanup.add(roundRobinProxy({ backends: ['http://localhost:1'] })));
  const { port } = cleanup.add(await listen(app));
  const client = cleanup.add(await RawClient.connect(port));
  failingConnections(...codes.map(failure));
  client.send(GET);
  expect(JSON.parse((await client.response()).content.toString()).cause).toBe(cause);
});
