import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { connect as connectPlain, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterEach, describe, expect, test } from '@jest/globals';
import { type ClientRefusedEvent, GatewayEvents, type HardenServerOptions, hardenServer } from 'expressway';
import fc from 'fast-check';
import { certificate } from '../support/certificate.ts';
import { Cleanup } from '../support/gateway.ts';
import { hardenedGateway } from '../support/hardened-gateway.ts';
import { pause } from '../support/pause.ts';
import { RawClient } from '../support/raw-client.ts';
import { eventually, listen, standsStill } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const H = 'Host: gw.example\r\n';
const get = (target: string, fields = '') => `GET ${target} HTTP/1.1\r\n${H}${fields}\r\n`;

interface Site {
  readonly port: number;
  readonly server: Server;
  /** Most requests that were in progress at a time. */
  readonly most: () => number;
  readonly reset: () => void;
  /** Targets, in the order in which the app has got them. */
  readonly seen: string[];
}

/** Answers each request, once it has read it, with what it was; in a later turn. */
async function site(bounds: HardenServerOptions = {}, secure = false): Promise<Site> {
  const seen: string[] = [];
  let running = 0;
  let most = 0;
  const app: RequestListener = (req, res) => {
    seen.push(req.url ?? '');
    running += 1;
    most = Math.max(most, running);
    res.on('finish', () => {
      running -= 1;
    });
    const pieces: Buffer[] = [];
    req.on('data', (piece) => pieces.push(piece));
    req.on('end', () => {
      const content = `${req.method} ${req.url} ${Buffer.concat(pieces).toString('latin1')}`;
      setImmediate(() => res.end(Buffer.from(content, 'latin1')));
    });
  };
  const made = secure ? (createTlsServer(certificate, app) as unknown as Server) : createServer(app);
  const { port, server } = cleanup.add(await listen(() => {}, hardenServer(made, bounds)));
  return {
    port,
    server,
    most: () => most,
    reset: () => {
      most = 0;
    },
    seen,
  };
}

