import { once } from 'node:events';
import { createServer, get, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { gracefulShutdown, OptionsError, type ShutdownPhase } from 'expressway';
import { pause } from '../../support/pause.ts';
import { RawClient, rawRequest } from '../../support/raw-client.ts';
import { accepts, eventually } from '../../support/servers.ts';
import { closeServed, secured, serve, serveTls, serveTlsOnUnixSocket } from './served.ts';

const PLENTY = { idleGraceMs: 60_000, timeoutMs: 120_000 };
const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const NOTHING_LEFT = { requests: 0, streams: 0, upgrades: 0 };

afterEach(closeServed);

/** A handler that answers when it is told to. */
function held(): { handler: (req: IncomingMessage, res: ServerResponse) => void; answers: ServerResponse[] } {
  const answers: ServerResponse[] = [];
  return { handler: (_, res) => void answers.push(res), answers };
}

describe('graceful shutdown and requests', () => {
  test('stops listening, lets a running request end, and sends Connection: close', async () => {
    const { handler, answers } = held();
    const { shutdown, port } = await serve(handler, PLENTY);
    const client = await RawClient.connect(port);
    client.send(GET);
    await eventually('the request runs', () => answers.length === 1);
    const closed = shutdown.close();
    await eventually('connections are refused', async () => !(await accepts(port)));
    answers[0]?.end('done');
    const answer = await client.response();
    expect([answer.status, answer.field('connection'), String(answer.content)]).toEqual([200, 'close', 'done']);
    expect(await closed).toEqual(NOTHING_LEFT);
    await client.closed();
    expect(client.closedBy).toBe('FIN');
  });

  test('a kept connection gets a response to its next request, with Connection: close', async () => {
    const { shutdown, port } = await serve((_, res) => void res.end('ok'), PLENTY);
    const client = await RawClient.connect(port);
    client.send(GET);
    expect((await client.response()).field('connection')).toBe('keep-alive');
    const closed = shutdown.close();
    await eventually('connections are refused', async () => !(await accepts(port)));
    client.send(GET);
    expect((await client.response()).field('connection')).toBe('close');
    expect(await closed).toEqual(NOTHING_LEFT);
  });

  test('so does a connection whose running response had announced keep-alive', async () => {
    const { handler, answers } = held();
    const { shutdown, port } = await serve(handler, PLENTY);
    const client = await RawClient.connect(port);
    client.send(GET);
    await eventually('the request runs', () => answers.length === 1);
    answers[0]?.writeHead(200, { 'Content-Length': 6 }).write('one');
    await client.until((bytes) => bytes.includes('one'));
    const closed = shutdown.close();
    await eventually('connections are refused', async () => !(await accepts(port)));
    answers[0]?.end('two');
    expect((await client.response()).field('connection')).toBe('keep-alive');
    client.send(GET);
    await eventually('the next request runs', () => answers.length === 2);
    answers[1]?.end();
    expect((await client.response()).field('connection')).toBe('close');
    expect(await closed).toEqual(NOTHING_LEFT);
  });

  test('waits for the rest of a request head after idleGraceMs', async () => {
    const options = { idleGraceMs: 50, timeoutMs: 120_000 };
    const { server, shutdown, port } = await serve((_, res) => void res.end('ok'), options);
    const client = await RawClient.connect(port);
    client.send(GET);
    await client.response();
    const silent = await RawClient.connect(port);
    const closed = shutdown.close();
    // Within the grace, however busy the machine is: nothing that takes time lies between this and the begin of the grace.
    while (server.listening) await new Promise((resolve) => setImmediate(resolve));
    client.send('GET / HTTP/1.1\r\nHo');
    // The grace of this one began no later.
    await silent.closed();
    await pause('the grace is over for a while', 200);
    client.send('st: a\r\n\r\n');
    expect((await client.response()).status).toBe(200);
    expect(await closed).toEqual(NOTHING_LEFT);
  });

  test('serves connections that the kernel accepted before the shutdown', async () => {
    const { shutdown, port } = await serve((_, res) => void res.end('ok'), PLENTY);
    const asked = Array.from({ length: 50 }, () => rawRequest(port, GET));
    await new Promise((resolve) => process.nextTick(resolve));
    const closed = shutdown.close();
    const answers = await Promise.all(asked);
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 50 }, () => 200));
    expect(await closed).toEqual(NOTHING_LEFT);
  });

  test('a slow reader gets the whole response that is not yet written', async () => {
    const content = Buffer.alloc(32 * 1024 * 1024, 'x');
    const { server, shutdown, port } = await serve((_, res) => {
      res.writeHead(200, { 'Content-Length': content.length });
      res.end(content);
    }, PLENTY);
    const started = once(server, 'request');
    const client = await RawClient.connect(port);
    client.socket.pause();
    client.send(`GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    await started;
    const closed = shutdown.close();
    await eventually('connections are refused', async () => !(await accepts(port)));
    let received = 0;
    client.socket.removeAllListeners('data').on('data', (chunk: Buffer) => {
      received += chunk.length;
    });
    client.socket.resume();
    await client.closed();
    expect(received).toBeGreaterThan(content.length);
    expect(await closed).toEqual(NOTHING_LEFT);
  });

  test('unread content is not taken for the next request', async () => {
    const { handler, answers } = held();
    const { shutdown, port } = await serve(handler, PLENTY);
    const client = await RawClient.connect(port);
    client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n');
    await eventually('the request runs', () => answers.length === 1);
    answers[0]?.writeHead(200, { 'Content-Length': 4 }).write('no');
    const closed = shutdown.close();
    await eventually('connections are refused', async () => !(await accepts(port)));
    answers[0]?.end('pe');
    expect(String((await client.response()).content)).toBe('nope');
    await client.closed();
    client.close();
    expect(await closed).toEqual(NOTHING_LEFT);
  });
});

describe('graceful shutdown and idle connections', () => {
  test('are closed when the grace is over: used ones, new ones, and none before', async () => {
    const { shutdown, port } = await serve((_, res) => void res.end('ok'), { idleGraceMs: 300, timeoutMs: 120_000 });
    const [used, fresh] = [await RawClient.connect(port), await RawClient.connect(port)];
    used.send(GET);
    await used.response();
    const before = Date.now();
    const closed = shutdown.close();
    await Promise.all([used.closed(), fresh.closed()]);
    expect(Date.now() - before).toBeGreaterThanOrEqual(290);
    expect([used.closedBy, fresh.closedBy]).toEqual(['FIN', 'FIN']);
    expect(await closed).toEqual(NOTHING_LEFT);
  });

  test('a request that has arrived when the grace is over, and was not read yet, is served', async () => {
    const { shutdown, port } = await serve((_, res) => void res.end('ok'), { idleGraceMs: 100, timeoutMs: 120_000 });
    const client = await RawClient.connect(port);
    client.send(GET);
    await client.response();
    const closed = shutdown.close();
    client.send(GET);
    // The loop stands still until the timer is due, with the request in the kernel's buffer.
    const busyUntil = Date.now() + 300;
    await new Promise((resolve) => process.nextTick(resolve));
    while (Date.now() < busyUntil);
    expect((await client.response()).status).toBe(200);
    expect(await closed).toEqual(NOTHING_LEFT);
  });

  test('over TLS too, and unfinished handshakes with them', async () => {
    // A request must come within that time on a busy machine.
    const options = { idleGraceMs: 3_000, timeoutMs: 120_000 };
    const { shutdown, port } = await serveTls((_, res) => void res.end('ok'), options);
    const [idle, kept] = [await secured(port), await secured(port)];
    const silent = await RawClient.connect(port);
    const ended = once(idle.resume(), 'end');
    const closed = shutdown.close();
    await eventually('connections are refused', async () => !(await accepts(port)));
    kept.write(GET);
    const [bytes] = (await once(kept, 'data')) as [Buffer];
    expect(String(bytes)).toMatch(/^HTTP\/1.1 200 OK\r\n/);
    expect(String(bytes)).toMatch(/\r\nConnection: close\r\n/);
    await Promise.all([ended, silent.closed()]);
    expect(await closed).toEqual(NOTHING_LEFT);
  });

  test('a request over TLS outlasts those handshakes', async () => {
    const { handler, answers } = held();
    const { shutdown, port } = await serveTls(handler, { idleGraceMs: 50, timeoutMs: 120_000 });
    const [client, silent] = [await secured(port), await RawClient.connect(port)];
    client.write(GET);
    await eventually('the request runs', () => answers.length === 1);
    const closed = shutdown.close();
    await silent.closed();
    answers[0]?.end('done');
    const [bytes] = (await once(client, 'data')) as [Buffer];
    expect(String(bytes)).toMatch(/^HTTP\/1.1 200 OK\r\n.*done$/s);
    expect(await closed).toEqual(NOTHING_LEFT);
  });

  test('unfinished handshakes on a Unix socket too, where no connection has an address', async () => {
    const { shutdown, connect } = await serveTlsOnUnixSocket({ idleGraceMs: 50, timeoutMs: 120_000 });
    const silent = [await connect(), await connect()];
    const closed = shutdown.close();
    await Promise.all(silent.map((socket) => once(socket.resume(), 'close')));
    expect(await closed).toEqual(NOTHING_LEFT);
  });
});

describe('the deadline of a graceful shutdown', () => {
  const CUT = { idleGraceMs: 60_000, timeoutMs: 500 };

  test('cuts requests, so that no response looks complete, and counts them', async () => {
    const { handler, answers } = held();
    const { shutdown, port } = await serve(handler, CUT);
    const [waiting, framed, unframed] = [
      await RawClient.connect(port),
      await RawClient.connect(port),
      await RawClient.connect(port),
    ];
    for (const client of [framed, unframed, waiting]) {
      client.send(client === unframed ? 'GET / HTTP/1.0\r\n\r\n' : GET);
      const { length } = answers;
      await eventually('the request runs', () => answers.length === length + 1);
    }
    for (const res of answers.slice(0, 2)) res.write('some');
    const answer = [framed.response(), unframed.response()];
    expect(await shutdown.close()).toEqual({ requests: 3, streams: 0, upgrades: 0 });
    await Promise.all([waiting.closed(), ...answer]);
    expect((await Promise.all(answer)).map(({ framingComplete }) => framingComplete)).toEqual([false, false]);
    expect([waiting.closedBy, unframed.closedBy]).toEqual(['ECONNRESET', 'ECONNRESET']);
  });

  test('ends event streams properly, even while the app writes', async () => {
    const timers: NodeJS.Timeout[] = [];
    const { shutdown, port } = await serve((_, res) => {
      // As arrays, Node keeps no list of the fields.
      res.writeHead(200, ['Content-Type', 'text/event-stream']);
      timers.push(setInterval(() => res.write('data: x\n\n'), 1));
    }, CUT);
    const client = await RawClient.connect(port);
    client.send(GET);
    await client.until((bytes) => bytes.includes('data: x'));
    const streamed = client.response();
    const closed = shutdown.close();
    const { framingComplete } = await streamed;
    await client.closed();
    client.close();
    expect(await closed).toEqual({ requests: 0, streams: 1, upgrades: 0 });
    for (const timer of timers) clearInterval(timer);
    expect([framingComplete, client.closedBy]).toEqual([true, 'FIN']);
  });

  test('flushes and closes upgraded connections, and not before the deadline', async () => {
    const { server, shutdown, port } = await serve(() => {}, { ...CUT, idleGraceMs: 1 });
    server.on('upgrade', (_, socket: Socket) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
      socket.on('data', (chunk) => socket.write(chunk)).on('end', () => socket.end());
    });
    const client = await RawClient.connect(port);
    client.send('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
    expect((await client.response()).status).toBe(101);
    const closed = shutdown.close();
    await eventually('connections are refused', async () => !(await accepts(port)));
    await pause('the shutdown has begun a while ago', 50);
    client.send('still here');
    await client.until((bytes) => bytes.includes('still here'));
    await client.closed();
    client.close();
    expect(client.closedBy).toBe('FIN');
    expect(await closed).toEqual({ requests: 0, streams: 0, upgrades: 1 });
  });

  test('does not wait for an upgraded connection whose other end does not close', async () => {
    const { server, shutdown, port } = await serve(() => {}, CUT);
    server.on('upgrade', (_, socket: Socket) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
    });
    const client = await RawClient.connect(port);
    client.send('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
    expect((await client.response()).status).toBe(101);
    expect(await shutdown.close()).toEqual({ requests: 0, streams: 0, upgrades: 1 });
    client.close();
  });

  test('an app without an upgrade listener responds to such requests as before', async () => {
    const { port } = await serve((_, res) => void res.end('plain'), PLENTY);
    const answer = await rawRequest(port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n');
    expect([answer.status, String(answer.content)]).toEqual([200, 'plain']);
  });
});

describe('phases of a graceful shutdown', () => {
  test('are reported in order; the lead time accepts new connections; close() returns one promise', async () => {
    const phases: ShutdownPhase[] = [];
    const order: string[] = [];
    const { server, shutdown, port } = await serve((_, res) => void res.end(shutdown.phase), {
      // A busy machine needs some of it for a request.
      leadTimeMs: 3_000,
      onPhase: (phase) => phases.push(phase),
      close: async () => {
        await new Promise((resolve) => setImmediate(resolve));
        order.push(`released, ${server.listening ? 'listening' : 'not listening'}`);
      },
    });
    expect(shutdown.phase).toBe('serving');
    const closed = shutdown.close();
    expect(shutdown.close()).toBe(closed);
    const answer = await rawRequest(port, GET);
    expect([answer.field('connection'), String(answer.content)]).toEqual(['keep-alive', 'leaving']);
    await closed.then(() => order.push('closed'));
    expect(order).toEqual(['released, not listening', 'closed']);
    expect(phases).toEqual(['leaving', 'draining', 'closing', 'closed']);
    expect(shutdown.phase).toBe('closed');
  });

  test('a server that never listened is closed at once, lead time or not', async () => {
    const shutdown = gracefulShutdown(createServer(), { signals: [], leadTimeMs: 60_000, timeoutMs: 120_000 });
    expect(await shutdown.close()).toEqual(NOTHING_LEFT);
  });

  test('an error of close or onPhase rejects when everything is closed', async () => {
    const { shutdown, port } = await serve((_, res) => void res.end('ok'), {
      close: () => Promise.reject(new Error('Redis is stuck')),
      onPhase: (phase) => {
        if (phase === 'draining') throw new Error('no listener of mine');
      },
    });
    await expect(shutdown.close()).rejects.toMatchObject({
      errors: [new Error('no listener of mine'), new Error('Redis is stuck')],
    });
    expect(shutdown.phase).toBe('closed');
    expect(await accepts(port)).toBe(false);
  });

  test('a rejected promise of onPhase rejects close() when everything is closed', async () => {
    const unhandled = jest.fn();
    process.on('unhandledRejection', unhandled);
    const { shutdown, port } = await serve((_, res) => void res.end('ok'), {
      onPhase: async (phase) => {
        if (phase !== 'closing') throw new Error(phase);
      },
    });
    await expect(shutdown.close()).rejects.toMatchObject({ errors: [new Error('draining'), new Error('closed')] });
    expect(shutdown.phase).toBe('closed');
    expect(await accepts(port)).toBe(false);
    await new Promise((resolve) => setImmediate(resolve));
    process.off('unhandledRejection', unhandled);
    expect(unhandled).not.toHaveBeenCalled();
  });

  test('one that rejects when all is over is a process warning, and one that never ends is not waited for', async () => {
    const emitted = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const late = Promise.withResolvers<void>();
    const { shutdown } = await serve((_, res) => void res.end('ok'), {
      onPhase: (phase) => (phase === 'draining' ? late.promise : new Promise<void>(() => {})),
    });
    expect(await shutdown.close()).toEqual(NOTHING_LEFT);
    late.reject(new Error('too late'));
    await new Promise((resolve) => setImmediate(resolve));
    const told = emitted.mock.calls.map(([message, options]) => [
      message,
      (options as unknown as { code: string }).code,
    ]);
    emitted.mockRestore();
    expect(told).toEqual([[expect.stringContaining('too late'), 'WARN_EXPRESSWAY_LISTENER']]);
  });

  test('a close that does not end in time rejects', async () => {
    const { shutdown } = await serve(() => {}, { timeoutMs: 200, close: () => new Promise(() => {}) });
    await expect(shutdown.close()).rejects.toThrow('close() did not finish within timeoutMs, 200 ms');
  });

  test('a shutdown leaves no listener of signals or of the server, and no timer', async () => {
    const before = process.listenerCount('SIGTERM');
    const server = createServer((_, res) => void res.end('ok'));
    const shutdown = gracefulShutdown(server);
    expect(process.listenerCount('SIGTERM')).toBe(before + 1);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    await shutdown.close();
    expect(process.listenerCount('SIGTERM')).toBe(before);
    expect(server.listenerCount('request')).toBe(1);
    expect(Object.hasOwn(server, 'closeIdleConnections')).toBe(false);
  });
});

test('a server that the app itself closes leaves no listener of signals, until it listens again', async () => {
  const before = process.listenerCount('SIGTERM');
  const server = createServer();
  let closed = 0;
  const shutdown = gracefulShutdown(server, { close: () => void closed++ });
  for (let round = 0; round < 2; round++) {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    expect(process.listenerCount('SIGTERM')).toBe(before + 1);
    server.close();
    await once(server, 'close');
    expect(process.listenerCount('SIGTERM')).toBe(before);
  }
  await shutdown.close();
  expect(closed).toBe(1);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  expect(process.listenerCount('SIGTERM')).toBe(before);
  server.close();
});

test('adds no listeners to requests before the shutdown', async () => {
  const { server } = await serve((_, res) => void res.end('ok'));
  expect(server.listenerCount('request')).toBe(1);
  expect(server.listenerCount('upgrade')).toBe(0);
});

test('bad options throw, all in one error', () => {
  const server = createServer();
  const bad = { signals: ['SIGKILL'], leadTimeMs: -1, timeoutMs: 0, close: 1, onPhase: 'x', idleGrace: 1 };
  expect(() => gracefulShutdown(server, bad as never)).toThrow(OptionsError);
  expect(() => gracefulShutdown(server, bad as never)).toThrow(
    /unknown option "idleGrace".*signals must.*leadTimeMs.*timeoutMs.*close must.*onPhase must/,
  );
  expect(() => gracefulShutdown(server, { leadTimeMs: 9_500 })).toThrow(/leadTimeMs must leave some of timeoutMs/);
  expect(server.listenerCount('connection')).toBe(1);
});

test('the last resort reaches connections from before it had the server', async () => {
  const server = createServer(() => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const asked = get({ port, host: '127.0.0.1' });
  const cut = once(asked, 'error');
  await once(server, 'request');
  const shutdown = gracefulShutdown(server, { signals: [], timeoutMs: 300 });
  await shutdown.close();
  expect((await cut)[0]).toMatchObject({ code: 'ECONNRESET' });
});
