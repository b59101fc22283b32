import { Agent, request } from 'node:http';
import { afterEach, describe, expect, test } from '@jest/globals';
import {
  answer,
  type BackendOptions,
  cut,
  eventually,
  fail,
  hang,
  reset,
  type ScriptedBackend,
  slow,
  startBackend,
} from '../../lib/testing/index.ts';
import { Cleanup } from '../support/gateway.ts';
import { RawClient, rawRequest } from '../support/raw-client.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const start = async (options?: BackendOptions): Promise<ScriptedBackend> => cleanup.add(await startBackend(options));
const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

/** How a connection ends behind one request, and what came before. */
async function endOf(backend: ScriptedBackend): Promise<{ closedBy: string | undefined; bytes: string }> {
  const client = cleanup.add(await RawClient.connect(backend.port));
  client.send(GET);
  await client.closed();
  return { closedBy: client.closedBy, bytes: client.pending.toString('latin1') };
}

describe('a scripted backend', () => {
  test('follows its plan, then responds with its default', async () => {
    const backend = await start({
      plan: [fail(), fail(503), answer({ status: 201, fields: { 'x-a': 'b' }, content: 'new' })],
    });
    const answers = [];
    for (let i = 0; i < 4; i++) {
      const response = await fetch(backend.url);
      answers.push([response.status, response.headers.get('x-a'), await response.text()]);
    }
    expect(answers).toEqual([
      [500, null, ''],
      [503, null, ''],
      [201, 'b', 'new'],
      [200, null, 'ok'],
    ]);
  });

  test('calls a function for each request, and can switch to another plan', async () => {
    const backend = await start({
      plan: (index, req) => (req.url === '/bad' ? fail(502) : answer({ content: `${index}` })),
    });
    expect((await fetch(`${backend.url}/bad`)).status).toBe(502);
    expect(await (await fetch(backend.url)).text()).toBe('1');
    backend.follow([fail(418)]);
    expect((await fetch(backend.url)).status).toBe(418);
    expect((await fetch(backend.url)).status).toBe(200);
  });

  test('has a configurable default, which may be a node:http listener', async () => {
    const backend = await start({ plan: [(_req, res) => res.end('mine')], otherwise: fail(500) });
    expect(await (await fetch(backend.url)).text()).toBe('mine');
    expect((await fetch(backend.url)).status).toBe(500);
  });

  test('records requests', async () => {
    const backend = await start({ plan: [hang()] });
    const client = cleanup.add(await RawClient.connect(backend.port));
    client.send('POST /a?b HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nContent-Length: 4\r\n\r\nab');
    await eventually('a part of it came', () => backend.requests[0]?.content.toString() === 'ab');
    const [got] = backend.requests;
    expect(got).toMatchObject({ method: 'POST', url: '/a?b', headers: { 'x-one': '1' }, complete: false });
    client.send('cd');
    await eventually('all of it came', () => got?.complete);
    expect(got?.content.toString()).toBe('abcd');
    expect(client.pending.length).toBe(0);
    expect([backend.accepted, backend.connections]).toEqual([1, 1]);
    client.close();
    await eventually('the connection is gone', () => backend.connections === 0);
    expect(backend.accepted).toBe(1);
  });

  test('resets before and after the head', async () => {
    const backend = await start({ plan: [reset(), reset({ after: 'head' })] });
    expect(await endOf(backend)).toEqual({ closedBy: 'ECONNRESET', bytes: '' });
    const { closedBy, bytes } = await endOf(backend);
    expect(closedBy).toBe('ECONNRESET');
    expect(bytes).toMatch(/^HTTP\/1\.1 200 OK\r\n(.+\r\n)+\r\n$/);
  });

  test('cuts a response at a given byte', async () => {
    const backend = await start({ plan: [cut({ content: 'abcdef', afterBytes: 2 }), cut()] });
    const message = await rawRequest(backend.port, GET);
    expect([message.field('content-length'), message.content.toString(), message.framingComplete]).toEqual([
      '6',
      'ab',
      false,
    ]);
    const { closedBy, bytes } = await endOf(backend);
    expect(closedBy).toBe('FIN');
    expect(bytes.split('\r\n\r\n')[1]).toHaveLength(512);
  });

  test('delays the head and the end of a response', async () => {
    const plan = [answer({ delayMs: 200 }), slow({ content: 'abcdef', chunkBytes: 2, intervalMs: 50 })];
    const backend = await start({ plan });
    const begun = performance.now();
    expect(await (await fetch(backend.url)).text()).toBe('ok');
    // Timers may fire a millisecond early by another clock; they never fire much earlier.
    expect(performance.now() - begun).toBeGreaterThan(195);

    const client = cleanup.add(await RawClient.connect(backend.port));
    client.send(GET);
    await client.until((bytes) => bytes.includes('\r\n\r\n'));
    const headAt = performance.now();
    expect((await client.response()).content.toString()).toBe('abcdef');
    expect(performance.now() - headAt).toBeGreaterThan(100);
  });

  test('aborts a slow response when its client leaves', async () => {
    const backend = await start({ plan: [answer({ delayMs: 60_000 })] });
    const client = await RawClient.connect(backend.port);
    client.send(GET);
    await eventually('it came', () => backend.requests.length === 1);
    client.close();
    await eventually('the connection is gone', () => backend.connections === 0);
  });

  test('refuses connections and accepts them again, on the same port', async () => {
    const backend = await start();
    const { url } = backend;
    const kept = cleanup.add(await RawClient.connect(backend.port));
    await eventually('it is accepted', () => backend.connections === 1);
    await backend.refuse();
    await kept.closed();
    expect(kept.closedBy).toBe('ECONNRESET');
    await expect(fetch(url)).rejects.toMatchObject({ cause: { code: 'ECONNREFUSED' } });
    await backend.refuse();
    await backend.accept();
    await backend.accept();
    expect(backend.url).toBe(url);
    expect((await fetch(url)).status).toBe(200);
  });

  test('close() ends requests in progress', async () => {
    const backend = await startBackend({ plan: [hang()] });
    const agent = new Agent();
    const asked = new Promise<NodeJS.ErrnoException>((resolve) =>
      request(backend.url, { agent }).on('error', resolve).end(),
    );
    await eventually('it came', () => backend.requests.length === 1);
    await backend.close();
    await backend.close();
    expect((await asked).code).toBe('ECONNRESET');
    await expect(RawClient.connect(backend.port)).rejects.toThrow('ECONNREFUSED');
  });

  test.each([
    ['an option that is none', () => startBackend({ plans: [] } as never), /unknown option "plans"/],
    [
      'a plan of something else',
      () => startBackend({ plan: ['hang'] as never }),
      /plan must be a function or an array/,
    ],
    ['a status that is no failure', async () => fail(200), /status must be an integer from 400 to 599/],
    ['a status that is none', async () => answer({ status: 99 }), /status must be an integer from 200 to 599/],
    [
      'a cut behind the end',
      async () => cut({ content: 'ab', afterBytes: 2 }),
      /afterBytes must be an integer from 1 to 1/,
    ],
    ['another moment', async () => reset({ after: 'end' as never }), /after must be "request" or "head"/],
    ['no interval', async () => slow({ intervalMs: 0 }), /intervalMs must be an integer from 1/],
  ])('refuses %s', async (_name, make, problem) => {
    await expect(make()).rejects.toThrow(problem);
  });
});
