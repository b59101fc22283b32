import { Agent, createServer, request } from 'node:http';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { GatewayError } from 'expressway';
import { WebSocket, WebSocketServer } from 'ws';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { mockTimeoutsOnly } from '../support/mock-time.ts';
import { pause } from '../support/pause.ts';
import { RawClient } from '../support/raw-client.ts';
import { answer, answerOk, RecorderBackend } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(async () => {
  jest.useRealTimers();
  await cleanup.run();
});

const backend = async (script?: Parameters<typeof RecorderBackend.start>[0]) =>
  cleanup.add(await RecorderBackend.start(script));
const gateway = async (...args: Parameters<typeof proxyGateway>) => cleanup.add(await proxyGateway(...args));

/** A backend whose answers end when they are told to. */
async function holdingBackend() {
  const held: (() => void)[] = [];
  const recorder = await backend((socket) => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsl');
    held.push(() => socket.write('ow'));
  });
  const release = () => {
    for (const end of held.splice(0)) end();
  };
  return { recorder, url: recorder.url, release };
}

const eventStream = answer('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n');

async function webSocketBackend() {
  const { server, url, close } = await listen((_req, res) => res.end());
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(String(data))));
  cleanup.add({
    close() {
      for (const socket of sockets.clients) socket.terminate();
      return close();
    },
  });
  return { url, sockets };
}

async function openWebSocket(url: string) {
  const socket = new WebSocket(url.replace('http', 'ws'));
  let closed = false;
  socket.on('close', () => {
    closed = true;
  });
  await new Promise((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', reject);
  });
  cleanup.add({ close: () => socket.terminate() });
  const echoes = async () => {
    const said = new Promise((resolve) => socket.once('message', (data) => resolve(String(data))));
    socket.send('still here');
    return (await said) === 'still here';
  };
  return { echoes, isClosed: () => closed };
}

describe('setBackends() and backends that stay', () => {
  test('keep their connections, their circuit and their share of the traffic', async () => {
    const [one, two] = [await backend(), await backend()];
    const bad = await backend(answer('HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops'));
    const { url, proxy } = await gateway({
      backends: [one.url, bad.url],
      circuit: { minimumRequests: 1, openMs: 60_000 },
    });
    for (let i = 0; i < 4; i += 1) await (await fetch(url)).text();
    expect(proxy.status()[1]).toMatchObject({ backend: bad.url, circuit: 'open' });
    proxy.setBackends([two.url, bad.url, one.url]);
    expect(proxy.status().map(({ backend, circuit }) => [backend, circuit])).toEqual([
      [two.url, 'closed'],
      [bad.url, 'open'],
      [one.url, 'closed'],
    ]);
    const before = one.requests.length;
    for (let i = 0; i < 10; i += 1) expect((await fetch(url)).status).toBe(200);
    expect([one.requests.length - before, two.requests.length]).toEqual([5, 5]);
    expect(one.received).toHaveLength(1);
    expect(bad.requests).toHaveLength(1);
  });

  test('get their new options: a weight of 0 stops new requests, running ones end', async () => {
    const { recorder, url: slow, release } = await holdingBackend();
    const other = await backend();
    const { url, proxy } = await gateway({ backends: [slow, other.url] });
    const changes: unknown[] = [];
    proxy.events.on('backendsChanged', (change) => changes.push(change));
    const running = fetch(url);
    await eventually('the slow request arrives', () => recorder.requests.length === 1);
    proxy.setBackends([{ url: slow, weight: 0 }, other.url]);
    for (let i = 0; i < 4; i += 1) await (await fetch(url)).text();
    expect(recorder.requests).toHaveLength(1);
    expect(proxy.status()[0]).toMatchObject({ weight: 0, available: false, inFlight: 1 });
    release();
    expect(await (await running).text()).toBe('slow');
    expect(changes).toEqual([]);
    proxy.setBackends([slow, other.url]);
    expect(proxy.status()[0]).toMatchObject({ weight: 1, available: true, inFlight: 0 });
  });
});

