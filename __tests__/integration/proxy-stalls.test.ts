import { createServer, type Server } from 'node:http';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import express from 'express';
import {
  circuitBreaker,
  forwardAuth,
  GatewayEvents,
  jwtAuth,
  type MirroredEvent,
  proxyProtocol,
  serviceRouter,
} from 'expressway';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { DnsServer } from '../support/dns-server.ts';
import { Cleanup, proxyGateway, type TestGateway } from '../support/gateway.ts';
import { pause } from '../support/pause.ts';
import { PROTOCOLS, type TextClient } from '../support/protocols.ts';
import { RawClient } from '../support/raw-client.ts';
import { answerOk, RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';
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

describe('a process whose event loop was blocked does not count the pause as a timeout of', () => {
  const timeoutMs = 2_000;
  const stallTooLong = (meanwhile: () => void) => stall(timeoutMs + 100, timeoutMs + 100, meanwhile);
  const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
  /** A server that is asked once, and answers only when the test does. */
  const silent = async () => cleanup.add(await RecorderBackend.start(() => {}));
  const answering = async () => cleanup.add(await RecorderBackend.start(answerOk));
  const isAsked = (server: RecorderBackend) => eventually('it is asked', () => server.requests.length === 1);

  test.each([
    ['its verdict', OK, 200],
    ['its verdict, without a length', 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok', 200],
    ['its login page', 'HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nmine', 403],
    ['its login page, without a length', 'HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\nmine', 403],
  ])('the service of forwardAuth(): %s', async (_name, answer, status) => {
    const [service, backend] = [await silent(), await answering()];
    const { url } = cleanup.add(
      await proxyGateway({ backends: [backend.url] }, (app) => app.use(forwardAuth({ url: service.url, timeoutMs }))),
    );
    const response = fetch(url);
    await isAsked(service);
    await stallTooLong(() => onlyConnection(service).end(answer));
    expect((await response).status).toBe(status);
  });

  test('the key set of jwtAuth()', async () => {
    const [issuer, backend] = [await silent(), await answering()];
    const { publicKey, privateKey } = await generateKeyPair('ES256');
    const keys = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), alg: 'ES256' }] });
    const token = await new SignJWT({ sub: 'a' })
      .setProtectedHeader({ alg: 'ES256' })
      .setExpirationTime('1h')
      .sign(privateKey);
    const auth = jwtAuth({ jwksUrl: issuer.url, jwksTimeoutMs: timeoutMs });
    const { url } = cleanup.add(await proxyGateway({ backends: [backend.url] }, (app) => app.use(auth)));
    const response = fetch(url, { headers: { authorization: `Bearer ${token}` } });
    await isAsked(issuer);
    await stallTooLong(() => {
      onlyConnection(issuer).end(`HTTP/1.1 200 OK\r\nContent-Length: ${keys.length}\r\n\r\n${keys}`);
    });
    expect((await response).status).toBe(200);
  });

  test.each(['the service that gets copies', 'a route with requestTimeoutMs'])('%s', async (name) => {
    const isCopy = name.includes('copies');
    const [live, next] = isCopy ? [await answering(), await silent()] : [await silent(), await answering()];
    const events = new GatewayEvents();
    const told: MirroredEvent[] = [];
    events.on('mirrored', (event) => told.push(event));
    const route = isCopy ? { mirror: { service: 'next', timeoutMs } } : { requestTimeoutMs: timeoutMs };
    const router = serviceRouter({
      services: { live: { backends: [live.url] }, next: { backends: [next.url] } },
      routes: [{ service: 'live', ...route }],
      events,
    });
    cleanup.add(router);
    const { url } = cleanup.add(await listen(express().use(router)));
    const response = fetch(url);
    const asked = isCopy ? next : live;
    await isAsked(asked);
    await stallTooLong(() => onlyConnection(asked).write(OK));
    expect((await response).status).toBe(200);
    if (!isCopy) return;
    await eventually('the copy has ended', () => told.length === 1);
    expect(told).toMatchObject([{ result: 'sent' }]);
  });

  test('the queue, when the response that makes room has arrived', async () => {
    const backend = cleanup.add(
      await RecorderBackend.start((socket, { target }) => void (target === '/2' && socket.write(OK))),
    );
    const options = { backends: [backend.url], maxRequests: 1, queue: { size: 1, timeoutMs } };
    const { url, proxy } = cleanup.add(await proxyGateway(options));
    const first = fetch(`${url}/1`);
    await isAsked(backend);
    const second = fetch(`${url}/2`);
    await eventually('it waits', () => proxy.load().waiting === 1);
    await stallTooLong(() => onlyConnection(backend).write(OK));
    expect([(await first).status, (await second).status]).toEqual([200, 200]);
  });

  test('a load balancer that sends the PROXY protocol', async () => {
    const backend = await answering();
    const { port, server } = cleanup.add(
      await proxyGateway({ backends: [backend.url] }, undefined, (app) =>
        proxyProtocol(createServer(app), { isTrusted: () => true, headerTimeoutMs: timeoutMs }),
      ),
    );
    const client = await RawClient.connect(port);
    cleanup.add(client);
    await eventually('it is accepted', async () => (await connectionsOf(server)) === 1);
    await stallTooLong(() => {
      client.send('PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n');
    });
    expect((await client.response()).status).toBe(200);
  });

  test('a name server', async () => {
    const [dns, backend] = [cleanup.add(await DnsServer.start()), await answering()];
    dns.records.set('api.test', 'silent');
    const { port } = new URL(backend.url);
    const options = {
      backends: [`dns://api.test:${port}`],
      dns: { servers: [dns.address], timeoutMs, family: 4 },
    } as const;
    const { url, proxy } = cleanup.add(await proxyGateway(options));
    const failures: string[] = [];
    proxy.events.on('discoveryFailed', ({ error }) => failures.push(error.message));
    await eventually('it is asked', () => dns.questions.length === 1);
    dns.records.set('api.test', { a: ['127.0.0.1'] });
    await stallTooLong(() => dns.answerLate());
    await proxy.ready();
    expect([(await fetch(url)).status, failures]).toEqual([200, []]);
  });
});

const connectionsOf = (server: Server): Promise<number> =>
  new Promise((resolve, reject) => {
    server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)));
  });
