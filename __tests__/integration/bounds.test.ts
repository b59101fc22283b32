import { afterEach, describe, expect, test } from '@jest/globals';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { RawClient } from '../support/raw-client.ts';
import { type RecordedRequest, RecorderBackend } from '../support/recorder-backend.ts';
import { eventually } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** A backend that answers when it is told to, in the order of arrival. */
async function heldBackend() {
  const held: { request: RecordedRequest; answer: () => void }[] = [];
  const backend = cleanup.add(
    await RecorderBackend.start((socket, request) => {
      const nonce = request.field('x-nonce') ?? '';
      const answer = () => socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${nonce.length}\r\n\r\n${nonce}`, 'latin1');
      held.push({ request, answer });
    }),
  );
  return { backend, held };
}

const gatewayFor = async (options: Parameters<typeof proxyGateway>[0]) => cleanup.add(await proxyGateway(options));

async function ask(url: string, nonce: string) {
  const response = await fetch(url, { headers: { 'x-nonce': nonce } });
  return { status: response.status, text: await response.text(), retryAfter: response.headers.get('retry-after') };
}

describe('maxRequests', () => {
  test('a full backend is skipped, and no backend gets more than its maximum', async () => {
    const [one, two] = [await heldBackend(), await heldBackend()];
    const { url, proxy } = await gatewayFor({ backends: [one.backend.url, two.backend.url], maxRequests: 2 });
    const answers = ['a', 'b', 'c', 'd'].map((nonce) => ask(url, nonce));
    await eventually('four arrive', () => one.held.length + two.held.length === 4);
    expect(proxy.status().map(({ inFlight, available }) => [inFlight, available])).toEqual([
      [2, false],
      [2, false],
    ]);
    const refused = await ask(url, 'e');
    expect([refused.status, refused.retryAfter, JSON.parse(refused.text).cause]).toEqual([503, '1', 'overloaded']);
    for (const { answer } of [...one.held, ...two.held]) answer();
    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    await eventually('nothing is in flight', () => proxy.load().inFlight === 0);
  });
});

describe('the queue for a place at a backend', () => {
  test('is first come, first served, and bounded by its size', async () => {
    const { backend, held } = await heldBackend();
    const { url, proxy } = await gatewayFor({
      backends: [backend.url],
      maxRequests: 1,
      queue: { size: 2, timeoutMs: 60_000 },
    });
    const first = ask(url, '1');
    await eventually('the first arrives', () => held.length === 1);
    const second = ask(url, '2');
    await eventually('the second waits', () => proxy.load().waiting === 1);
    const third = ask(url, '3');
    await eventually('the third waits', () => proxy.load().waiting === 2);
    expect(await ask(url, '4')).toMatchObject({ status: 503, retryAfter: '1' });
    for (const [index, answer] of [first, second, third].entries()) {
      await eventually('its turn comes', () => held.length === index + 1);
      held[index]?.answer();
      expect(await answer).toMatchObject({ status: 200, text: String(index + 1) });
    }
    expect(proxy.load()).toMatchObject({ waiting: 0 });
  });

  test('responds with 503 after its timeout', async () => {
    const { backend, held } = await heldBackend();
    const queue = { size: 5, timeoutMs: 300 };
    const { url, proxy } = await gatewayFor({ backends: [backend.url], maxRequests: 1, queue });
    const first = ask(url, '1');
    await eventually('the first arrives', () => held.length === 1);
    expect(await ask(url, '2')).toMatchObject({ status: 503, retryAfter: '1' });
    held[0]?.answer();
    expect((await first).status).toBe(200);
    expect(held).toHaveLength(1);
    await eventually('nothing is in flight', () => proxy.load().inFlight === 0);
  });

  test('drops clients that leave', async () => {
    const { backend, held } = await heldBackend();
    const queue = { size: 5, timeoutMs: 60_000 };
    const { url, port, proxy } = await gatewayFor({ backends: [backend.url], maxRequests: 1, queue });
    const first = ask(url, '1');
    await eventually('the first arrives', () => held.length === 1);
    const client = await RawClient.connect(port);
    client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await eventually('it waits', () => proxy.load().waiting === 1);
    client.close();
    await eventually('it left', () => proxy.load().waiting === 0);
    held[0]?.answer();
    expect((await first).status).toBe(200);
    expect(held).toHaveLength(1);
    await eventually('nothing is in flight', () => proxy.load().inFlight === 0);
    expect(proxy.status()[0]).toMatchObject({ inFlight: 0, available: true });
  });

  test('is served as soon as an open circuit admits a trial', async () => {
    const { backend, held } = await heldBackend();
    const circuit = { minimumRequests: 1, consecutiveFailures: 1, openMs: 100 };
    const queue = { size: 5, timeoutMs: 60_000 };
    const { url, proxy } = await gatewayFor({
      backends: [backend.url],
      maxRequests: 1,
      circuit,
      retry: { attempts: 0 },
      queue,
    });
    const first = ask(url, '1');
    await eventually('the first arrives', () => held.length === 1);
    const second = ask(url, '2');
    await eventually('the second waits', () => proxy.load().waiting === 1);
    for (const socket of backend.connections) socket.resetAndDestroy();
    expect((await first).status).toBe(502);
    await eventually('the second is the trial', () => held.length === 2);
    held[1]?.answer();
    expect((await second).status).toBe(200);
  });

  test('gets a response at once when the proxy closes', async () => {
    const { backend, held } = await heldBackend();
    const queue = { size: 5, timeoutMs: 60_000 };
    const { url, proxy } = await gatewayFor({ backends: [backend.url], maxRequests: 1, queue });
    const first = ask(url, '1');
    await eventually('the first arrives', () => held.length === 1);
    const second = ask(url, '2');
    await eventually('the second waits', () => proxy.load().waiting === 1);
    const closed = proxy.close();
    expect((await second).status).toBe(503);
    expect((await ask(url, '3')).status).toBe(503);
    held[0]?.answer();
    expect((await first).status).toBe(200);
    await closed;
  });

  test('keeps the content of waiting requests', async () => {
    const { backend, held } = await heldBackend();
    const { url, proxy } = await gatewayFor({ backends: [backend.url], maxRequests: 1, queue: { size: 5 } });
    const first = ask(url, '1');
    await eventually('the first arrives', () => held.length === 1);
    const post = fetch(url, { method: 'POST', body: 'precious', headers: { 'x-nonce': '2' } });
    await eventually('it waits', () => proxy.load().waiting === 1);
    held[0]?.answer();
    await first;
    await eventually('it arrives', () => held.length === 2);
    await eventually('with its content', () => backend.received.some((bytes) => bytes.includes('precious')));
    held[1]?.answer();
    expect((await post).status).toBe(200);
  });

  test('never gives a place twice under load', async () => {
    let now = 0;
    let most = 0;
    const backend = cleanup.add(
      await RecorderBackend.start((socket) => {
        most = Math.max(most, ++now);
        setTimeout(() => {
          now -= 1;
          socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
        }, 2);
      }),
    );
    const { url, proxy } = await gatewayFor({
      backends: [backend.url],
      maxRequests: 3,
      queue: { size: 100, timeoutMs: 20_000 },
    });
    const clients = Array.from({ length: 40 }, async () => {
      for (let i = 0; i < 4; i += 1) expect((await ask(url, 'x')).status).toBe(200);
    });
    await Promise.all(clients);
    expect(most).toBeLessThanOrEqual(3);
    await eventually('nothing is left', () => proxy.load().inFlight === 0 && proxy.load().waiting === 0);
  });
});

describe('maximum of requests in flight', () => {
  test('maxInFlight: responds with 503 above the maximum, and accepts again when a request ends', async () => {
    const { backend, held } = await heldBackend();
    const { url, proxy } = await gatewayFor({ backends: [backend.url], maxInFlight: 2 });
    const running = [ask(url, '1'), ask(url, '2')];
    await eventually('two arrive', () => held.length === 2);
    expect(await ask(url, '3')).toMatchObject({ status: 503, retryAfter: '1' });
    for (const { answer } of held) answer();
    await Promise.all(running);
    await eventually('nothing is in flight', () => proxy.load().inFlight === 0);
    const next = ask(url, '4');
    await eventually('it arrives', () => held.length === 3);
    held[2]?.answer();
    expect((await next).status).toBe(200);
  });

  test.each([
    ['address', '192.0.2.1', '192.0.2.1', '192.0.2.2'],
    ['address with a port', '192.0.2.1:5000', '192.0.2.1:5001', '192.0.2.2:5000'],
    ['IPv6 network', '2001:db8::1', '2001:db8:0:ff::2', '2001:db8:0:100::1'],
    ['address inside', 'fd00::1', 'fd00::1', 'fd00::2'],
    ['peer that forwards no address', 'forged', 'too', '192.0.2.1'],
  ])(
    'maxInFlightPerClient: responds with 429 to the one client only, by its %s',
    async (_title, one, same, another) => {
      const { backend, held } = await heldBackend();
      const { port, proxy } = cleanup.add(
        await proxyGateway({ backends: [backend.url], maxInFlightPerClient: 1 }, (app) => app.set('trust proxy', 1)),
      );
      const request = (client: string) => `GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: ${client}\r\n\r\n`;
      const [first, again, other] = await Promise.all(
        [1, 2, 3].map(async () => cleanup.add(await RawClient.connect(port))),
      );
      first?.send(request(one));
      await eventually('the first arrives', () => held.length === 1);
      again?.send(request(same));
      const refused = await again?.response();
      expect([refused?.status, refused?.field('retry-after')]).toEqual([429, '1']);
      other?.send(request(another));
      await eventually('the other arrives', () => held.length === 2);
      for (const { answer } of held) answer();
      expect([(await first?.response())?.status, (await other?.response())?.status]).toEqual([200, 200]);
      await eventually('nothing is in flight', () => proxy.load().inFlight === 0);
      again?.send(request(same));
      await eventually('it may again', () => held.length === 3);
      held[2]?.answer();
      expect((await again?.response())?.status).toBe(200);
    },
  );
});
