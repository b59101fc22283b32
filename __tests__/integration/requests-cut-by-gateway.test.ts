import { createServer } from 'node:http';
import { afterEach, expect, test } from '@jest/globals';
import express, { type Express } from 'express';
import {
  accessLog,
  circuitBreaker,
  gracefulShutdown,
  type HardenServerOptions,
  hardenServer,
  observability,
  type RoundRobinProxy,
  roundRobinProxy,
  upgradeHandler,
} from 'expressway';
import { Cleanup } from '../support/gateway.ts';
import { PROTOCOLS, type TextClient, WITH_TLS } from '../support/protocols.ts';
import { RawClient } from '../support/raw-client.ts';
import { RecorderBackend } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const BEFORE_HEAD = '';
const IN_BODY = 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart';
const EVENTS = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n';

const CUT = { status: 503, cause: 'gateway_shutdown', source: 'gateway' };
const COMPLETE = { status: 200, cause: undefined, source: 'backend' };

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const UPLOAD = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\npart';

const CASES = [
  ['that waits for its backend', GET, BEFORE_HEAD, CUT],
  ['that gets its response', GET, IN_BODY, CUT],
  ['that is being sent', UPLOAD, BEFORE_HEAD, CUT],
  ['for an event stream, which ends properly', GET, EVENTS, COMPLETE],
] as const;

const ROWS = PROTOCOLS.flatMap((protocol) => CASES.map((row) => [protocol.name, ...row, protocol] as const));

test.each(ROWS)('%s: a request %s when the gateway stops is no client that left', async (...row) => {
  const [, , sent, response, record, { serverOf, connect }] = row;
  const backend = cleanup.add(await RecorderBackend.start((connection) => void connection.write(response)));
  const log: { status: number; cause: string | undefined; source: string }[] = [];
  const to = { write: (line: string) => log.push(JSON.parse(line)) > 0 };
  const breaker = circuitBreaker({ minimumRequests: 1 });
  const proxy = cleanup.add(roundRobinProxy({ backends: [backend.url], circuit: { minimumRequests: 1 } }));
  const app: Express = express();
  app.use(observability({ accessLog: accessLog({ to }) }), breaker, proxy);
  const server = serverOf(app);
  const shutdown = gracefulShutdown(server, { signals: [], idleGraceMs: 50, timeoutMs: 500 });
  const { port } = cleanup.add(await listen(app, server));
  const client = cleanup.add(await connect(port));
  client.send(sent);
  await eventually('the backend is asked', () => backend.requests.length === 1);
  if (response !== BEFORE_HEAD) await eventually('it responds', () => client.pending.length > 0);
  await shutdown.close();
  await eventually('it is recorded', () => log.length === 1);
  const [{ status, cause, source } = {}] = log;
  expect({ status, cause, source }).toEqual(record);
  expect([breaker.state, proxy.status()[0]?.circuit]).toEqual(['closed', 'closed']);
});

const DRAINED = { status: 503, cause: 'drain_timeout', source: 'gateway' };

test.each([
  ['that waits for its backend', UPLOAD, BEFORE_HEAD],
  ['that gets its response', GET, IN_BODY],
  ['for an event stream', GET, EVENTS],
])('a request %s when drainTimeoutMs is over is no failure of the backend', async (_what, sent, response) => {
  const backend = cleanup.add(await RecorderBackend.start((connection) => void connection.write(response)));
  const log: { status: number; cause: string | undefined; source: string }[] = [];
  const to = { write: (line: string) => log.push(JSON.parse(line)) > 0 };
  const proxy = cleanup.add(roundRobinProxy({ backends: [backend.url], drainTimeoutMs: 50 }));
  const app = express().use(observability({ accessLog: accessLog({ to }) }), proxy);
  const { port } = cleanup.add(await listen(app));
  const client = cleanup.add(await RawClient.connect(port));
  client.send(sent);
  await eventually('the backend is asked', () => backend.requests.length === 1);
  if (response !== BEFORE_HEAD) await eventually('it responds', () => client.pending.length > 0);
  proxy.setBackends(['http://127.0.0.1:9']);
  await eventually('it is recorded', () => log.length === 1);
  const [{ status, cause, source } = {}] = log;
  expect({ status, cause, source }).toEqual(DRAINED);
});

interface Cut {
  readonly backend: RecorderBackend;
  readonly client: TextClient;
  readonly proxy: RoundRobinProxy;
}

const CUT_STREAMS = [
  [
    'by its backend',
    GET,
    ({ backend }: Cut) => void [...backend.connections].map((socket) => socket.resetAndDestroy()),
    { status: 502, cause: 'http_response_incomplete', source: 'gateway' },
  ],
  [
    'because its client sends too slowly',
    'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nx',
    () => {},
    { status: 408, cause: 'client_timeout', source: 'gateway' },
  ],
  [
    'because the request gets too long',
    'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n',
    ({ client }: Cut) => client.send('9\r\n123456789\r\n'),
    { status: 413, cause: 'content_too_large', source: 'gateway' },
  ],
] as const;