describe('setBackends() and removed backends', () => {
  test('close idle connections at once, and others after their request', async () => {
    const { recorder, url: slow, release } = await holdingBackend();
    const other = await backend();
    const { url, proxy } = await gateway({ backends: [slow, other.url] });
    const running = [fetch(url), fetch(url), fetch(url)];
    await eventually('two are under way', () => recorder.requests.length === 2);
    recorder.script = answerOk;
    await (await fetch(url)).text();
    await (await fetch(url)).text();
    await eventually('an idle connection is left over', () => recorder.connections.size === 3);
    proxy.setBackends([other.url]);
    await eventually('the idle one closes', () => recorder.connections.size === 2);
    release();
    expect(await Promise.all(running.map(async (one) => (await one).text()))).toEqual(['slow', 'ok', 'slow']);
    await eventually('all close', () => recorder.connections.size === 0);
  });

  test('keep event streams and tunnels until they end', async () => {
    const streaming = await backend(eventStream);
    const talking = await webSocketBackend();
    const other = await backend();
    const { url, port, proxy } = await gateway({ backends: [streaming.url, talking.url], idleTimeoutMs: 50 });
    const client = cleanup.add(await RawClient.connect(port));
    client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await client.until((bytes) => bytes.includes('data: 1'));
    const tunnel = await openWebSocket(url);
    proxy.setBackends([other.url]);
    expect((await fetch(url)).status).toBe(200);
    for (const socket of streaming.connections) socket.write('data: 2\n\n');
    await client.until((bytes) => bytes.includes('data: 2'));
    expect(await tunnel.echoes()).toBe(true);
    for (const socket of streaming.connections) socket.end();
    await client.until((bytes) => bytes.includes('0\r\n\r\n'));
    await eventually('its connection closes', () => streaming.connections.size === 0);
  });

  test('drainTimeoutMs ends their remaining streams and tunnels, and no others', async () => {
    const streaming = await backend(eventStream);
    const talking = await webSocketBackend();
    const { url, port, proxy } = await gateway({ backends: [streaming.url, talking.url], drainTimeoutMs: 200 });
    const stream = cleanup.add(await RawClient.connect(port));
    stream.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await stream.until((bytes) => bytes.includes('data: 1'));
    const leaving = await openWebSocket(url);
    const stays = await webSocketBackend();
    mockTimeoutsOnly();
    proxy.setBackends([stays.url]);
    const staying = await openWebSocket(url);
    expect(leaving.isClosed()).toBe(false);
    expect(streaming.connections.size).toBe(1);
    jest.advanceTimersByTime(200);
    await stream.closed();
    expect(stream.pending.toString()).not.toContain('0\r\n\r\n');
    await eventually('the tunnel is cut', leaving.isClosed);
    await eventually('the connections close', () => streaming.connections.size + talking.sockets.clients.size === 0);
    expect(await staying.echoes()).toBe(true);
  });
});

describe('a backend that comes back while it drains', () => {
  test('keeps its circuit and its running requests', async () => {
    const { recorder, url: slow, release } = await holdingBackend();
    const other = await backend();
    const { url, proxy } = await gateway({ backends: [slow, other.url], circuit: { minimumRequests: 3 } });
    const running = [fetch(url), fetch(url), fetch(url)];
    await eventually('two are under way', () => recorder.requests.length === 2);
    recorder.script = answer('HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops');
    for (let i = 0; i < 4; i += 1) await (await fetch(url)).text();
    const changes: unknown[] = [];
    proxy.events.on('backendsChanged', (change) => changes.push(change));
    proxy.setBackends([other.url]);
    proxy.setBackends([other.url, slow]);
    expect(changes).toEqual([
      { service: 'default', added: [], removed: [slow] },
      { service: 'default', added: [slow], removed: [] },
    ]);
    expect(proxy.status()[1]).toMatchObject({ backend: slow, circuit: 'closed', inFlight: 2 });
    for (let i = 0; i < 2; i += 1) await (await fetch(url)).text();
    // Two failures from before it left and one from after: three of three.
    expect(proxy.status()[1]).toMatchObject({ circuit: 'open' });
    release();
    await Promise.all(running.map(async (one) => (await one).text()));
    await eventually('nothing is in flight', () => proxy.status()[1]?.inFlight === 0);
  });

  test.each(['drain', 'isolate'] as const)('is no longer held by the operator: %s', async (act) => {
    const { recorder, url: slow, release } = await holdingBackend();
    const other = await backend();
    const { url, proxy } = await gateway({ backends: [slow, other.url] });
    const running = fetch(url);
    await eventually('it runs', () => recorder.requests.length === 1);
    proxy[act](slow);
    proxy.setBackends([other.url]);
    proxy.setBackends([slow, other.url]);
    expect(proxy.status()[0]).toMatchObject({ held: undefined, circuit: 'closed', available: true, inFlight: 1 });
    release();
    expect(await (await running).text()).toBe('slow');
  });

  test('is not cut by its drain deadline', async () => {
    const talking = await webSocketBackend();
    const other = await backend();
    const { url, proxy } = await gateway({ backends: [talking.url], drainTimeoutMs: 150 });
    const tunnel = await openWebSocket(url);
    proxy.setBackends([other.url]);
    proxy.setBackends([talking.url]);
    await pause('twice the drain deadline', 300);
    expect(await tunnel.echoes()).toBe(true);
  });

  test('starts anew when it had no running request', async () => {
    const bad = await backend(answer('HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops'));
    const other = await backend();
    const { url, proxy } = await gateway({ backends: [bad.url], circuit: { minimumRequests: 1 } });
    await (await fetch(url)).text();
    expect(proxy.status()[0]?.circuit).toBe('open');
    proxy.setBackends([other.url]);
    proxy.setBackends([bad.url]);
    expect(proxy.status()[0]?.circuit).toBe('closed');
  });
});

