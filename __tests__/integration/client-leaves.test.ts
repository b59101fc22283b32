import type { ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import {
  accessLog,
  circuitBreaker,
  type IpRateLimitOptions,
  ipRateLimit,
  observability,
  type RoundRobinProxyOptions,
} from 'expressway';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { stopTimers } from '../support/mock-time.ts';
import { type Protocol, WITH_TLS } from '../support/protocols.ts';
import { RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { eventually } from '../support/servers.ts';

const cleanup = new Cleanup();
// The end of a request must not wait for a timer.
beforeEach(stopTimers);
afterEach(async () => {
  jest.useRealTimers();
  await cleanup.run();
});

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const HALF_SENT = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf';
const HALF_RECEIVED = 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf';

/** A failure would open a circuit at once. */
const STRICT: Partial<RoundRobinProxyOptions> = { circuit: { minimumRequests: 1, failureRatio: 0.01 } };

async function setUp(protocol: Protocol, options: Partial<RoundRobinProxyOptions>, ...scripts: readonly Script[]) {
  const backends: RecorderBackend[] = [];
  for (const script of scripts) backends.push(cleanup.add(await RecorderBackend.start(script)));
  const responses: ServerResponse[] = [];
  const { port, proxy } = cleanup.add(
    await proxyGateway(
      { backends: backends.map(({ url }) => url), ...STRICT, ...options },
      (app) =>
        app.use((_req, res, next) => {
          responses.push(res);
          next();
        }),
      protocol.serverOf,
    ),
  );
  const open = async () => cleanup.add(await protocol.connect(port));
  const last = backends.at(-1) as RecorderBackend;
  return { open, proxy, backends, last, responses };
}

const isBusy = ({ connections }: RecorderBackend) => connections.size > 0;

describe.each(WITH_TLS)(
  'a client of $name that gives up ends the request at the backend at once, and no backend is blamed',
  (protocol) => {
    const moments: readonly [
      string,
      string,
      Script,
      (at: { backend: RecorderBackend; response: ServerResponse | undefined }) => unknown,
    ][] = [
      ['before the response', GET, () => {}, ({ backend }) => backend.requests.length > 0],
      [
        'within the content of its request',
        HALF_SENT,
        () => {},
        ({ backend }) => backend.received.some((one) => one.includes('half')),
      ],
      [
        'within the response',
        GET,
        (socket) => void socket.write(HALF_RECEIVED),
        ({ response }) => response?.headersSent,
      ],
    ];

    test.each(moments)('%s', async (_moment, request, script, isThere) => {
      const { open, proxy, last, responses } = await setUp(protocol, {}, script);
      const client = await open();
      client.send(request);
      await eventually('it is there', () => isThere({ backend: last, response: responses.at(-1) }));
      client.abort();
      await eventually('the backend sees the end', () => !isBusy(last));
      await eventually('it is over', () => proxy.status()[0]?.inFlight === 0);
      expect(proxy.status()[0]?.circuit).toBe('closed');
      expect(last.requests).toHaveLength(1);
    });

    test('while it waits for a backend', async () => {
      const options = { maxRequests: 1, queue: { size: 9, timeoutMs: 60_000 } };
      const { open, proxy, last } = await setUp(protocol, options, () => {});
      const [first, second] = [await open(), await open()];
      first.send(GET);
      await eventually('the backend has it', () => last.requests.length === 1);
      second.send(HALF_SENT);
      await eventually('it waits', () => proxy.load().waiting === 1);
      second.abort();
      await eventually('nothing waits', () => proxy.load().waiting === 0);
      for (const connection of last.connections) connection.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      expect((await first.response()).status).toBe(200);
      expect(last.requests).toHaveLength(1);
      expect(proxy.status()[0]).toMatchObject({ inFlight: 0, circuit: 'closed' });
    });

    test('while its request is retried', async () => {
      const { open, proxy, backends, last } = await setUp(
        protocol,
        {},
        (socket) => void socket.resetAndDestroy(),
        () => {},
      );
      const client = await open();
      client.send(GET);
      await eventually('the second backend has it', () => last.requests.length === 1);
      client.abort();
      await eventually('the second backend sees the end', () => !isBusy(last));
      await eventually('it is over', () => proxy.status().every(({ inFlight }) => inFlight === 0));
      expect(backends.map(({ requests }) => requests.length)).toEqual([1, 1]);
      expect(proxy.status()[1]?.circuit).toBe('closed');
    });
  },
);

describe('a client that resets its connection before the limiter knows its address has left: 499, and no circuit counts it', () => {
  const UPGRADE = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
  const limits: readonly [string, IpRateLimitOptions][] = [
    ['by address', {}],
    ['by a function without a key', { key: () => undefined }],
    ['by an async function without a key', { key: async () => undefined }],
  ];

  test.each(
    limits.flatMap(([name, options]) => [
      { name: `a request, limited ${name}`, options, bytes: GET },
      { name: `an upgrade, limited ${name}`, options, bytes: UPGRADE },
    ]),
  )('$name', async ({ options, bytes }) => {
    const lines: string[] = [];
    const breaker = circuitBreaker({ minimumRequests: 1 });
    const limiter = cleanup.add(ipRateLimit(options));
    const { port } = cleanup.add(
      await proxyGateway({ backends: ['http://127.0.0.1:9'] }, (app) => {
        app.use((_req, _res, next) => {
          // The kernel forgets the address at once. The reset is read in a later turn of the event loop.
          client.resetAndDestroy();
          next();
        });
        app.use(observability({ accessLog: accessLog({ to: { write: (line: string) => lines.push(line) > 0 } }) }));
        app.use(breaker, limiter);
      }),
    );
    const client = connect(port, '127.0.0.1').on('error', () => {});
    client.write(bytes);
    await eventually('the request is logged', () => lines.length > 0);
    expect(JSON.parse(lines[0] as string)).toMatchObject({ status: 499, cause: 'client_abort' });
    expect(breaker.state).toBe('closed');
  });
});
