import { createServer } from 'node:http';
import { afterEach, describe, expect, test } from '@jest/globals';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { afterRead } from '../support/pause.ts';
import { PROTOCOLS } from '../support/protocols.ts';
import { RawClient } from '../support/raw-client.ts';
import { answer, answerOk, RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const reset: Script = (socket) => void socket.resetAndDestroy();

async function setUp(scripts: readonly Script[], options: Partial<Parameters<typeof proxyGateway>[0]> = {}) {
  const backends: RecorderBackend[] = [];
  for (const script of scripts) backends.push(cleanup.add(await RecorderBackend.start(script)));
  const gateway = cleanup.add(await proxyGateway({ backends: backends.map((backend) => backend.url), ...options }));
  const failures: string[] = [];
  gateway.proxy.events.on('attemptFailed', ({ outcome, retried }) => {
    failures.push(`${outcome.kind === 'failed' ? outcome.cause : outcome.kind} ${retried}`);
  });
  return { backends, failures, ...gateway };
}

const seen = (backends: readonly RecorderBackend[]) => backends.map((backend) => backend.requests.length);
const total = (backends: readonly RecorderBackend[]) => seen(backends).reduce((sum, count) => sum + count, 0);

describe('after a reset before the head', () => {
  test.each(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE'])('%s is repeated at another backend', async (method) => {
    const { url, backends, failures } = await setUp([reset, answerOk]);
    const response = await fetch(url, {
      method,
      headers: { 'x-nonce': 'n' },
      ...(method === 'PUT' ? { body: 'b' } : {}),
    });
    expect(response.status).toBe(200);
    expect(seen(backends)).toEqual([1, 1]);
    expect(failures).toEqual(['connection_terminated true']);
  });

  test.each(['POST', 'PATCH', 'PROPFIND'])('F04: %s is not repeated', async (method) => {
    const { url, backends, failures } = await setUp([reset, answerOk]);
    const response = await fetch(url, { method, headers: { 'idempotency-key': 'k' } });
    expect(response.status).toBe(502);
    expect(seen(backends)).toEqual([1, 0]);
    expect(failures).toEqual(['connection_terminated false']);
  });

  test('content within the buffer is sent again as a whole, larger content is not', async () => {
    const late: Script = (socket) => afterRead(() => socket.resetAndDestroy());
    const { url, backends } = await setUp([late, answerOk, late, answerOk], { retry: { bufferBytes: 1_000 } });
    const fits = await fetch(url, { method: 'PUT', body: 'x'.repeat(900) });
    expect(fits.status).toBe(200);
    expect(backends[1]?.received[0]?.toString().endsWith('x'.repeat(900))).toBe(true);
    const tooLong = await fetch(url, { method: 'PUT', body: 'x'.repeat(1_100) });
    expect(tooLong.status).toBe(502);
    expect(seen(backends)).toEqual([1, 1, 1, 0]);
  });

  test('there are no more attempts than configured, and each backend is tried once', async () => {
    const three = await setUp([reset, reset, reset, answerOk]);
    expect((await fetch(three.url)).status).toBe(502);
    expect(seen(three.backends)).toEqual([1, 1, 0, 0]);
    const all = await setUp([reset, reset, reset, answerOk], { retry: { attempts: 9, backoffMs: 1 } });
    expect((await fetch(all.url)).status).toBe(200);
    expect(seen(all.backends)).toEqual([1, 1, 1, 1]);
    const off = await setUp([reset, answerOk], { retry: { attempts: 0 } });
    expect((await fetch(off.url)).status).toBe(502);
  });

  test('a retry ends when its client leaves', async () => {
    // The second retry waits for half of this at least.
    const retry = { attempts: 2, backoffMs: 10_000, maxBackoffMs: 10_000 };
    const { port, backends, failures, proxy } = await setUp([reset, reset, answerOk], { retry });
    const client = await RawClient.connect(port);
    client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await eventually('the second attempt has failed', () => failures.length === 2);
    expect([failures[1], proxy.load().inFlight]).toEqual(['connection_terminated true', 1]);
    client.close();
    // A request that waits is in no backend's count, but in the proxy's: not cancelled, it would leave that by its third attempt.
    await eventually('the request is over', () => proxy.load().inFlight === 0);
    expect(seen(backends)).toEqual([1, 1, 0]);
  });
});

describe.each(PROTOCOLS)('a retry of an upload over $name', ({ serverOf, connect }) => {
  test.each([
    ['that has ended', 'Transfer-Encoding: chunked', '3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n', '', 'end'],
    ['that goes on', 'Transfer-Encoding: chunked', '3\r\nabc\r\n', '3\r\ndef\r\n0\r\n\r\n', 'data'],
    ['of a known length that goes on', 'Content-Length: 6', 'abc', 'def', 'data'],
  ])('content %s arrives whole at the next backend', async (_name, framing, before, after, event) => {
    const breaksOff = createServer((req) => {
      req.on(event, () => req.socket.resetAndDestroy()).resume();
    });
    const failing = cleanup.add(await listen(() => {}, breaksOff));
    const asked: string[] = [];
    const next = cleanup.add(
      await listen(async (req, res) => {
        asked.push('');
        for await (const chunk of req) asked[0] += String(chunk);
        res.end('whole');
      }),
    );
    const backends = [failing.url, next.url];
    const { port } = cleanup.add(await proxyGateway({ backends }, undefined, serverOf));
    const client = cleanup.add(await connect(port));
    client.send(`PUT / HTTP/1.1\r\nHost: a\r\n${framing}\r\n\r\n${before}`);
    await eventually('the next backend has what came', () => asked[0]?.startsWith('abc'));
    client.send(after);
    const response = await client.response();
    expect([response.status, response.content.toString(), asked]).toEqual([200, 'whole', ['abcdef']]);
  });
});