/** Only where they are what the case is about. */
const SLOW: Record<string, HardenServerOptions> = {
  client_timeout: { minReceiveBytesPerSecond: 10_000, receiveGraceMs: 300, checkIntervalMs: 20 },
};

test.each(WITH_TLS.flatMap((protocol) => CUT_STREAMS.map((row) => [protocol.name, ...row, protocol] as const)))(
  '%s: an event stream that is cut %s is recorded as cut; circuits have counted its head',
  async (...row) => {
    const [, , sent, cutIt, record, { hardened, connect }] = row;
    const backend = cleanup.add(await RecorderBackend.start((connection) => void connection.write(EVENTS)));
    const log: { status: number; cause: string | undefined; source: string }[] = [];
    const to = { write: (line: string) => log.push(JSON.parse(line)) > 0 };
    const breaker = circuitBreaker({ minimumRequests: 1 });
    const proxy = cleanup.add(
      roundRobinProxy({ backends: [backend.url], circuit: { minimumRequests: 1 }, maxBodyBytes: 5 }),
    );
    const app: Express = express();
    app.use(observability({ accessLog: accessLog({ to }) }), breaker, proxy);
    const { port } = cleanup.add(await listen(app, hardened(SLOW[record.cause] ?? {})(app)));
    const client = cleanup.add(await connect(port));
    client.send(sent);
    await eventually('it responds', () => client.pending.includes('data: 1'));
    cutIt({ backend, client, proxy });
    await eventually('it is recorded', () => log.length === 1);
    const [{ status, cause, source } = {}] = log;
    expect({ status, cause, source }).toEqual(record);
    expect([breaker.state, proxy.status()[0]?.circuit]).toEqual(['closed', 'closed']);
  },
);

test.each(WITH_TLS)(
  '$name: a response that its client does not read in time is recorded as cut, and is no failure of the backend',
  async ({ hardened, connect }) => {
    const length = 64 * 1_048_576;
    const backend = cleanup.add(
      await RecorderBackend.start((connection) => {
        connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`);
        connection.write(Buffer.alloc(length));
      }),
    );
    const log: { status: number; cause: string | undefined; source: string }[] = [];
    const attempts: string[] = [];
    const to = { write: (line: string) => log.push(JSON.parse(line)) > 0 };
    const proxy = cleanup.add(roundRobinProxy({ backends: [backend.url], circuit: { minimumRequests: 1 } }));
    proxy.events.on('forwarded', ({ outcome }) => {
      attempts.push(outcome.kind === 'rejected' ? outcome.cause : outcome.kind);
    });
    const app = express().use(observability({ accessLog: accessLog({ to }) }), proxy);
    const bounds = { sendTimeoutMs: 300, checkIntervalMs: 20 };
    const { port } = cleanup.add(await listen(app, hardened(bounds)(app)));
    const client = cleanup.add(await connect(port));
    client.send(GET);
    client.socket.pause();
    await eventually('it is recorded', () => log.length === 1);
    const [{ status, cause, source } = {}] = log;
    expect({ status, cause, source }).toEqual({ status: 408, cause: 'client_timeout', source: 'gateway' });
    expect([attempts, proxy.status()[0]?.circuit]).toEqual([['client_timeout'], 'closed']);
  },
);

const UPGRADE =
  'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';
const SWITCHED = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello';

const TUNNEL_ENDS = [
  ['after its idle time', () => {}, { tunnel: { idleTimeoutMs: 200 } }],
  [
    'by its backend',
    ({ backend }: Cut) => void [...backend.connections].map((one) => one.resetAndDestroy()),
    { tunnel: { closeTimeoutMs: 50 } },
  ],
  ['by its client', ({ client }: Cut) => client.abort(), {}],
  ['with its proxy', ({ proxy }: Cut) => void proxy.close(), {}],
  ['after drainTimeoutMs', ({ proxy }: Cut) => proxy.setBackends(['http://127.0.0.1:9']), { drainTimeoutMs: 50 }],
] as const;

test.each(TUNNEL_ENDS)('a tunnel that ends %s is recorded with its 101', async (_how, end, options) => {
  const backend = cleanup.add(await RecorderBackend.start((connection) => void connection.write(SWITCHED)));
  const log: { status: number; cause: string | undefined; source: string }[] = [];
  const to = { write: (line: string) => log.push(JSON.parse(line)) > 0 };
  const proxy = cleanup.add(roundRobinProxy({ backends: [backend.url], ...options }));
  const app: Express = express();
  app.use(observability({ accessLog: accessLog({ to }) }), proxy);
  const server = hardenServer(createServer(app)).on('upgrade', upgradeHandler(app));
  const { port } = cleanup.add(await listen(app, server));
  const client = cleanup.add(await RawClient.connect(port));
  client.send(UPGRADE);
  await eventually('the tunnel is open', () => client.pending.includes('hello'));
  end({ backend, client, proxy });
  await eventually('it is recorded', () => log.length === 1);
  const [{ status, cause, source } = {}] = log;
  expect({ status, cause, source }).toEqual({ status: 101, cause: undefined, source: 'backend' });
});