/** Sends pieces one after the other, and gives all that comes back until the server has ended the connection. */
async function exchange(socket: Socket, pieces: readonly Buffer[]): Promise<string> {
  cleanup.add({ close: () => socket.destroy() });
  socket.setNoDelay(true);
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1');
  });
  const ended = new Promise<void>((resolve) => socket.on('close', () => resolve()));
  for (const piece of pieces) {
    socket.write(piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await ended;
  return text;
}

/** The contents of answers that all have a length. */
function contents(text: string): string[] {
  const found: string[] = [];
  for (let at = 0; at < text.length; ) {
    const end = text.indexOf('\r\n\r\n', at) + 4;
    const length = Number(/content-length: (\d+)/i.exec(text.slice(at, end))?.[1]);
    found.push(text.slice(end, end + length));
    at = end + length;
  }
  return found;
}

const text = fc.string({
  unit: fc.constantFrom('\r', '\n', '\r\n\r\n', 'GET / HTTP/1.1\r\n', '0', 'a'),
  maxLength: 12,
});
const chunked = (parts: readonly string[], trailers: string) =>
  `${parts.map((part) => `${part.length.toString(16)};x\r\n${part}\r\n`).join('')}0\r\n${trailers}\r\n`;
const request = fc.oneof(
  fc.constant(['GET', '', '', '']),
  fc.constant(['DELETE', 'Content-Length: 0\r\n', '', '']),
  text.map((content) => ['POST', `Content-Length: ${content.length}\r\n`, content, content]),
  fc
    .tuple(
      fc.array(
        text.filter((one) => one !== ''),
        { maxLength: 4 },
      ),
      fc.constantFrom('', 'X-Sum: 1\r\n'),
    )
    .map(([parts, trailers]) => ['PUT', 'Transfer-Encoding: chunked\r\n', chunked(parts, trailers), parts.join('')]),
) as fc.Arbitrary<[method: string, fields: string, content: string, received: string]>;

/** Cuts bytes at places that a client's network might choose. */
function cutAt(bytes: Buffer, places: readonly number[]): Buffer[] {
  const ends = [...new Set(places.map((place) => place % bytes.length))].sort((a, b) => a - b);
  return [...ends, bytes.length].map((end, index) => bytes.subarray(index === 0 ? 0 : ends[index - 1], end));
}

describe.each([
  ['http', false, 1],
  ['http', false, 3],
  ['https', true, 1],
] as const)('a hardened %s server (TLS: %s) with maxRequestsInProgress %d', (_scheme, secure, max) => {
  test('pipelined requests get their responses in order, however the bytes arrive, and the maximum in progress holds', async () => {
    const { port, most, reset } = await site({ maxRequestsInProgress: max }, secure);
    await fc.assert(
      fc.asyncProperty(
        fc.array(request, { minLength: 1, maxLength: 12 }),
        fc.array(fc.nat(), { maxLength: 10 }),
        fc.constantFrom('', '\r\n'),
        async (requests, places, blank) => {
          const bytes = requests.map(
            ([method, fields, content], index) => `${blank}${method} /${index} HTTP/1.1\r\n${H}${fields}\r\n${content}`,
          );
          reset();
          const last = get('/last', 'Connection: close\r\n');
          const socket = secure
            ? connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false })
            : connectPlain({ port, host: '127.0.0.1' });
          await once(socket, secure ? 'secureConnect' : 'connect');
          const received = await exchange(socket, cutAt(Buffer.from(bytes.join('') + last, 'latin1'), places));
          expect(contents(received)).toEqual([
            ...requests.map(([method, , , content], index) => `${method} /${index} ${content}`),
            'GET /last ',
          ]);
          expect(most()).toBeLessThanOrEqual(max);
        },
      ),
      { numRuns: secure ? 30 : 150 },
    );
  });
});

test('2,000 pipelined requests get their responses in order, over at most two backend connections', async () => {
  let connections = 0;
  const backend = await listen((req, res) => res.end(req.url));
  cleanup.add(backend);
  backend.server.on('connection', () => {
    connections += 1;
  });
  const { port } = cleanup.add(await hardenedGateway({ backends: [backend.url] }));
  const targets = Array.from({ length: 2_000 }, (_, index) => `/${index}`);
  const socket = connectPlain({ port, host: '127.0.0.1' });
  const bytes = targets.map((target) => get(target)).join('') + get('/last', 'Connection: close\r\n');
  expect(contents(await exchange(socket, [Buffer.from(bytes)]))).toEqual([...targets, '/last']);
  expect(connections).toBe(1);
});

test('a maximum of 0 lets Node read ahead without a bound', async () => {
  const { port, most } = await site({ maxRequestsInProgress: 0 });
  await exchange(connectPlain({ port, host: '127.0.0.1' }), [
    Buffer.from(get('/1') + get('/2') + get('/3', 'Connection: close\r\n')),
  ]);
  expect(most()).toBe(3);
});

test('an endless pipelining client is not read from, so that memory stays bounded', async () => {
  let answer: (() => void) | undefined;
  const app: RequestListener = (_req, res) => {
    answer = () => res.end('late');
  };
  const { port, server } = cleanup.add(await listen(() => {}, hardenServer(createServer(app))));
  const connected = once(server, 'connection') as Promise<[Socket]>;
  const client = cleanup.add(await RawClient.connect(port));
  const [socket] = await connected;
  const flood = Buffer.from(get('/').repeat(10_000));
  client.send(get('/first'));
  await eventually('the first one is asked', () => answer !== undefined);
  let sent = 0;
  const send = () => {
    for (; sent < 500 && client.socket.write(flood); sent += 1);
  };
  client.socket.on('drain', send);
  send();
  await eventually('the client cannot get rid of more', () => client.socket.writableLength > 0);
  await standsStill('the server reads no more', () => socket.bytesRead);
  expect(socket.bytesRead).toBeLessThan(1_048_576);
  answer?.();
  expect((await client.response()).content.toString()).toBe('late');
});

