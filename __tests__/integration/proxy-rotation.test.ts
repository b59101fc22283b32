import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { OptionsError, roundRobinProxy } from 'expressway';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { answer, RecorderBackend } from '../support/recorder-backend.ts';
import { closedPort, eventually } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(async () => {
  jest.restoreAllMocks();
  await cleanup.run();
});

const backend = async (script?: Parameters<typeof RecorderBackend.start>[0]) =>
  cleanup.add(await RecorderBackend.start(script));
const gateway = async (...args: Parameters<typeof proxyGateway>) => cleanup.add(await proxyGateway(...args));

describe('rotation', () => {
  test('F01: sequential requests rotate strictly', async () => {
    const backends = [await backend(), await backend(), await backend()];
    const { url } = await gateway({ backends: backends.map((b) => b.url) });
    for (let i = 0; i < 300; i += 1) await (await fetch(url)).text();
    expect(backends.map((b) => b.requests.length)).toEqual([100, 100, 100]);
  });

  test('F01: fifty requests at a time keep the shares within 2 %', async () => {
    const backends = [await backend(), await backend(), await backend()];
    const { url } = await gateway({ backends: backends.map((b) => b.url) });
    for (let round = 0; round < 12; round += 1) {
      await Promise.all(Array.from({ length: 50 }, async () => (await fetch(url)).text()));
    }
    for (const { requests } of backends) expect(Math.abs(requests.length - 200)).toBeLessThanOrEqual(4);
  });

  test.each(['GET', 'POST', 'PATCH'])(
    'F03: after a refused connection the next backend serves the request: %s',
    async (method) => {
      const alive = await backend();
      const dead = `http://127.0.0.1:${await closedPort()}`;
      const { url, proxy } = await gateway({ backends: [dead, alive.url] });
      const failures: string[] = [];
      proxy.events.on('attemptFailed', ({ outcome, retried }) => {
        failures.push(`${outcome.kind === 'failed' && outcome.cause} ${retried}`);
      });
      const request = { method, headers: { 'x-nonce': 'n1' }, ...(method === 'GET' ? {} : { body: 'content' }) };
      for (let i = 0; i < 4; i += 1) {
        const response = await fetch(url, request);
        expect([response.status, await response.text()]).toEqual([200, 'n1']);
      }
      expect(alive.requests).toHaveLength(4);
      expect(failures[0]).toBe('connection_refused true');
    },
  );

  test('a refusing backend is skipped while its circuit is open, and tried again afterwards', async () => {
    const alive = await backend();
    const port = await closedPort();
    const { url, proxy } = await gateway({
      backends: [`http://127.0.0.1:${port}`, alive.url],
      circuit: { minimumRequests: 3, openMs: 600_000, halfOpenRequests: 1 },
    });
    let attempts = 0;
    proxy.events.on('attemptFailed', () => {
      attempts += 1;
    });
    for (let i = 0; i < 12; i += 1) expect((await fetch(url)).status).toBe(200);
    expect(attempts).toBe(3);
    expect(proxy.status()[0]).toMatchObject({ circuit: 'open', available: false, inFlight: 0 });
    const now = Date.now.bind(Date);
    jest.spyOn(Date, 'now').mockImplementation(() => now() + 600_000);
    expect(proxy.status()[0]?.available).toBe(true);
    for (let i = 0; i < 2; i += 1) expect((await fetch(url)).status).toBe(200);
    expect(attempts).toBe(4);
  });

  test('a backend that responds with 500 opens its own circuit only', async () => {
    const bad = await backend(answer('HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops'));
    const good = await backend();
    const { url, proxy } = await gateway({ backends: [bad.url, good.url] });
    const changes: string[] = [];
    proxy.events.on('circuitStateChange', ({ circuit, from, to }) => changes.push(`${circuit} ${from} ${to}`));
    const statuses: number[] = [];
    for (let i = 0; i < 20; i += 1) statuses.push((await fetch(url)).status);
    expect(statuses.filter((status) => status === 500)).toHaveLength(5);
    expect(bad.requests).toHaveLength(5);
    expect(changes).toEqual([`${bad.url} closed open`]);
    expect(proxy.status().map((s) => s.circuit)).toEqual(['open', 'closed']);
  });

  test('F12: 404 and 429 open no circuit, and are forwarded unchanged', async () => {
    const busy = await backend(
      answer('HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy'),
    );
    const { url, proxy } = await gateway({ backends: [busy.url] });
    for (let i = 0; i < 20; i += 1) {
      const response = await fetch(url);
      expect([response.status, response.headers.get('retry-after'), await response.text()]).toEqual([429, '7', 'busy']);
    }
    expect(proxy.status()[0]?.circuit).toBe('closed');
  });

  test('F11: when all circuits are open, requests get 503 with Retry-After without a connection', async () => {
    const failing = answer('HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n');
    const backends = [await backend(failing), await backend(failing)];
    const ports = backends.map(({ url }) => new URL(url).port);
    const { url, proxy } = await gateway({
      backends: backends.map((one) => one.url),
      circuit: { minimumRequests: 1, openMs: 30_000 },
    });
    for (const _ of backends) expect((await fetch(url)).status).toBe(500);
    let attempts = 0;
    proxy.events.on('attemptFailed', () => {
      attempts += 1;
    });
    const response = await fetch(url);
    expect(response.status).toBe(503);
    expect(Number(response.headers.get('retry-after'))).toBeGreaterThanOrEqual(29);
    expect(response.headers.get('content-type')).toBe('application/problem+json');
    expect(response.headers.get('proxy-status')).toBe('expressway; error=destination_unavailable');
    const problem = await response.text();
    expect(JSON.parse(problem)).toMatchObject({ status: 503, cause: 'no_backend' });
    for (const port of ports) expect(problem).not.toContain(String(port));
    expect(attempts).toBe(0);
  });
});

