import { createHash, type Hash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { request, type ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import type { Duplex, Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { afterEach, describe, expect, test } from '@jest/globals';
import compression from 'compression';
import type { Express } from 'express';
import type { RoundRobinProxyOptions } from 'expressway';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { Http2Client } from '../support/http2.ts';
import { pause, stays } from '../support/pause.ts';
import { PROTOCOLS, type Protocol, type TextClient } from '../support/protocols.ts';
import { answerOk, RecorderBackend } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** More than all buffers hold. 1024 for the whole of C12; the answer is the same. */
const MEGABYTES = Number(process.env.EXPRESSWAY_STREAM_MEGABYTES ?? 24);
const MIB = 1024 * 1024;
const CHUNK = randomBytes(MIB);
/** What the kernel may hold of two connections: a send and a receive buffer each. */
const KERNEL_BYTES = 2 * ['wmem', 'rmem'].reduce((sum, name) => sum + greatestBuffer(name), 0);

function greatestBuffer(name: string): number {
  const file = `/proc/sys/net/ipv4/tcp_${name}`;
  // Elsewhere the kernels have smaller ones.
  return existsSync(file) ? Number(readFileSync(file, 'utf8').trim().split(/\s+/)[2]) : 8 * MIB;
}

function* chunks(hash: Hash): Generator<Buffer> {
  for (let i = 0; i < MEGABYTES; i += 1) {
    CHUNK.writeUInt32BE(i);
    const chunk = Buffer.from(CHUNK);
    hash.update(chunk);
    yield chunk;
  }
}

/** A request whose content is written, and its response, both as they go. */
interface OpenExchange {
  readonly up: Writable;
  readonly down: Promise<{ readonly encoding: string | undefined; readonly content: Readable }>;
}

function openExchange({ name }: Protocol, port: number, method: string, headers = {}): OpenExchange {
  if (name === 'HTTP/1.1') {
    const up = request({ host: '127.0.0.1', port, method, headers });
    const down = once(up, 'response').then(([res]) => ({ encoding: res.headers['content-encoding'], content: res }));
    return { up, down };
  }
  const client = cleanup.add(new Http2Client(port));
  const stream: Duplex = client.open({ ':method': method, ...headers }, false);
  const down = once(stream, 'response').then(([fields]) => ({ encoding: fields['content-encoding'], content: stream }));
  return { up: stream, down };
}

async function hashOf(stream: AsyncIterable<Buffer>): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of stream) hash.update(chunk);
  return hash.digest('hex');
}

describe('C12: large content', () => {
  /** What the process grows by at most meanwhile: client, gateway and backend are all in it. */
  async function growth(work: () => Promise<void>): Promise<number> {
    const before = process.memoryUsage.rss();
    let most = before;
    const timer = setInterval(() => {
      most = Math.max(most, process.memoryUsage.rss());
    }, 20);
    await work();
    clearInterval(timer);
    return (most - before) / 1024 / 1024;
  }

  test.each(PROTOCOLS.flatMap((protocol) => ['down', 'up'].map((way) => ({ name: protocol.name, way, protocol }))))(
    'large content in the direction $way arrives unchanged, in bounded memory, over $name',
    async ({ way, protocol }) => {
      const sent = createHash('sha256');
      let got = '';
      const backend = cleanup.add(
        await listen(async (req, res) => {
          if (way === 'down') return pipeline(chunks(sent), res);
          got = await hashOf(req);
          res.end(got);
        }),
      );
      const gateway = cleanup.add(await proxyGateway({ backends: [backend.url] }, undefined, protocol.serverOf));
      const grown = await growth(async () => {
        const { up, down } = openExchange(protocol, gateway.port, way === 'down' ? 'GET' : 'POST');
        if (way === 'down') up.end();
        else await pipeline(chunks(sent), up, { end: true });
        const hash = await hashOf((await down).content);
        if (way === 'down') got = hash;
      });
      expect(got).toBe(sent.digest('hex'));
      process.stdout.write(
        process.env.EXPRESSWAY_STREAM_MEGABYTES ? `${way}: RSS grew by ${grown.toFixed(0)} MiB\n` : '',
      );
      // Garbage of three parties in one process; what is buffered would be all of the content.
      if (MEGABYTES > 512) expect(grown).toBeLessThan(256);
    },
  );

  // Over HTTP/2 it is a window that stops the gateway: http2-streams.test.ts.
  test('a slow reader pauses the backend, so that buffers stay bounded', async () => {
    const size = (Math.ceil(KERNEL_BYTES / MIB) + 16) * MIB;
    let source: Socket | undefined;
    const backend = cleanup.add(
      await RecorderBackend.start((socket) => {
        source = socket;
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`);
        let left = size / MIB;
        const more = (): void => {
          while (left-- > 0 && socket.write(CHUNK));
        };
        socket.on('drain', more);
        more();
      }),
    );
    const gateway = cleanup.add(await proxyGateway({ backends: [backend.url] }));
    let sink: Socket | undefined;
    gateway.server.on('connection', (socket) => {
      sink = socket;
    });
    let read = 0;
    let allowed = 0;
    const client = connect(gateway.port, '127.0.0.1');
    cleanup.add({ close: () => client.destroy() });
    client.on('data', (chunk) => {
      read += chunk.length;
      if (read >= allowed) client.pause();
    });
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    const sent = () => (source === undefined ? 0 : source.bytesWritten - source.writableLength);
    /** The backend is held up: it has something to send, and nothing of it went for a while. */
    const heldUp = async () => {
      let before = -1;
      for (let same = 0; same < 30; same = sent() === before ? same + 1 : 0) {
        before = sent();
        await pause('what can move moves meanwhile', 10);
      }
    };
    for (let step = 1; step <= 8; step += 1) {
      allowed = step * MIB;
      client.resume();
      await eventually('the client has read so far', () => read >= allowed);
      await heldUp();
      expect(source?.writableLength).toBeGreaterThan(0);
      expect(sent() - read).toBeLessThan(KERNEL_BYTES + 2 * MIB);
      // Of that, what is in the gateway's own memory.
      expect(sink?.writableLength).toBeLessThan(MIB);
    }
    allowed = Number.POSITIVE_INFINITY;
    client.resume();
    await eventually('all of it arrives', () => read > size, 60_000);
  });
});

describe.each(PROTOCOLS)('C16: streams, over $name', (protocol) => {
  const isHttp1 = protocol.name === 'HTTP/1.1';
  const gatewayTo = async (options: RoundRobinProxyOptions, prepare?: (app: Express) => void) =>
    cleanup.add(await proxyGateway(options, prepare, protocol.serverOf));
  const clientOf = async (port: number) => cleanup.add(await protocol.connect(port));
  const hasHead = (bytes: Buffer) => bytes.includes('\r\n\r\n');

  async function gunzipped(port: number): Promise<Readable> {
    const { up, down } = openExchange(protocol, port, 'GET', { 'accept-encoding': 'gzip' });
    up.end();
    const { encoding, content } = await down;
    expect(encoding).toBe('gzip');
    return content.pipe(createGunzip());
  }

  test.each(['text/event-stream', 'application/json'])(
    '%s: each part arrives at once, also with compression()',
    async (type) => {
      let stream: ServerResponse | undefined;
      const backend = cleanup.add(
        await listen((_req, res) => {
          res.writeHead(200, { 'Content-Type': type });
          res.flushHeaders();
          stream = res;
        }),
      );
      const gateway = await gatewayTo({ backends: [backend.url] }, (app) => {
        app.use(compression({ threshold: 0 }) as never);
      });
      const content = await gunzipped(gateway.port);
      for (const part of ['data: 1\n\n', 'data: 2\n\n', 'data: 3\n\n']) {
        stream?.write(part);
        // Nothing else is sent until this one has come.
        expect(String((await once(content, 'data'))[0])).toBe(part);
      }
      stream?.end();
      await once(content.resume(), 'end');
    },
  );

  test('a slow reader with compression() leaves no listeners behind', async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error) => void warnings.push(warning);
    process.on('warning', onWarning);
    cleanup.add({ close: () => process.off('warning', onWarning) });
    const noise = randomBytes(MIB).toString('hex');
    const backend = cleanup.add(
      await listen((_req, res) => void res.setHeader('Content-Type', 'text/plain').end(noise)),
    );
    const gateway = await gatewayTo({ backends: [backend.url] }, (app) => {
      app.use(compression() as never);
    });
    const parts: Buffer[] = [];
    for await (const part of await gunzipped(gateway.port)) parts.push(part);
    expect(Buffer.concat(parts).toString() === noise).toBe(true);
    await new Promise((resolve) => setImmediate(resolve));
    expect(warnings).toEqual([]);
  });

  test('a steady stream is not cut by any timeout, nor is a silent event stream', async () => {
    const head = (type: string) => `HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\nTransfer-Encoding: chunked\r\n\r\n`;
    const sockets = new Map<string, Socket>();
    const backend = cleanup.add(
      await RecorderBackend.start((socket, { target }) => {
        sockets.set(target, socket.setNoDelay());
        socket.write(head(target === '/events' ? 'text/event-stream' : 'text/plain'));
      }),
    );
    const timeoutMs = 2_000;
    const gateway = await gatewayTo({
      backends: [backend.url],
      responseTimeoutMs: timeoutMs,
      idleTimeoutMs: timeoutMs,
    });
    const open = async (target: string) => {
      const client = await clientOf(gateway.port);
      client.send(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
      await client.until(hasHead);
      return client;
    };
    const [events, dribble, silent] = [await open('/events'), await open('/dribble'), await open('/silent')];
    const openedAt = Date.now();
    const contentOf = (bytes: Buffer) => bytes.toString().slice(bytes.indexOf('\r\n\r\n'));
    // Each part is sent when the one before has come: a machine that is late makes the stream slower, never silent.
    for (let parts = 1; Date.now() - openedAt < 2 * timeoutMs || silent.closedBy === undefined; parts += 1) {
      sockets.get('/dribble')?.write('1\r\nx\r\n');
      await dribble.until((bytes) => contentOf(bytes).split('x').length > parts);
      await pause('the pace of the stream', 20);
    }
    // The same time-out has cut one that said nothing.
    const cut = isHttp1 ? 'FIN' : 'RST_STREAM 2';
    expect([events, dribble, silent].map(({ closedBy }) => closedBy)).toEqual([undefined, undefined, cut]);
    for (const socket of [sockets.get('/events'), sockets.get('/dribble')]) socket?.write('0\r\n\r\n');
    for (const client of [events, dribble]) expect((await client.response()).framingComplete).toBe(true);
  });

  test.each<[string, (client: TextClient) => unknown]>([
    ['stays', () => {}],
    ['closes', (client) => client.close()],
    ['resets', (client) => client.abort()],
  ])(
    'an event stream whose backend does not take the upload ends, when both are silent, for a client that %s',
    async (_how, act) => {
      const backend = cleanup.add(
        await RecorderBackend.start((socket) => {
          socket
            .pause()
            .write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n');
        }),
      );
      const gateway = await gatewayTo({ backends: [backend.url], idleTimeoutMs: 500 });
      const client = await clientOf(gateway.port);
      client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${KERNEL_BYTES + 16 * MIB}\r\n\r\nx`);
      await client.until(hasHead);
      client.send(Buffer.alloc(KERNEL_BYTES + 15 * MIB));
      await pause('what can move moves meanwhile', 100);
      act(client);
      await eventually('the stream ends', () => gateway.proxy.load().inFlight === 0);
    },
  );

  test('an event stream stays open while its client has not sent all of its upload, and the backend would take more', async () => {
    const backend = cleanup.add(
      await RecorderBackend.start((socket) => {
        socket
          .resume()
          .write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n');
      }),
    );
    const gateway = await gatewayTo({ backends: [backend.url], idleTimeoutMs: 200 });
    const client = await clientOf(gateway.port);
    client.send('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n');
    await client.until(hasHead);
    const isOpen = () => gateway.proxy.load().inFlight === 1 && client.closedBy === undefined;
    await stays('the stream is open', isOpen, 1_000);
  });

  test('297 open streams do not block other requests', async () => {
    const backend = cleanup.add(
      await RecorderBackend.start((socket, request, index) => {
        if (request.target !== '/events') return answerOk(socket, request, index);
        const fields = 'Content-Type: text/event-stream\r\nTransfer-Encoding: chunked';
        socket.write(`HTTP/1.1 200 OK\r\n${fields}\r\n\r\n5\r\nbegun\r\n`);
      }),
    );
    const gateway = await gatewayTo({ backends: [backend.url] });
    // With one more, a connection of HTTP/2 has the most that it may have by default.
    const streams = isHttp1 ? 1 : 99;
    const clients = await Promise.all(
      Array.from({ length: 297 / streams }, async () => {
        const client = await clientOf(gateway.port);
        for (let i = 0; i < streams; i += 1) client.send('GET /events HTTP/1.1\r\nHost: a\r\n\r\n');
        await client.until((bytes) => bytes.toString().split('begun').length > streams);
        return client;
      }),
    );
    // A request that had to wait for a stream to end would wait for ever.
    const other = isHttp1 ? await clientOf(gateway.port) : (clients[0] as TextClient);
    other.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    expect((await other.response()).status).toBe(200);
    for (const client of clients) client.close();
    await eventually('all are let go of', () => gateway.proxy.status()[0]?.inFlight === 0);
  });
});