describe('retries of statuses', () => {
  const unavailable = answer('HTTP/1.1 503 Busy\r\nX-Who: first\r\nContent-Length: 4\r\n\r\nbusy');

  test('by default, error statuses are forwarded', async () => {
    const { url, backends } = await setUp([unavailable, answerOk]);
    expect((await fetch(url)).status).toBe(503);
    expect(seen(backends)).toEqual([1, 0]);
  });

  test('with retry.statuses another backend is tried, and nothing of the first response remains', async () => {
    const { url, backends, failures, proxy } = await setUp([unavailable, answerOk], {
      retry: { statuses: [502, 503, 504] },
    });
    const response = await fetch(url, { headers: { 'x-nonce': 'n' } });
    expect([response.status, await response.text(), response.headers.get('x-who')]).toEqual([200, 'n', null]);
    expect(failures).toEqual(['completed true']);
    expect(seen(backends)).toEqual([1, 1]);
    await eventually('nothing is in flight', () => proxy.status().every((backend) => backend.inFlight === 0));
  });

  test('the status of the last backend is forwarded with its content', async () => {
    const { url } = await setUp([unavailable, unavailable], { retry: { statuses: [503] } });
    const response = await fetch(url);
    expect([response.status, await response.text(), response.headers.get('x-who')]).toEqual([503, 'busy', 'first']);
  });

  test('a POST is not sent again for a status', async () => {
    const { url, backends } = await setUp([unavailable, answerOk], { retry: { statuses: [503] } });
    expect((await fetch(url, { method: 'POST', body: 'x' })).status).toBe(503);
    expect(seen(backends)).toEqual([1, 0]);
  });
});

describe('a kept connection that its backend has closed', () => {
  /** Answers the first request of each connection and drops the connection on the second. */
  const oneEach = (): Script => {
    const served = new Set<unknown>();
    return (socket, request, index) => {
      if (served.has(socket)) socket.resetAndDestroy();
      else answerOk(socket, request, index);
      served.add(socket);
    };
  };

  test('a GET is retried on a new connection, and no backend is blamed', async () => {
    const { url, backends, proxy, failures } = await setUp([oneEach()], {
      circuit: { minimumRequests: 1, failureRatio: 0.1 },
    });
    for (let i = 0; i < 6; i += 1) expect((await fetch(url)).status).toBe(200);
    expect(failures.length).toBeGreaterThan(0);
    expect(new Set(failures)).toEqual(new Set(['connection_terminated true']));
    expect(proxy.status()[0]?.circuit).toBe('closed');
    expect(backends[0]?.connections.size).toBeLessThanOrEqual(1);
  });

  test('a POST is not retried, because it may have been executed, and no backend is blamed', async () => {
    const { url, backends, proxy } = await setUp([oneEach()], { circuit: { minimumRequests: 1, failureRatio: 0.1 } });
    expect((await fetch(url, { method: 'POST' })).status).toBe(200);
    expect((await fetch(url, { method: 'POST' })).status).toBe(502);
    expect(backends[0]?.requests).toHaveLength(2);
    expect(proxy.status()[0]?.circuit).toBe('closed');
  });
});

describe('bounds of retries', () => {
  test('F06: when every backend resets, the budget limits retries to a fifth of the requests', async () => {
    const slow: Script = (socket) => setTimeout(() => socket.resetAndDestroy(), 30);
    const { url, backends } = await setUp([slow, slow, slow], {
      circuit: { minimumRequests: 1_000_000 },
      retry: { budgetMinimum: 0 },
    });
    const clients = Array.from({ length: 50 }, async () => {
      for (let i = 0; i < 8; i += 1) expect((await fetch(url)).status).toBe(502);
    });
    await Promise.all(clients);
    const attempts = total(backends);
    expect(attempts).toBeGreaterThan(400);
    expect(attempts).toBeLessThanOrEqual(400 * 1.2);
  });

  test('the deadline bounds the last attempt as well', async () => {
    const { url, backends } = await setUp([() => {}, () => {}], {
      responseTimeoutMs: 1_000,
      retry: { deadlineMs: 1_900, attempts: 5 },
      circuit: { minimumRequests: 1_000 },
    });
    let response: Response;
    let before: number;
    // On a busy machine the time can be over before the second attempt.
    do {
      before = total(backends);
      response = await fetch(url);
      expect(response.status).toBe(504);
    } while (total(backends) < before + 2);
    const { detail } = (await response.json()) as { detail: string };
    const waitedMs = Number(/no response within (\d+) ms/.exec(detail)?.[1]);
    expect(waitedMs).toBeGreaterThan(0);
    expect(waitedMs).toBeLessThanOrEqual(900);
    expect(total(backends)).toBe(before + 2);
  });
});
