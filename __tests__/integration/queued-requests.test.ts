import { afterEach, describe, expect, jest, test } from '@jest/globals';
import type { RoundRobinProxyOptions } from 'expressway';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { mockTimeoutsOnly } from '../support/mock-time.ts';
import { stays } from '../support/pause.ts';
import { RawClient } from '../support/raw-client.ts';
import { RecorderBackend } from '../support/recorder-backend.ts';
import { eventually } from '../support/servers.ts';
import { expectWarnings } from '../support/warnings.ts';

expectWarnings('ERR_EXPRESSWAY_BODY_ALREADY_READ');

const cleanup = new Cleanup();
afterEach(async () => {
  jest.useRealTimers();
  await cleanup.run();
});

/** Nothing waits for so long: what happens earlier has another reason. */
const QUEUE = { size: 9, timeoutMs: 60_000 };

/** A backend whose requests stay until the test responds to them. */
async function heldBackend() {
  const held: { target: string; ok: () => void; reset: () => void }[] = [];
  const backend = cleanup.add(
    await RecorderBackend.start((socket, { target }) => {
      held.push({
        target,
        ok: () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'),
        reset: () => socket.resetAndDestroy(),
      });
    }),
  );
  return { url: backend.url, backend, held };
}

type Held = Awaited<ReturnType<typeof heldBackend>>;

async function gatewayOf(
  backends: readonly Held[],
  options: Partial<RoundRobinProxyOptions> = {},
  prepare?: Parameters<typeof proxyGateway>[1],
) {
  const urls = backends.map(({ url }) => url);
  const gateway = await proxyGateway({ backends: urls, maxRequests: 1, queue: QUEUE, ...options }, prepare);
  const ask = async (target: string, more = '\r\n') => {
    const client = cleanup.add(await RawClient.connect(gateway.port));
    client.send(`${more.length > 2 ? 'POST' : 'GET'} ${target} HTTP/1.1\r\nHost: a\r\n${more}`);
    return client;
  };
  return { ...cleanup.add(gateway), ask };
}

const arrival = ({ held }: Held, target: string) =>
  eventually(`${target} arrives`, () => held.some((one) => one.target === target));

