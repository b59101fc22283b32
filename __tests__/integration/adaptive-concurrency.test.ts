import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterEach, describe, expect, test } from '@jest/globals';
import { OptionsError, type RoundRobinProxyOptions, roundRobinProxy } from 'expressway';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { RecorderBackend } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';
import { rawSilence, rawTunnel } from '../support/tunnels.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

type Handler = (req: IncomingMessage, res: ServerResponse) => void;

/** A backend that holds all requests but those to `/fast` until `finish()`. */
async function backend(handle: Handler = () => {}) {
  const held: ServerResponse[] = [];
  const running = await listen((req, res) => {
    if (req.url === '/fast') return void res.end('fast');
    handle(req, res);
    if (!res.headersSent) held.push(res);
  });
  cleanup.add(running);
  return { ...running, held, finish: () => held.splice(0).forEach((res) => void res.end('done')) };
}

/** A limit of two that does not move. */
const TWO = { initialLimit: 2, minLimit: 2, maxLimit: 2 };

async function gateway(options: RoundRobinProxyOptions) {
  return cleanup.add(await proxyGateway({ adaptiveConcurrency: TWO, ...options }));
}

const concurrency = ({ proxy }: Awaited<ReturnType<typeof gateway>>) =>
  proxy.status().map((one) => one.concurrency?.inFlight);

describe('a backend at its limit', () => {
  test('gets no more: the next request goes to another backend', async () => {
    const [a, b] = [await backend(), await backend()];
    const site = await gateway({ backends: [a.url, b.url] });
    const responses = Array.from({ length: 4 }, () => fetch(site.url));
    await eventually('two at each', () => a.held.length === 2 && b.held.length === 2);
    a.finish();
    await eventually('room at the first', () => concurrency(site)[0] === 0);
    const more = [fetch(site.url), fetch(site.url)];
    await eventually('both there', () => a.held.length === 2);
    expect(concurrency(site)).toEqual([2, 2]);
    a.finish();
    b.finish();
    for (const response of [...responses, ...more]) expect((await response).status).toBe(200);
  });

  test('refuses with 503, Retry-After and a cause of its own when no other is left', async () => {
    const only = await backend();
    const site = await gateway({ backends: [only.url] });
    const held = [fetch(site.url), fetch(site.url)];
    await eventually('both there', () => only.held.length === 2);
    const refused = await fetch(`${site.url}/fast`);
    expect(refused.status).toBe(503);
    expect(refused.headers.get('retry-after')).toBe('1');
    expect(refused.headers.get('proxy-status')).toBe('expressway; error=connection_limit_reached');
    expect(await refused.json()).toMatchObject({ cause: 'concurrency_limit' });
    expect(site.proxy.status()[0]).toMatchObject({ available: false, circuit: 'closed' });
    only.finish();
    for (const response of held) expect((await response).status).toBe(200);
    expect((await fetch(`${site.url}/fast`)).status).toBe(200);
  });

  test('lets the queue in as soon as a response head is there', async () => {
    const only = await backend();
    const site = await gateway({ backends: [only.url], queue: { size: 5, timeoutMs: 30_000 } });
    const held = [fetch(site.url), fetch(site.url)];
    await eventually('both there', () => only.held.length === 2);
    const queued = fetch(`${site.url}/fast`);
    await eventually('it waits', () => site.proxy.load().waiting === 1);
    only.held[0]?.writeHead(200).write('the head');
    expect(await (await queued).text()).toBe('fast');
    only.finish();
    for (const response of held) expect((await response).status).toBe(200);
  });

  test('does not learn from the time of errors', async () => {
    const only = await backend((_req, res) => void res.writeHead(500).end());
    const site = await gateway({ backends: [only.url], circuit: { minimumRequests: 100 } });
    const learned = () => Number(site.proxy.status()[0]?.concurrency?.unloadedMs);
    for (let request = 0; request < 50; request += 1) expect((await fetch(site.url)).status).toBe(500);
    expect(learned()).toBe(0);
    for (let request = 0; request < 50; request += 1) await fetch(`${site.url}/fast`);
    expect(learned()).toBeGreaterThan(0);
  });

  test('has room again when clients leave', async () => {
    const only = await backend();
    const site = await gateway({ backends: [only.url] });
    const leaving = new AbortController();
    const held = [1, 2].map(() => fetch(site.url, { signal: leaving.signal }).catch(() => 'left'));
    await eventually('both there', () => only.held.length === 2);
    leaving.abort();
    expect(await Promise.all(held)).toEqual(['left', 'left']);
    await eventually('room', () => concurrency(site)[0] === 0);
    expect((await fetch(`${site.url}/fast`)).status).toBe(200);
  });
});

describe('requests that do not fill the limit', () => {
  test('event streams and downloads, once their head is there', async () => {
    const only = await backend((_req, res) => {
      res.writeHead(200, { 'Content-Type': 'text/event-stream' }).write('data: hello\n\n');
    });
    const site = await gateway({ backends: [only.url] });
    const leaving = new AbortController();
    const responses: Response[] = [];
    for (let stream = 0; stream < 5; stream += 1) responses.push(await fetch(site.url, { signal: leaving.signal }));
    expect(site.proxy.status()[0]).toMatchObject({ inFlight: 5, available: true });
    expect(concurrency(site)).toEqual([0]);
    // fetch() cancels the body of a response that nobody holds.
    expect(responses.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
    leaving.abort();
  });

  test('upgraded connections', async () => {
    const upstream = cleanup.add(await RecorderBackend.start(rawSilence));
    const site = await gateway({ backends: [upstream.url] });
    for (let opened = 0; opened < 5; opened += 1) cleanup.add(await rawTunnel(site.port));
    expect(site.proxy.status()[0]).toMatchObject({ inFlight: 5, available: true });
    expect(concurrency(site)).toEqual([0]);
  });
});

describe('the option', () => {
  test('is off by default', async () => {
    const proxy = cleanup.add(roundRobinProxy({ backends: ['http://127.0.0.1:1'] }));
    expect(proxy.status()[0]?.concurrency).toBeUndefined();
  });

  test('true stands for the defaults', () => {
    const proxy = cleanup.add(roundRobinProxy({ backends: ['http://127.0.0.1:1'], adaptiveConcurrency: true }));
    expect(proxy.status()[0]?.concurrency).toEqual({ limit: 50, inFlight: 0, unloadedMs: 0 });
  });

  test.each<[unknown, string]>([
    ['on', 'adaptiveConcurrency must be true or false, got "on"'],
    [null, 'adaptiveConcurrency must be true or false, got null'],
    [{ limit: 5 }, 'adaptiveConcurrency: unknown option "limit"'],
    [{ minLimit: 0 }, 'adaptiveConcurrency: minLimit must be an integer from 1 to 1000000, got 0'],
    [{ latencyTolerance: 0.9 }, 'adaptiveConcurrency: latencyTolerance must be a number of at least 1, got 0.9'],
    [{ probeIntervalMs: 0 }, 'adaptiveConcurrency: probeIntervalMs must be an integer from 1 to 2147483647, got 0'],
    [
      { maxLimit: 10 },
      'adaptiveConcurrency: minLimit, initialLimit and maxLimit must be in ascending order, got 4, 50 and 10',
    ],
  ])('%j is refused', (adaptiveConcurrency, problem) => {
    const make = () => roundRobinProxy({ backends: ['http://a'], adaptiveConcurrency: adaptiveConcurrency as never });
    expect(make).toThrow(OptionsError);
    expect(make).toThrow(problem);
  });
});
