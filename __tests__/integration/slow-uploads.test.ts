import { afterEach, describe, expect, jest, test } from '@jest/globals';
import type { Express } from 'express';
import type { AttemptFailedEvent, RoundRobinProxyOptions } from 'expressway';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { mockTimeoutsOnly } from '../support/mock-time.ts';
import { pause } from '../support/pause.ts';
import { PROTOCOLS } from '../support/protocols.ts';
import { RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { eventually } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(async () => {
  jest.useRealTimers();
  jest.restoreAllMocks();
  await cleanup.run();
});

const POST = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n';
const IDLE_408 = 'HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n';
/** One failure opens the circuit. */
const STRICT = { minimumRequests: 1, failureRatio: 0.1 };

/** A middleware that reads bodies at its own pace, and calls `next()` at once. */
const readsToo = (app: Express) =>
  app.use((req, _res, next) => {
    req.on('readable', () => {
      while (req.read() !== null);
    });
    next();
  });

describe.each(PROTOCOLS)('over $name', (protocol) => {
  async function setUp(
    script: Script,
    options: Partial<RoundRobinProxyOptions> = {},
    prepare?: (app: Express) => void,
  ) {
    const backend = cleanup.add(await RecorderBackend.start(script));
    const gateway = cleanup.add(
      await proxyGateway({ backends: [backend.url], circuit: STRICT, ...options }, prepare, protocol.serverOf),
    );
    const failures: AttemptFailedEvent[] = [];
    gateway.proxy.events.on('attemptFailed', (event) => failures.push(event));
    return { backend, ...gateway, failures, client: cleanup.add(await protocol.connect(gateway.port)) };
  }

  /** Responds with `bytes` once the last byte of the request is here. */
  const afterContent =
    (bytes: string): Script =>
    (socket) =>
      socket.on('data', (chunk) => chunk.toString().endsWith('END') && socket.write(bytes));

  describe('the time of a client that uploads slowly', () => {
    test('is not the time of the backend: it stops for longer than responseTimeoutMs, and gets the response', async () => {
      const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
      const { backend, client, failures } = await setUp(afterContent(ok), { responseTimeoutMs: 50 });
      client.send(`${POST}hello`);
      await eventually('the backend has the first part', () => backend.received[0]?.includes('hello'));
      await pause('six times responseTimeoutMs', 300);
      client.send('END');
      expect((await client.response()).status).toBe(200);
      expect(failures).toEqual([]);
    });

    test('nor is the time of a backend that reads slowly, as long as it reads', async () => {
      const LENGTH = 64 * 1_048_576;
      const PORTION = 4 * 1_048_576;
      let read = 0;
      const { client, failures } = await setUp(
        (socket) => {
          socket.removeAllListeners('data').on('data', (chunk: Buffer) => {
            const isPortionOver = Math.floor(read / PORTION) < Math.floor((read + chunk.length) / PORTION);
            read += chunk.length;
            if (chunk.at(-1) === 1) socket.write('HTTP/1.1 204 No Content\r\n\r\n');
            else if (isPortionOver) setTimeout(() => socket.resume(), 150) && socket.pause();
          });
        },
        { responseTimeoutMs: 1_000 },
      );
      client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${LENGTH}\r\n\r\n`);
      client.send(Buffer.concat([Buffer.alloc(LENGTH - 1), Buffer.of(1)]));
      expect((await client.response()).status).toBe(204);
      expect(failures).toEqual([]);
    });

    test.each([
      ['idleTimeoutMs', undefined],
      ['idleTimeoutMs where a middleware reads the body as well', readsToo],
    ])('ends after %s: it gets 408, and the backend neither a whole request nor the blame', async (_name, prepare) => {
      const timeouts = { responseTimeoutMs: 50, idleTimeoutMs: 400 };
      const { backend, client, proxy, failures } = await setUp(() => {}, timeouts, prepare);
      const startedAt = performance.now();
      client.send(`${POST}hello`);
      const response = await client.response();
      expect([response.status, response.field('proxy-status')]).toEqual([408, expect.stringContaining('http_request')]);
      expect(performance.now() - startedAt).toBeGreaterThan(350);
      await eventually('the backend is free', () => backend.connections.size === 0);
      expect(proxy.status()[0]).toMatchObject({ circuit: 'closed', inFlight: 0 });
      expect(failures).toEqual([]);
      expect(backend.received[0]?.toString()).toMatch(/hello$/);
    });

    test('a 408 right after the last byte of a slow upload is the response to it', async () => {
      let served = 0;
      const { backend, client } = await setUp((socket, request, index) => {
        if (served++ === 0) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
        else afterContent(IDLE_408)(socket, request, index);
      });
      client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
      expect((await client.response()).status).toBe(200);
      client.send(`${POST}hello`);
      await eventually('the backend has the first part', () => backend.received[0]?.includes('hello'));
      const now = Date.now.bind(Date);
      jest.spyOn(Date, 'now').mockImplementation(() => now() + 5_000);
      client.send('END');
      expect((await client.response()).status).toBe(408);
    });
  });

  describe('a kept connection that dies', () => {
    test.each([
      ['before a byte of the response', '', 200, 'closed', 3],
      ['within the head of the response', 'HTTP/1.1 200 OK\r\nX-A', 502, 'open', 2],
    ])('%s', async (_name, bytes, status, circuit, requests) => {
      let served = 0;
      const { backend, client, proxy } = await setUp(
        (socket) => {
          if (served++ === 1) socket.end(bytes);
          else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
        },
        { retry: { attempts: 0 } },
      );
      for (const expected of [200, status]) {
        client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
        expect((await client.response()).status).toBe(expected);
      }
      expect(proxy.status()[0]?.circuit).toBe(circuit);
      expect(backend.requests).toHaveLength(requests);
    });
  });

  test('a request with credentials for its connection gets 503 from a closed proxy, as any other request does', async () => {
    const { client, proxy } = await setUp(() => {});
    await proxy.close();
    for (const field of ['', 'Authorization: Negotiate abc\r\n']) {
      client.send(`GET / HTTP/1.1\r\nHost: a\r\n${field}\r\n`);
      expect((await client.response()).status).toBe(503);
    }
  });

  test('a backend that never responds fails with ETIMEDOUT, and the message names the option', async () => {
    const { client, failures, proxy } = await setUp(() => {}, { responseTimeoutMs: 50, retry: { attempts: 0 } });
    client.send(`${POST}helloEND`);
    expect((await client.response()).status).toBe(504);
    expect(failures).toMatchObject([
      {
        outcome: {
          cause: 'http_response_timeout',
          error: { code: 'ETIMEDOUT', message: expect.stringContaining('50 ms (responseTimeoutMs') },
        },
      },
    ]);
    expect(proxy.status()[0]?.inFlight).toBe(0);
  });

  const LONG_BACKOFF = { attempts: 2, backoffMs: 10_000, maxBackoffMs: 10_000, deadlineMs: 60_000 };

  /** Three backends, two of which fail once they have the first part of a body. The first retry follows at once, the second one waits. */
  async function uploads(retry: typeof LONG_BACKOFF & { bufferBytes?: number }, prepare?: (app: Express) => void) {
    const backends: RecorderBackend[] = [];
    for (let i = 0; i < 3; i += 1) backends.push(cleanup.add(await RecorderBackend.start(() => {})));
    const urls = backends.map(({ url }) => url);
    const { port, proxy } = cleanup.add(await proxyGateway({ backends: urls, retry }, prepare, protocol.serverOf));
    const client = cleanup.add(await protocol.connect(port));
    mockTimeoutsOnly();
    const retryWaits = async (firstPart: string) => {
      for (const backend of backends.slice(0, 2)) {
        await eventually('the first part arrives', () => backend.received[0]?.toString().endsWith(firstPart));
        for (const socket of backend.connections) socket.resetAndDestroy();
      }
      await eventually('the retry waits', () => proxy.status().every(({ inFlight }) => inFlight === 0));
    };
    return { backends, client, retryWaits };
  }

  /** The client sends the rest of its body while a retry waits, and a middleware reads it to its end. Then the retry is due. */
  async function readWhileRetryWaits(retry: Parameters<typeof uploads>[0]) {
    let isRead = false;
    const { backends, client, retryWaits } = await uploads(retry, (app) => {
      app.use((req, _res, next) => {
        req.on('end', () => {
          isRead = true;
        });
        next();
      });
      readsToo(app);
    });
    client.send(`${POST.replace('POST', 'PUT')}hello`);
    await retryWaits('hello');
    client.send('END');
    await eventually('the body ends', () => isRead);
    jest.advanceTimersByTime(10_000);
    return { last: backends[2] as RecorderBackend, client };
  }

  test('a body that ends while a retry waits, because a middleware reads it, goes to the next backend as a whole', async () => {
    const { last } = await readWhileRetryWaits(LONG_BACKOFF);
    await eventually('all of it arrives', () => last.received[0]?.toString().endsWith('helloEND'));
  });

  test('a body that grows longer than bufferBytes while a retry waits gets the response to the last failure', async () => {
    const { last, client } = await readWhileRetryWaits({ ...LONG_BACKOFF, bufferBytes: 6 });
    expect((await client.response()).status).toBe(502);
    expect(last.requests).toEqual([]);
  });

  test('while the retry of an upload waits, its client waits, too, and the next backend gets the body as a whole', async () => {
    const SENT = 64 * 1_024;
    const LENGTH = 1_048_576;
    const { backends, client, retryWaits } = await uploads({ ...LONG_BACKOFF, bufferBytes: SENT });
    client.send(`PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: ${LENGTH}\r\n\r\n`);
    client.send(Buffer.alloc(SENT, 'a'));
    await retryWaits('a'.repeat(SENT));
    client.send(Buffer.alloc(LENGTH - SENT, 'a'));
    // Time enough to read more than the gateway keeps.
    for (let turn = 0; turn < 100; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    jest.advanceTimersByTime(10_000);
    await eventually('all of it arrives', () => (backends[2]?.received[0]?.length ?? 0) > LENGTH);
    for (const socket of backends[2]?.connections ?? []) socket.write('HTTP/1.1 204 No Content\r\n\r\n');
    expect((await client.response()).status).toBe(204);
  });
});