describe('changes of the list of backends', () => {
  test('setBackends() keeps the circuits of backends that stay, and lets requests of removed ones finish', async () => {
    let finish = () => {};
    const slow = await backend((socket) => {
      finish = () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow');
    });
    const other = await backend();
    const { url, proxy } = await gateway({ backends: [slow.url, other.url] });
    const changes: unknown[] = [];
    proxy.events.on('backendsChanged', (change) => changes.push(change));
    const running = fetch(url);
    await eventually('the slow request arrives', () => slow.requests.length === 1);
    proxy.setBackends([other.url]);
    expect(changes).toEqual([{ service: 'default', added: [], removed: [slow.url] }]);
    for (let i = 0; i < 4; i += 1) expect((await fetch(url)).status).toBe(200);
    expect(slow.requests).toHaveLength(1);
    finish();
    expect(await (await running).text()).toBe('slow');
    await eventually('its connection closes', () => slow.connections.size === 0);
  });

  test('setBackends() refuses an invalid list as a whole, and the old one stays', async () => {
    const only = await backend();
    const { url, proxy } = await gateway({ backends: [only.url] });
    expect(() => proxy.setBackends(['http://localhost:1', 'ftp://x'])).toThrow(OptionsError);
    expect(() => proxy.setBackends([])).toThrow('non-empty');
    expect((await fetch(url)).status).toBe(200);
    expect(proxy.status().map((s) => s.backend)).toEqual([only.url]);
  });
});

describe('options', () => {
  test('invalid options throw one error that lists every problem', () => {
    const bad = {
      backends: ['http://a/path', 'http://user:secret@b', 'http://c', 'http://c:80', 'nonsense'],
      connectTimeoutMs: -1,
      forwarded: 'trust me',
      colour: 'blue',
    };
    expect(() => roundRobinProxy(bad as never)).toThrow(OptionsError);
    try {
      roundRobinProxy(bad as never);
    } catch (error) {
      const { message } = error as Error;
      for (const part of ['colour', 'connectTimeoutMs', 'forwarded', '/path', 'credentials', 'twice', 'nonsense']) {
        expect(message).toContain(part);
      }
      expect(message).not.toContain('secret');
    }
    expect(() => roundRobinProxy({ backends: ['http://a'], circuit: { openMs: 0, nope: 1 } as never })).toThrow(
      /nope.*openMs|openMs.*nope/,
    );
  });
});