test('an upgrade after a pipelined request waits for its response, and later bytes belong to the new protocol', async () => {
  const { port, server, seen } = await site();
  server.on('upgrade', (req, socket, head) => {
    seen.push(req.url ?? '');
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
    socket.write(head);
    socket.on('data', (chunk: Buffer) => socket.write(chunk));
    socket.on('end', () => socket.end());
  });
  const client = cleanup.add(await RawClient.connect(port));
  const upgrade = get('/tunnel', 'Connection: Upgrade\r\nUpgrade: echo\r\n');
  client.send(`${get('/1')}${get('/2')}${upgrade}one\r\n\r\ntwo\r\n\r\n`);
  expect((await client.response()).content.toString()).toBe('GET /1 ');
  expect((await client.response()).content.toString()).toBe('GET /2 ');
  expect((await client.response()).status).toBe(101);
  client.send('three');
  await client.until((bytes) => bytes.toString() === 'one\r\n\r\ntwo\r\n\r\nthree');
  expect(seen).toEqual(['/1', '/2', '/tunnel']);
});

/** Has the server read something else into the buffer that all of its connections share. */
async function overwrite(port: number): Promise<void> {
  const client = cleanup.add(await RawClient.connect(port));
  client.send(get(`/${'y'.repeat(4_000)}`));
  await client.response();
}

test.each([
  ['at once', (bytes: string[]) => [bytes.join('')]],
  ['in pieces', (bytes: string[]) => bytes],
])('an upgrade with content: %s: neither the content nor later bytes are lost', async (_name, cut) => {
  const received: string[] = [];
  const { port, server } = await site();
  server.on('upgrade', (req, socket, head) => {
    cleanup.add({ close: () => socket.destroy() });
    // Node 22 takes the content for the beginning of the other protocol.
    req.on('data', (piece: Buffer) => received.push(piece.toString()));
    received.push(head.toString());
    overwrite(port).then(() => {
      socket.on('data', (piece: Buffer) => received.push(piece.toString()));
    });
  });
  const client = cleanup.add(await RawClient.connect(port));
  const upgrade = get('/tunnel', 'Connection: Upgrade\r\nUpgrade: echo\r\nContent-Length: 9\r\n');
  for (const piece of cut([`${upgrade}he`, 'l\r\n\r\nlo', 'one\r\n\r\ntwo\r\n\r\n', 'three'])) {
    client.send(piece);
    await pause('each piece comes on its own', 10);
  }
  await overwrite(port);
  client.send('four');
  await eventually('all has come', () => received.join('') === 'hel\r\n\r\nloone\r\n\r\ntwo\r\n\r\nthreefour');
});

test('bytes that the parser refused, and the first bytes of another protocol, stay unchanged', async () => {
  const kept: Buffer[] = [];
  const { port, server } = await site();
  server.on('clientError', ({ rawPacket }: Error & { rawPacket?: Buffer }) => {
    if (rawPacket !== undefined) kept.push(rawPacket);
  });
  server.on('upgrade', (_req, socket, head) => {
    cleanup.add({ close: () => socket.destroy() });
    kept.push(head);
  });
  const bad = cleanup.add(await RawClient.connect(port));
  bad.send('G(T / HTTP/1.1\r\n\r\n');
  expect((await bad.response()).status).toBe(400);
  const upgrading = cleanup.add(await RawClient.connect(port));
  upgrading.send(`${get('/', 'Connection: Upgrade\r\nUpgrade: echo\r\n')}head`);
  await eventually('both have come', () => kept.length === 2);
  await overwrite(port);
  expect(kept.map(String)).toEqual(['G(T / HTTP/1.1\r\n\r\n', 'head']);
});