test('a queued request is sent to an added backend', async () => {
  const { recorder, url: slow, release } = await holdingBackend();
  const other = await backend();
  const queue = { size: 1, timeoutMs: 15_000 };
  const { url, proxy } = await gateway({ backends: [slow], maxRequests: 1, queue });
  const running = fetch(url);
  await eventually('the only place is taken', () => recorder.requests.length === 1);
  const waiting = fetch(url);
  await eventually('one waits', () => proxy.load().waiting === 1);
  proxy.setBackends([slow, other.url]);
  expect(await (await waiting).text()).toBe('ok');
  release();
  expect(await (await running).text()).toBe('slow');
});

describe('setBackends() under load', () => {
  test('200 changes under 50 connections: every request gets a response, and is executed once', async () => {
    const executed = new Map<string, number>();
    const open = new Set<unknown>();
    const backends = await Promise.all(
      Array.from({ length: 4 }, async () => {
        const server = createServer((req, res) => {
          const nonce = String(req.headers['x-nonce']);
          executed.set(nonce, (executed.get(nonce) ?? 0) + 1);
          req.resume().on('end', () => setTimeout(() => res.end(nonce), executed.size % 8));
        });
        server.on('connection', (socket) => {
          open.add(socket);
          socket.on('close', () => open.delete(socket));
        });
        return cleanup.add(await listen(() => {}, server));
      }),
    );
    const urls = backends.map(({ url }) => url);
    const { port, proxy } = await gateway({ backends: urls });
    const agent = new Agent({ keepAlive: true, maxSockets: 50 });
    cleanup.add({ close: () => agent.destroy() });
    const wrong: string[] = [];
    let sent = 0;
    let answered = 0;
    let changes = 0;
    const change = () => {
      changes += 1;
      // Every subset but the empty one, in an order that mixes small and large ones.
      const subset = ((changes * 7) % 15) + 1;
      proxy.setBackends(urls.filter((_, index) => subset & (1 << index)));
    };
    const ask = (): Promise<void> =>
      new Promise((resolve) => {
        sent += 1;
        const nonce = `n${sent}`;
        const method = sent % 3 === 0 ? 'POST' : 'GET';
        const req = request({ port, host: '127.0.0.1', method, agent, headers: { 'x-nonce': nonce } }, (res) => {
          let text = '';
          res.on('data', (chunk) => {
            text += chunk;
          });
          res.on('close', () => {
            if (res.statusCode !== 200 || text !== nonce) wrong.push(`${method} ${res.statusCode} ${text}`);
            resolve();
          });
        });
        req.on('error', (error) => {
          wrong.push(`${method} ${error}`);
          resolve();
        });
        req.end(method === 'POST' ? 'content' : undefined);
      });
    const clients = Array.from({ length: 50 }, async () => {
      while (changes < 200) {
        await ask();
        answered += 1;
        if (answered % 5 === 0) change();
      }
    });
    await Promise.all(clients);
    expect(wrong).toEqual([]);
    expect(sent).toBeGreaterThanOrEqual(1_000);
    expect([...executed.values()].filter((count) => count !== 1)).toEqual([]);
    expect(executed.size).toBe(sent);
    expect(proxy.status().map(({ inFlight }) => inFlight)).toEqual(proxy.status().map(() => 0));
    await proxy.close();
    await eventually('no connection is left over', () => open.size === 0);
  });
});

test('setBackends() throws after close()', async () => {
  const only = await backend();
  const { proxy } = await gateway({ backends: [only.url] });
  await proxy.close();
  expect(() => proxy.setBackends([only.url])).toThrow(
    expect.objectContaining({ code: 'ERR_EXPRESSWAY_CLOSED' }) as unknown as GatewayError,
  );
  expect(() => proxy.setBackends([only.url])).toThrow(GatewayError);
});
