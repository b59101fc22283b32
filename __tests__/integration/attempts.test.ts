import { afterEach, describe, expect, jest, test } from '@jest/globals';
import type { RoundRobinProxyOptions } from 'expressway';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { rawRequest } from '../support/raw-client.ts';
import { answer, answerOk, RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { closedPort, eventually } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(async () => {
  jest.restoreAllMocks();
  await cleanup.run();
});

const reset: Script = (socket) => void socket.resetAndDestroy();

async function setUp(scripts: readonly Script[], options: Partial<RoundRobinProxyOptions> = {}) {
  const backends: RecorderBackend[] = [];
  for (const script of scripts) backends.push(cleanup.add(await RecorderBackend.start(script)));
  const urls = backends.map(({ url }) => url);
  return { backends, urls, ...cleanup.add(await proxyGateway({ backends: urls, ...options })) };
}

test.each([
  ['all statuses from 500 count', {}, [500, 500, 500, 500, 500, 503], ['open']],
  [
    'only those of failureStatuses count',
    { failureStatuses: [502, 503, 504] },
    [500, 500, 500, 500, 500, 500],
    ['closed'],
  ],
])('a URL with a fault: %s', async (_title, more, statuses, circuits) => {
  const fault = answer('HTTP/1.1 500 A fault\r\nContent-Length: 0\r\n\r\n');
  const { port, proxy, backends } = await setUp([fault], { circuit: { ...more, consecutiveFailures: 5 } });
  const get = async () => (await rawRequest(port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')).status;
  const seen = [];
  for (const _ of statuses) seen.push(await get());
  expect([seen, proxy.status().map(({ circuit }) => circuit)]).toEqual([statuses, circuits]);
  if (circuits[0] === 'open') return;
  // A backend that is in trouble still opens it, and one that is gone.
  (backends[0] as RecorderBackend).script = reset;
  for (let i = 0; i < 5; i += 1) await get();
  expect(proxy.status().map(({ circuit }) => circuit)).toEqual(['open']);
});

describe('the time of an attempt', () => {
  /** The clock goes on by so much while the first backend works. */
  const WORK_MS = 100_000;
  const work = () => {
    const now = Date.now.bind(Date);
    jest.spyOn(Date, 'now').mockImplementation(() => now() + WORK_MS);
  };
  /** No machine takes so long for anything else here. */
  const SOON_MS = 50_000;

  test.each<[string, Script, number]>([
    ['is that of the backend that responds', answerOk, WORK_MS],
    ['begins anew at the next backend', reset, 0],
  ])('%s', async (_name, then, fromMs) => {
    const first: Script = (socket, request, index) => {
      work();
      then(socket, request, index);
    };
    const { url, proxy, urls } = await setUp([first, answerOk], { retry: { deadlineMs: 10 * WORK_MS } });
    const forwarded: { backend: string; durationMs: number }[] = [];
    proxy.events.on('forwarded', ({ backend, durationMs }) => forwarded.push({ backend, durationMs }));
    expect((await fetch(url)).status).toBe(200);
    await eventually('it is over', () => forwarded.length === 1);
    expect(forwarded[0]?.backend).toBe(urls[fromMs === 0 ? 1 : 0]);
    expect(forwarded[0]?.durationMs).toBeGreaterThanOrEqual(fromMs);
    expect(forwarded[0]?.durationMs).toBeLessThan(fromMs + SOON_MS);
  });
});

describe('the cost of a request for the backends', () => {
  test('with every process away, it tries three of them', async () => {
    const backends: string[] = [];
    for (let i = 0; i < 5; i += 1) backends.push(`http://127.0.0.1:${await closedPort()}`);
    const circuit = { minimumRequests: 1, consecutiveFailures: 1, openMs: 600_000 };
    const { url, proxy } = cleanup.add(await proxyGateway({ backends, circuit }));
    await eventually('all circuits are open', async () => {
      await (await fetch(url)).text();
      return proxy.status().every((backend) => backend.circuit === 'open');
    });
    let attempts = 0;
    proxy.events.on('attemptFailed', () => {
      attempts += 1;
    });
    expect((await fetch(url)).status).toBe(503);
    expect(attempts).toBe(3);
  });

  test('with one backend, a status to retry is its response', async () => {
    const busy = answer('HTTP/1.1 503 Busy\r\nX-Who: backend\r\nContent-Length: 4\r\n\r\nbusy');
    const { url, backends } = await setUp([busy], { retry: { statuses: [503], attempts: 3 } });
    const response = await fetch(url);
    expect([response.status, response.headers.get('x-who'), await response.text()]).toEqual([503, 'backend', 'busy']);
    expect(backends[0]?.requests).toHaveLength(1);
  });

  test.each<[string, Script, number]>([
    ['a status to retry', answer('HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n'), 503],
    ['a reset', reset, 502],
  ])(
    '%s: each backend gets it once, and the event of the last one says that it was not retried',
    async (_name, script, status) => {
      const retry = { statuses: [503], attempts: 9, backoffMs: 1, budgetMinimum: 100 };
      const { url, proxy, backends } = await setUp([script, script, script], { retry });
      const retried: boolean[] = [];
      proxy.events.on('attemptFailed', (event) => retried.push(event.retried));
      expect((await fetch(url)).status).toBe(status);
      expect(backends.map(({ requests }) => requests.length)).toEqual([1, 1, 1]);
      // The response of the last backend is the client's.
      expect(retried).toEqual(status === 503 ? [true, true] : [true, true, false]);
    },
  );
});

describe('the circuit counts a response', () => {
  const STRICT = { minimumRequests: 1, consecutiveFailures: 1, openMs: 50, halfOpenRequests: 1 };
  const HALF = 'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf';

  test('at the head of a trial: the circuit closes while the content is still on its way', async () => {
    let served = 0;
    const { url, proxy } = await setUp([(socket) => (served++ === 0 ? socket.resetAndDestroy() : socket.write(HALF))], {
      circuit: STRICT,
    });
    expect((await fetch(url)).status).toBe(502);
    expect(proxy.status()[0]?.circuit).toBe('open');
    await eventually('it admits a trial', () => proxy.status()[0]?.available);
    const { status, body } = await fetch(url);
    expect([status, proxy.status()[0]?.circuit, proxy.status()[0]?.inFlight]).toEqual([200, 'closed', 1]);
    await body?.cancel();
  });

  test.each([
    ['an event stream', 'text/event-stream', 'closed'],
    ['any other response', 'text/plain', 'open'],
  ])('at the head of an event stream, else at the end: the backend cuts %s', async (_name, type, circuit) => {
    const { url, proxy, backends } = await setUp(
      [
        (socket) =>
          void socket.write(`HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\nContent-Length: 100000\r\n\r\ndata: 1\n\n`),
      ],
      { circuit: STRICT },
    );
    const { body } = await fetch(url);
    const reader = body?.getReader();
    await reader?.read();
    expect(proxy.status()[0]).toMatchObject({ circuit: 'closed', inFlight: 1 });
    for (const socket of backends[0]?.connections ?? []) socket.resetAndDestroy();
    await expect(reader?.read()).rejects.toThrow();
    await eventually('it is over', () => proxy.status()[0]?.inFlight === 0);
    expect(proxy.status()[0]?.circuit).toBe(circuit);
  });
});