test('no handler sees bytes after the last response of a connection, in the same packet or later', async () => {
  const { port, seen } = await site();
  const client = cleanup.add(await RawClient.connect(port));
  client.send(get('/1', 'Connection: close\r\n') + get('/2'));
  expect((await client.response()).status).toBe(200);
  client.send(get('/3'));
  client.socket.end();
  await client.closed();
  expect([seen, client.pending.length]).toEqual([['/1'], 0]);
});

describe('a request line without an HTTP version', () => {
  test.each([
    ['and no more', ['GET /\r\n']],
    ['in pieces', ['GE', 'T /', '\r', '\n']],
    ['behind a request', [`${get('/1')}GET /2\r\n`]],
    ['behind empty lines', ['\r\n\r\nGET /\r\n']],
    ['in absolute form', ['GET http://gw.example/\r\n']],
    ['but one of RTSP', [`GET / RTSP/1.0\r\n${H}\r\n`]],
  ])('gets 400 at once: %s', async (_name, pieces) => {
    const told: ClientRefusedEvent[] = [];
    const events = new GatewayEvents();
    events.on('clientRefused', (event) => told.push(event));
    const { port, seen } = await site({ events, headTimeoutMs: 3_600_000 });
    const client = cleanup.add(await RawClient.connect(port));
    for (const piece of pieces) {
      client.send(piece);
      await pause('each piece comes on its own', 5);
    }
    let response = await client.response();
    if (response.status === 200) response = await client.response();
    expect([response.status, response.field('connection')]).toEqual([400, 'close']);
    expect(told).toMatchObject([{ cause: 'bad_request', detail: 'The request line does not end in an HTTP version.' }]);
    expect(seen.length).toBe(pieces.join('').includes('/1\x20') ? 1 : 0);
  });
});

test.each(['', get('/')])(
  'more than two empty lines instead of a request end the connection (after %j)',
  async (first) => {
    const { port } = await site();
    const client = cleanup.add(await RawClient.connect(port));
    client.send(`${first}\r\n\r\n`);
    if (first !== '') expect((await client.response()).status).toBe(200);
    client.send(get('/'));
    expect((await client.response()).status).toBe(200);
    for (let sent = 0; sent < 3; sent += 1) {
      client.send('\r\n');
      await pause('each piece comes on its own', 5);
    }
    expect((await client.response()).status).toBe(400);
    client.socket.end();
    await client.closed();
  },
);

/** More than is kept for a client that does not read. */
const BIG = Buffer.alloc(4 * 1_048_576, 'x');

test('responses to a slow reader delay its next requests, and all arrive', async () => {
  const app: RequestListener = (_req, res) => res.end(BIG);
  const server = hardenServer(createServer(app), { maxRequestsInProgress: 3 });
  const { port } = cleanup.add(await listen(() => {}, server));
  const client = cleanup.add(await RawClient.connect(port));
  client.socket.pause();
  for (let sent = 0; sent < 4; sent += 1) {
    client.send(get('/').repeat(2));
    await pause('each piece comes on its own', 10);
  }
  client.socket.resume();
  for (let received = 0; received < 8; received += 1) {
    expect((await client.response()).content.length).toBe(BIG.length);
  }
});

test('assumption about Node: it reads a connection by one listener, and marks the socket when it wants no more requests', async () => {
  const seen: unknown[] = [];
  const server = createServer(({ socket }, res) => {
    seen.push((socket as { _paused?: boolean })._paused);
    res.write(BIG);
  });
  server.on('connection', (socket) => seen.push(socket.listenerCount('data')));
  const { port } = cleanup.add(await listen(() => {}, server));
  const client = cleanup.add(await RawClient.connect(port));
  client.send(get('/1'));
  await client.until((bytes) => bytes.length > 0);
  client.socket.pause();
  client.send(get('/2'));
  await eventually('both have come', () => seen.length === 3);
  expect(seen).toEqual([1, false, true]);
});
