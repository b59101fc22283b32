import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { circuitBreaker } from 'expressway';
import { Cleanup, proxyGateway, type TestGateway } from '../support/gateway.ts';
import { pause } from '../support/pause.ts';
import { PROTOCOLS, type TextClient } from '../support/protocols.ts';
import { RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { eventually } from '../support/servers.ts';
import { hold, stall } from '../support/stall.ts';
import { onlyConnection, rawSilence, tunnelOver } from '../support/tunnels.ts';

const cleanup = new Cleanup();
afterEach(async () => {
  jest.restoreAllMocks();
  await cleanup.run();
});

/** No real wait comes near it, whatever the machine has to do. */
const TIMEOUT_MS = 20_000;
/** Longer than the longest time between two sweeps of the watchdog. */
const SWEEP_MS = 600;
const TIMEOUTS = { responseTimeoutMs: TIMEOUT_MS, idleTimeoutMs: TIMEOUT_MS };

const sweeps = () => pause('the watchdog notes the last sign of progress', SWEEP_MS);
const stallTooLong = (meanwhile: () => void) => stall(3 * TIMEOUT_MS, SWEEP_MS, meanwhile);

describe.each(PROTOCOLS)('a process whose event loop was blocked, over $name', (protocol) => {
  const { serverOf } = protocol;

  async function setUp(
    script: Script,
    timeouts = TIMEOUTS,
  ): Promise<{ backend: RecorderBackend; gateway: TestGateway; client: TextClient }> {
    const backend = cleanup.add(await RecorderBackend.start(script));
    const gateway = cleanup.add(await proxyGateway({ backends: [backend.url], ...timeouts }, undefined, serverOf));
    return { backend, gateway, client: cleanup.add(await protocol.connect(gateway.port)) };
  }

  test.each([
    ['the content of an answer', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello', 'hello'],
    ['the head of an answer', '', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhellohello'],
  ])('does not time out when data has arrived: %s', async (_name, before, meanwhile) => {
    const { backend, client } = await setUp((socket) => void socket.write(before));
    client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await eventually('the backend is asked', () => backend.requests.length === 1);
    await sweeps();
    await stallTooLong(() => onlyConnection(backend).write(meanwhile));
    expect((await client.response()).content.toString()).toBe('hellohello');
  });

  test('does not time out when data has arrived: the content of a request', async () => {
    const { backend, client } = await setUp((socket) => {
      socket.on('data', (chunk) => chunk.includes('END') && socket.write('HTTP/1.1 204 No Content\r\n\r\n'));
    });
    client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhello');
    await eventually('the backend has the first part', () => backend.received[0]?.includes('hello'));
    await sweeps();
    await stallTooLong(() => client.send('END'));
    expect((await client.response()).status).toBe(204);
  });

  test('does not time out when data has arrived: the bytes of a tunnel', async () => {
    const backend = cleanup.add(await RecorderBackend.start(rawSilence));
    const tunnel = { idleTimeoutMs: TIMEOUT_MS };
    const gateway = cleanup.add(
      await proxyGateway({ backends: [backend.url], ...TIMEOUTS, tunnel }, undefined, serverOf),
    );
    const client = cleanup.add(await tunnelOver(protocol, gateway.port));
    await sweeps();
    await stallTooLong(() => client.send('hello'));
    await eventually('it arrives', () => backend.received[0]?.includes('hello'));
    onlyConnection(backend).write('hello');
    await client.until((bytes) => bytes.includes('hello'));
  });

  test.each([200, 2_000])(
    'does not time out on a connection that was made meanwhile, with a timeout of %d ms',
    async (connectTimeoutMs) => {
      const backend = cleanup.add(await RecorderBackend.start());
      const gateway = cleanup.add(
        await proxyGateway(
          { backends: [backend.url], connectTimeoutMs },
          (app) => {
            app.use((_req, _res, next) => {
              next();
              // By then the kernel has made it.
              setImmediate(() => hold(connectTimeoutMs + SWEEP_MS));
            });
          },
          serverOf,
        ),
      );
      const client = cleanup.add(await protocol.connect(gateway.port));
      client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
      expect((await client.response()).status).toBe(200);
    },
  );

  // While this process is held up, its client of HTTP/2 sends nothing.
  (protocol.name === 'HTTP/1.1' ? test : test.skip)('does not cut a client that sent fast enough', async () => {
    const backend = cleanup.add(await RecorderBackend.start(() => {}));
    // The most that one look can find missing is what comes in twice the time between two of them.
    const bounds = { minReceiveBytesPerSecond: 1_000, receiveGraceMs: 4_500, checkIntervalMs: 2_500 };
    const gateway = cleanup.add(await proxyGateway({ backends: [backend.url] }, undefined, protocol.hardened(bounds)));
    const client = cleanup.add(await protocol.connect(gateway.port));
    client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20005\r\n\r\nhello');
    await eventually('the backend is asked', () => backend.requests.length === 1);
    await stall(60_000, bounds.checkIntervalMs + 100, () => client.send('a'.repeat(20_000)));
    await eventually('all is with the backend', () => (backend.received[0]?.length ?? 0) > 20_000);
    onlyConnection(backend).write('HTTP/1.1 204 No Content\r\n\r\n');
    expect((await client.response()).status).toBe(204);
  });

  test('still cuts a silent backend', async () => {
    const { client } = await setUp((socket) => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello'), {
      ...TIMEOUTS,
      idleTimeoutMs: 1_500,
    });
    client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await client.until((bytes) => bytes.includes('hello'));
    await sweeps();
    await stallTooLong(() => {});
    await client.closed();
  });
});

test.each([
  ['its response has arrived', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'],
  ['its response has arrived, without a length', 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok'],
])('a process whose event loop was blocked does not blame a health check: %s', async (_name, response) => {
  const timeoutMs = 2_000;
  const backend = cleanup.add(await RecorderBackend.start(() => {}));
  const healthCheck = { path: '/healthz', timeoutMs, unhealthyAfter: 1 };
  const { proxy } = cleanup.add(await proxyGateway({ backends: [backend.url], healthCheck }));
  const verdicts: string[] = [];
  proxy.events.on('healthChange', ({ to, error }) => verdicts.push(`${to}: ${error?.message}`));
  await eventually('the backend is asked', () => backend.requests.length === 1);
  await stall(timeoutMs + 100, timeoutMs + 100, () => onlyConnection(backend).end(response));
  await eventually('the check has ended', () => verdicts.length > 0);
  expect(verdicts).toEqual(['healthy: undefined']);
});

test.each([
  ['a request that the proxy forwards', false],
  ['a handler that waits for fetch()', true],
])('a process whose event loop was blocked does not let a circuitBreaker() time out: %s', async (_name, fetches) => {
  const timeoutMs = 2_000;
  const backend = cleanup.add(await RecorderBackend.start(() => {}));
  const breaker = circuitBreaker({ timeoutMs, minimumRequests: 1 });
  const { url } = cleanup.add(
    await proxyGateway({ backends: [backend.url] }, (app) => {
      app.use(breaker);
      if (fetches) app.use(async (_req, res) => void res.send(await (await fetch(backend.url)).text()));
    }),
  );
  const response = fetch(url);
  await eventually('the backend is asked', () => backend.requests.length === 1);
  await stall(timeoutMs + 100, timeoutMs + 100, () => {
    onlyConnection(backend).write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  });
  expect((await response).status).toBe(200);
  expect(breaker.state).toBe('closed');
});
