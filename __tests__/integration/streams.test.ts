import { createHash, type Hash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { request, type ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { afterEach, describe, expect, test } from '@jest/globals';
import compression from 'compression';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { pause, stays } from '../support/pause.ts';
import { RawClient } from '../support/raw-client.ts';
import { answerOk, RecorderBackend } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** 1024 for the whole of C12; the answer is the same. */
const MEGABYTES = Number(process.env.EXPRESSWAY_STREAM_MEGABYTES ?? 96);
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

  test.each(['down', 'up'])(
    'large content in the direction %s arrives unchanged, in bounded memory',
    async (way) => {
      const sent = createHash('sha256');
      let got = '';
      const backend = cleanup.add(
        await listen(async (req, res) => {
          if (way === 'down') return pipeline(chunks(sent), res);
          got = await hashOf(req);
          res.end(got);
        }),
      );
      const gateway = cleanup.add(await proxyGateway({ backends: [backend.url] }));
      const grown = await growth(async () => {
        await new Promise<void>((resolve, reject) => {
          const req = request(gateway.url, { method: way === 'down' ? 'GET' : 'POST' }, (res) => {
            hashOf(res).then((hash) => {
              if (way === 'down') got = hash;
              resolve();
            }, reject);
          });
          req.on('error', reject);
          if (way === 'down') req.end();
          else pipeline(chunks(sent), req).catch(reject);
        });
      });
      expect(got).toBe(sent.digest('hex'));
      process.stdout.write(
        process.env.EXPRESSWAY_STREAM_MEGABYTES ? `${way}: RSS grew by ${grown.toFixed(0)} MiB\n` : '',
      );
      // Garbage of three parties in one process; what is buffered would be all of the content.
      if (MEGABYTES > 512) expect(grown).toBeLessThan(256);
    },
    120_000,
  );

  test('a slow reader pauses the backend, so that buffers stay bounded', async () => {
    const size = (Math.ceil(KERNEL_BYTES / MIB) + 48) * MIB;
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
      await eventually('the client has read so far', () => read >= allowed, 20_000);
      await heldUp();
      expect(source?.writableLength).toBeGreaterThan(0);
      expect(sent() - read).toBeLessThan(KERNEL_BYTES + 2 * MIB);
      // Of that, what is in the gateway's own memory.
      expect(sink?.writableLength).toBeLessThan(MIB);
    }
    allowed = Number.POSITIVE_INFINITY;
    client.resume();
    await eventually('all of it arrives', () => read > size, 60_000);
  }, 120_000);
});

describe('C16: streams', () => {
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
      const gateway = cleanup.add(
        await proxyGateway({ backends: [backend.url] }, (app) => {
          app.use(compression({ threshold: 0 }) as never);
        }),
      );
      const response = await fetch(gateway.url, { headers: { 'accept-encoding': 'gzip' } });
      expect(response.headers.get('content-encoding')).toBe('gzip');
      const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
      for (const part of ['data: 1\n\n', 'data: 2\n\n', 'data: 3\n\n']) {
        stream?.write(part);
        // Nothing else is sent until this one has come.
        expect((await reader.read()).value).toBe(part);
      }
      stream?.end();
      expect((await reader.read()).done).toBe(true);
    },
  );

  test('a slow reader with compression() leaves no listeners behind', async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error) => void warnings.push(warning);
    process.on('warning', onWarning);
    cleanup.add({ close: () => process.off('warning', onWarning) });
    const noise = randomBytes(8 * 1024 * 1024).toString('hex');
    const backend = cleanup.add(
      await listen((_req, res) => void res.setHeader('Content-Type', 'text/plain').end(noise)),
    );
    const gateway = cleanup.add(
      await proxyGateway({ backends: [backend.url] }, (app) => {
        app.use(compression() as never);
      }),
    );
    const response = await fetch(gateway.url, { headers: { 'accept-encoding': 'gzip' } });
    expect((await response.text()) === noise).toBe(true);
    await new Promise((resolve) => setImmediate(resolve));
    expect(warnings).toEqual([]);
  }, 60_000);

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
    const options = { backends: [backend.url], responseTimeoutMs: timeoutMs, idleTimeoutMs: timeoutMs };
    const gateway = cleanup.add(await proxyGateway(options));
    const open = async (target: string) => {
      const client = cleanup.add(await RawClient.connect(gateway.port));
      client.send(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
      await client.until((bytes) => bytes.includes('\r\n\r\n'));
      return client;
    };
    const [events, dribble, silent] = [await open('/events'), await open('/dribble'), await open('/silent')];
    const openedAt = Date.now();
    // Each part is sent when the one before has come: a machine that is late makes the stream slower, never silent.
    for (let parts = 1; Date.now() - openedAt < 2 * timeoutMs || silent.closedBy === undefined; parts += 1) {
      sockets.get('/dribble')?.write('1\r\nx\r\n');
      await dribble.until((bytes) => bytes.toString().split('x\r\n').length > parts);
      await pause('the pace of the stream', 20);
    }
    // The same time-out has cut one that said nothing.
    expect([events, dribble, silent].map(({ closedBy }) => closedBy)).toEqual([undefined, undefined, 'FIN']);
    for (const socket of [sockets.get('/events'), sockets.get('/dribble')]) socket?.write('0\r\n\r\n');
    for (const client of [events, dribble]) await client.until((bytes) => bytes.includes('0\r\n\r\n'));
  });

  test.each<[string, (socket: Socket) => unknown]>([
    ['stays', () => {}],
    ['closes', (socket) => socket.destroy()],
    ['resets', (socket) => socket.resetAndDestroy()],
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
      const gateway = cleanup.add(await proxyGateway({ backends: [backend.url], idleTimeoutMs: 500 }));
      const client = cleanup.add(await RawClient.connect(gateway.port));
      client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${KERNEL_BYTES + 16 * MIB}\r\n\r\nx`);
      await client.until((bytes) => bytes.includes('\r\n\r\n'));
      client.send(Buffer.alloc(KERNEL_BYTES + 15 * MIB));
      await pause('what can move moves meanwhile', 100);
      act(client.socket);
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
    const gateway = cleanup.add(await proxyGateway({ backends: [backend.url], idleTimeoutMs: 200 }));
    const client = cleanup.add(await RawClient.connect(gateway.port));
    client.send('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n');
    await client.until((bytes) => bytes.includes('\r\n\r\n'));
    const isOpen = () => gateway.proxy.load().inFlight === 1 && client.closedBy === undefined;
    await stays('the stream is open', isOpen, 1_000);
  });

  test('300 open streams do not block other requests', async () => {
    const backend = cleanup.add(
      await RecorderBackend.start((socket, request, index) => {
        if (request.target !== '/events') return answerOk(socket, request, index);
        const fields = 'Content-Type: text/event-stream\r\nTransfer-Encoding: chunked';
        socket.write(`HTTP/1.1 200 OK\r\n${fields}\r\n\r\n3\r\n: 1\r\n`);
      }),
    );
    const gateway = cleanup.add(await proxyGateway({ backends: [backend.url] }));
    const clients = await Promise.all(
      Array.from({ length: 300 }, async () => {
        const client = cleanup.add(await RawClient.connect(gateway.port));
        client.send('GET /events HTTP/1.1\r\nHost: a\r\n\r\n');
        await client.until((bytes) => bytes.includes(': 1'));
        return client;
      }),
    );
    // A request that had to wait for a stream to end would wait for ever.
    expect((await fetch(gateway.url)).status).toBe(200);
    for (const client of clients) client.close();
    await eventually('all are let go of', () => gateway.proxy.status()[0]?.inFlight === 0);
  });
});
