import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import express, { type Express } from 'express';
import { circuitBreaker, hardenServer, ipRateLimit, requestGuard, roundRobinProxy } from 'expressway';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { RawClient } from '../support/raw-client.ts';
import { answer, RecorderBackend } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterAll(() => cleanup.run());

const begins: (() => Promise<void>)[] = [];
beforeAll(() => {
  // Whether it fails, its test tells.
  for (const begin of begins) begin().catch(() => {});
});

/** Each of these takes the moments for which a connection lingers: they begin at once, and every test waits for its own. */
function atOnce(body: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  const begin = () => {
    running ??= body();
    return running;
  };
  begins.push(begin);
  return begin;
}

const GIB = 2 ** 30;
const PIECE = Buffer.alloc(65_536, 'a');
const CHUNK = Buffer.concat([Buffer.from('10000\r\n'), PIECE, Buffer.from('\r\n')]);
/** What is dropped for the sake of the answer, and a few reads of 64 KiB that were under way. */
const BOUND = 1_048_576;

/** Sends 1 GiB, or as much of it as it is let. */
function upload(client: RawClient, target: string, framing: string, piece: Buffer): void {
  client.send(`POST ${target} HTTP/1.1\r\nHost: gw.example\r\n${framing}\r\n\r\n`);
  let pieces = GIB / PIECE.length;
  const more = (): void => {
    while (pieces > 0 && !client.socket.destroyed && client.socket.writable) {
      pieces -= 1;
      if (!client.socket.write(piece)) return;
    }
  };
  client.socket.on('drain', more);
  more();
}

type Mount = (app: Express, backend: string) => unknown;

const proxyTo = (app: Express, options: Parameters<typeof roundRobinProxy>[0]) => {
  app.use(cleanup.add(roundRobinProxy(options)));
};

const REFUSALS: readonly (readonly [status: number, why: string, mount: Mount])[] = [
  [400, 'by requestGuard()', (app) => app.use(requestGuard())],
  [403, 'for its address', (app) => app.use(ipRateLimit({ deny: ['127.0.0.1'] }))],
  [429, 'over the limit', (app) => app.use(ipRateLimit({ limit: 1 }))],
  [413, 'too long', (app, backend) => proxyTo(app, { backends: [backend], maxBodyBytes: 1_000 })],
  [
    503,
    'by an open circuit',
    (app) => {
      const circuit = circuitBreaker();
      circuit.isolate();
      app.use(circuit);
    },
  ],
];

async function setUp(mount: Mount, harden: boolean) {
  const backend = cleanup.add(await RecorderBackend.start(answer('HTTP/1.1 204 No Content\r\n\r\n')));
  const app = express();
  mount(app, backend.url);
  app.use((_req, res) => void res.end('passed'));
  const server = createServer(app);
  if (harden) hardenServer(server);
  const sockets: Socket[] = [];
  server.on('connection', (socket) => sockets.push(socket));
  const { port } = cleanup.add(await listen(app, server));
  const client = cleanup.add(await RawClient.connect(port));
  client.send('HEAD / HTTP/1.1\r\nHost: gw.example\r\n\r\n');
  // The one request that the limiter lets pass.
  await client.response('HEAD');
  return { port, sockets, client };
}

/** A path that nobody but the guard minds. */
const targetFor = (status: number) => (status === 400 ? '/a%5Cb' : '/');

const CONTENTS = [
  ['of 1 GiB', `Content-Length: ${GIB}`, PIECE],
  ['without end', 'Transfer-Encoding: chunked', CHUNK],
] as const;

describe.each([false, true])('a request that is refused before its content is read (hardenServer: %s)', (harden) => {
  describe.each(harden ? REFUSALS : REFUSALS.slice(0, 2))('%d, %s', (status, _why, mount) => {
    for (const [name, framing, piece] of CONTENTS) {
      const whole = async () => {
        const { client, sockets } = await setUp(mount, harden);
        upload(client, targetFor(status), framing, piece);
        const response = await client.response();
        expect([response.status, response.field('connection'), response.framingComplete]).toEqual([
          status,
          'close',
          true,
        ]);
        expect(JSON.parse(response.content.toString()).status).toBe(status);
        await eventually('the connection is gone', () => sockets[0]?.destroyed);
        expect(sockets[0]?.bytesRead).toBeLessThan(BOUND);
      };
      test(`content ${name}: the response is complete, little more is read, the connection ends`, atOnce(whole));
    }
  });

  describe.each(REFUSALS.filter(([status]) => ![400, 413].includes(status)))('%d, %s', (status, _why, mount) => {
    test('small content is read, and the connection is kept', async () => {
      const { client, sockets } = await setUp(mount, harden);
      for (let i = 0; i < 3; i += 1) {
        client.send(`POST / HTTP/1.1\r\nHost: gw.example\r\nContent-Length: ${PIECE.length}\r\n\r\n`);
        client.send(PIECE);
        const response = await client.response();
        expect([response.status, response.field('connection')]).toEqual([status, 'keep-alive']);
      }
      expect(sockets).toHaveLength(1);
    });
  });

  const stalled = async () => {
    const { client, sockets } = await setUp((app) => app.use(ipRateLimit({ deny: ['127.0.0.1'] })), harden);
    client.send('POST / HTTP/1.1\r\nHost: gw.example\r\nContent-Length: 1000\r\n\r\nhello');
    expect((await client.response()).status).toBe(403);
    await client.closed();
    expect([client.closedBy, client.pending.length]).toEqual(['FIN', 0]);
    client.send('a'.repeat(995));
    client.send('GET / HTTP/1.1\r\nHost: gw.example\r\n\r\n');
    await eventually('the connection is gone', () => sockets[0]?.destroyed);
    expect(client.pending).toHaveLength(0);
  };
  test('small content that does not arrive ends the connection soon', atOnce(stalled));
});

const answeredEarly = async () => {
  const backend = cleanup.add(
    await RecorderBackend.start((socket) => {
      socket.pause();
      socket.write('HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno');
    }),
  );
  const gateway = cleanup.add(await proxyGateway({ backends: [backend.url] }));
  const sockets: Socket[] = [];
  gateway.server.on('connection', (socket) => sockets.push(socket));
  const client = cleanup.add(await RawClient.connect(gateway.port));
  upload(client, '/', `Content-Length: ${GIB}`, PIECE);
  const response = await client.response();
  expect([response.status, response.field('connection'), response.content.toString()]).toEqual([413, 'close', 'no']);
  await eventually('the connection is gone', () => sockets[0]?.destroyed);
  // What the kernel took for the backend comes on top.
  expect(sockets[0]?.bytesRead).toBeLessThan(GIB / 16);
};
test('content after an early response of a backend is read to the same bound', atOnce(answeredEarly));