describe('a request that waits for a backend', () => {
  test('gets 503 at once when the proxy is closed; the one that has a backend gets its response', async () => {
    const backend = await heldBackend();
    // Longer than a test may take.
    const { proxy, ask } = await gatewayOf([backend], { queue: { size: 9, timeoutMs: 600_000 } });
    const first = await ask('/1');
    await arrival(backend, '/1');
    const second = await ask('/2');
    await eventually('it waits', () => proxy.load().waiting === 1);
    const closed = proxy.close();
    expect((await second.response()).status).toBe(503);
    backend.held[0]?.ok();
    expect((await first.response()).status).toBe(200);
    await closed;
  });

  test.each([
    ['without a body', '\r\n'],
    ['with a body', 'Content-Length: 5\r\n\r\nhello'],
    ['with half a body', 'Content-Length: 9\r\n\r\nhello'],
  ])('leaves at once with its client, and the next one takes its place: %s', async (_name, more) => {
    const backend = await heldBackend();
    const { proxy, ask } = await gatewayOf([backend]);
    const first = await ask('/1');
    await arrival(backend, '/1');
    const second = await ask('/2', more);
    await eventually('it waits', () => proxy.load().waiting === 1);
    const third = await ask('/3');
    await eventually('both wait', () => proxy.load().waiting === 2);
    second.close();
    await eventually('one has left', () => proxy.load().waiting === 1);
    await eventually('it counts no more', () => proxy.load().inFlight === 2);
    backend.held[0]?.ok();
    expect((await first.response()).status).toBe(200);
    await arrival(backend, '/3');
    backend.held[1]?.ok();
    expect((await third.response()).status).toBe(200);
    expect(backend.held.map(({ target }) => target)).toEqual(['/1', '/3']);
    await eventually('nothing is in flight', () => proxy.load().inFlight === 0);
  });

  test('does not hold up the next one while only a backend is free that failed it', async () => {
    const backends = [await heldBackend(), await heldBackend(), await heldBackend()] as const;
    const [one, two, three] = backends;
    const { proxy, ask } = await gatewayOf(backends, {
      circuit: { minimumRequests: 100 },
      retry: { attempts: 2, backoffMs: 10_000, maxBackoffMs: 10_000, deadlineMs: 60_000 },
    });
    mockTimeoutsOnly();
    const failing = await ask('/fails');
    await arrival(one, '/fails');
    one.held[0]?.reset();
    await arrival(two, '/fails');
    two.held[0]?.reset();
    await eventually('the retry waits', () => proxy.status().every(({ inFlight }) => inFlight === 0));
    const others = new Map<Held, RawClient>();
    for (const backend of [three, one, two]) {
      others.set(backend, await ask('/other'));
      await arrival(backend, '/other');
    }
    jest.advanceTimersByTime(10_000);
    expect(proxy.load().waiting).toBe(1);
    const behind = await ask('/behind');
    await eventually('it waits', () => proxy.load().waiting === 2);
    one.held[1]?.ok();
    await arrival(one, '/behind');
    one.held[2]?.ok();
    expect((await behind.response()).status).toBe(200);
    expect(proxy.load().waiting).toBe(1);
    three.held[0]?.ok();
    await arrival(three, '/fails');
    three.held[1]?.ok();
    expect((await failing.response()).status).toBe(200);
  });

  test('is the trial of a backend with an open circuit as soon as a health check there passes', async () => {
    mockTimeoutsOnly();
    const [busy, failing] = [await heldBackend(), await heldBackend()];
    const circuit = { minimumRequests: 1, failureRatio: 1, openMs: 1 };
    const { proxy, ask } = await gatewayOf([busy, failing], { circuit, healthCheck: { path: '/healthz' } });
    await ask('/1');
    await arrival(busy, '/1');
    const fails = await ask('/2', 'Content-Length: 5\r\n\r\nhello');
    await arrival(failing, '/2');
    failing.held[0]?.reset();
    expect((await fails.response()).status).toBe(502);
    const waits = await ask('/3');
    await eventually('it waits', () => proxy.load().waiting === 1);
    // The circuit has opened, so a check is due.
    jest.advanceTimersByTime(10);
    await arrival(failing, '/healthz');
    expect(proxy.load().waiting).toBe(1);
    failing.held[1]?.ok();
    await arrival(failing, '/3');
    failing.held[2]?.ok();
    expect((await waits.response()).status).toBe(200);
  });

  test('whose body another listener to "data" gets as well: the body waits too, and arrives whole', async () => {
    const backend = await heldBackend();
    let drawn = 0;
    const { ask } = await gatewayOf([backend], { maxBodyBytes: 0 }, (app) => {
      app.use((req, _res, next) => {
        req.on('data', (chunk: Buffer) => {
          drawn += chunk.length;
        });
        next();
      });
    });
    const first = await ask('/1');
    await arrival(backend, '/1');
    // More than the gateway keeps.
    const length = 20_000_000;
    const upload = await ask('/upload', `Content-Length: ${length}\r\n\r\n`);
    upload.send(Buffer.alloc(length));
    await eventually('the body begins', () => drawn > 0);
    await stays('most of the body waits', () => drawn < length / 2, 200);
    backend.held[0]?.ok();
    expect((await first.response()).status).toBe(200);
    await eventually('the other listener has it all', () => drawn === length);
    await arrival(backend, '/upload');
    await eventually('the backend has it all', () => Buffer.concat(backend.backend.received).length > length);
    backend.held[1]?.ok();
    expect((await upload.response()).status).toBe(200);
  });

  test.each([
    ['the gateway keeps', 500, 0],
    ['maxBodyBytes', 413, 1_048_576],
  ])('whose body another reader draws meanwhile, more of it than %s, gets %i', async (_name, status, maxBodyBytes) => {
    const backend = await heldBackend();
    let drawn = 0;
    const { proxy, ask } = await gatewayOf([backend], { maxBodyBytes }, (app) => {
      app.use((req, _res, next) => {
        req.on('readable', () => {
          for (let chunk = req.read(); chunk !== null; chunk = req.read()) drawn += chunk.length;
        });
        next();
      });
    });
    const first = await ask('/1');
    await arrival(backend, '/1');
    const length = 17 * 1_048_576;
    const upload = await ask('/upload', `Transfer-Encoding: chunked\r\n\r\n${length.toString(16)}\r\n`);
    upload.send(Buffer.alloc(length));
    upload.send('\r\n0\r\n\r\n');
    await eventually('the other reader has it all', () => drawn === length);
    expect(proxy.load().waiting).toBe(1);
    backend.held[0]?.ok();
    expect((await first.response()).status).toBe(200);
    expect((await upload.response()).status).toBe(status);
    expect(backend.held).toHaveLength(1);
    expect(proxy.status()[0]).toMatchObject({ inFlight: 0, available: true });
  });
});
