import { createServer } from 'node:http';
import { afterEach, describe, expect, test } from '@jest/globals';
import type { RoundRobinProxyOptions } from 'expressway';
import {
  type ClientRefusedEvent,
  GatewayEvents,
  type HardenServerOptions,
  hardenServer,
  roundRobinProxy,
} from 'expressway';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { pause, stays } from '../support/pause.ts';
import { PROTOCOLS, type Protocol, type TextClient } from '../support/protocols.ts';
import { RawClient, rawRequest } from '../support/raw-client.ts';
import { answerOk, RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const H = 'Host: gw.example\r\n';
const get = (nonce: string, fields = '') => `GET / HTTP/1.1\r\n${H}X-Nonce: ${nonce}\r\n${fields}\r\n`;
const upload = (framing: string, more = '') => `POST / HTTP/1.1\r\n${H}${framing}\r\n${more}\r\n`;
const CHUNKED = 'Transfer-Encoding: chunked';

const HTTP_1 = PROTOCOLS[0] as Protocol;

/** Small times for small tests; generous ones for what a case is not about. */
const BOUNDS: HardenServerOptions = { checkIntervalMs: 20, headTimeoutMs: 20_000, receiveGraceMs: 20_000 };

async function setUp(
  bounds: HardenServerOptions,
  options: Partial<RoundRobinProxyOptions> = {},
  script = answerOk,
  protocol = HTTP_1,
) {
  const backend = cleanup.add(await RecorderBackend.start(script));
  const events = new GatewayEvents();
  const told: ClientRefusedEvent[] = [];
  events.on('clientRefused', (event) => told.push(event));
  const gateway = cleanup.add(
    await proxyGateway(
      { backends: [backend.url], ...options },
      undefined,
      protocol.hardened({ ...BOUNDS, events, ...bounds }),
    ),
  );
  const client = async () => cleanup.add(await protocol.connect(gateway.port));
  return { backend, told, client, ...gateway };
}

/** Others, all the while, until it is over. */
async function undisturbed({ request }: Protocol, port: number, over: Promise<unknown>): Promise<void> {
  let running = true;
  void over.finally(() => {
    running = false;
  });
  for (let i = 0; running; i += 1) {
    const response = await request(port, get(`n${i}`));
    expect([response.status, response.content.toString()]).toEqual([200, `n${i}`]);
    await pause('the pace of the others', 10);
  }
  await over;
}

/** Writes a byte now and then until the connection ends. */
function trickle(client: TextClient, bytes: () => string, everyMs: number): void {
  const timer = setInterval(() => client.send(bytes()), everyMs);
  client.socket.once('close', () => clearInterval(timer));
  client.socket.once('end', () => clearInterval(timer));
}

// HTTP/2: a head that never ends is the last frame of its connection, which headTimeoutMs bounds (http2-streams.test.ts).
test('G01: slowloris: request heads that never end get 408, and other clients are not affected', async () => {
  const { port, told, client, backend } = await setUp({ headTimeoutMs: 400 });
  const slow = await Promise.all(Array.from({ length: 50 }, client));
  for (const one of slow) {
    one.send(`GET /slow HTTP/1.1\r\n${H}X: `);
    trickle(one, () => 'a', 50);
  }
  const answers = Promise.all(slow.map((one) => one.response()));
  await undisturbed(HTTP_1, port, answers);
  for (const answer of await answers) {
    expect([answer.status, answer.field('connection'), JSON.parse(answer.content.toString()).cause]).toEqual([
      408,
      'close',
      'client_timeout',
    ]);
  }
  await Promise.all(slow.map((one) => one.closed()));
  expect(told.filter(({ cause }) => cause === 'client_timeout')).toHaveLength(50);
  expect(backend.requests.filter(({ target }) => target === '/slow')).toEqual([]);
});

test('G01: a connection without any bytes is closed as well', async () => {
  const { client } = await setUp({ headTimeoutMs: 200 });
  await (await client()).closed();
});

describe.each(PROTOCOLS)('slow request content, over $name', (protocol) => {
  const isHttp1 = protocol.name === 'HTTP/1.1';
  const RATE: HardenServerOptions = { minReceiveBytesPerSecond: 1_000, receiveGraceMs: 300 };

  test.each([
    ['of known length', 'Content-Length: 1048576', () => 'a'],
    ['chunked', CHUNKED, () => '1\r\na\r\n'],
  ])(
    'G02: %s: gets 408, the backend is released, and other clients are not affected',
    async (_name, framing, bytes) => {
      const onlyGets: Script = (socket, request, index) => {
        if (request.method === 'GET') answerOk(socket, request, index);
      };
      const { port, client, backend, proxy, told } = await setUp(RATE, {}, onlyGets, protocol);
      const slow = await client();
      slow.send(upload(framing));
      trickle(slow, bytes, 40);
      const answer = slow.response();
      await undisturbed(protocol, port, answer);
      const { status, field } = await answer;
      expect([status, field('connection')]).toEqual([408, isHttp1 ? 'close' : undefined]);
      await slow.closed();
      expect(told).toEqual([
        { cause: 'client_timeout', status: 408, address: '127.0.0.1', exchange: expect.anything() },
      ]);
      await eventually('nothing is in flight', () => proxy.load().inFlight === 0 && proxy.status()[0]?.inFlight === 0);
      const upstream = backend.received.find((all) => all.includes('POST'))?.toString('latin1');
      expect(upstream).not.toMatch(/\r\n0\r\n\r\n$/);
    },
  );

  test('steady content is never cut, nor is a client that waits for the backend', async () => {
    let read: (() => void) | undefined;
    const waits: Script = (socket, request, index) => {
      if (request.target === '/waits') {
        socket.pause();
        read = () => socket.resume();
        socket.on('data', () => {});
      } else answerOk(socket, request, index);
      socket.on('data', (chunk: Buffer) => {
        if (chunk.includes('END')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
      });
    };
    const { client } = await setUp(RATE, {}, waits, protocol);
    const steady = await client();
    const length = 3_000;
    steady.send(upload(`Content-Length: ${length}`));
    for (let sent = 0; sent < length; sent += 100) {
      steady.send('a'.repeat(100));
      await pause('the pace of the upload', 40);
    }
    expect((await steady.response()).status).toBe(200);

    const waiting = await client();
    const size = 16 * 1_048_576;
    waiting.send(`POST /waits HTTP/1.1\r\n${H}Content-Length: ${size}\r\n\r\n`);
    waiting.send(`${'a'.repeat(size - 3)}END`);
    await eventually('the backend is asked', () => read !== undefined);
    await stays('the client is not cut', () => waiting.closedBy === undefined, 1_000);
    read?.();
    expect((await waiting.response()).status).toBe(200);
  });
});

describe.each(PROTOCOLS)('responses that clients do not read, over $name', (protocol) => {
  const huge: Script = (socket, request, index) => {
    if (request.target !== '/huge') return answerOk(socket, request, index);
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${64 * 1_048_576}\r\n\r\n`);
    socket.write(Buffer.alloc(64 * 1_048_576));
  };

  test('G03: a client that does not read is cut, the backend is released, and other clients are not affected', async () => {
    const { port, client, proxy, told } = await setUp({ sendTimeoutMs: 400 }, {}, huge, protocol);
    const slow = await client();
    slow.send(`GET /huge HTTP/1.1\r\n${H}\r\n`);
    slow.socket.pause();
    const cut = eventually('it is cut', () => told.length === 1);
    await undisturbed(protocol, port, cut);
    expect(told[0]?.cause).toBe('client_timeout');
    await eventually('the backend is free', () => proxy.status()[0]?.inFlight === 0);
    slow.socket.resume();
    await slow.closed();
    expect(slow.pending.length).toBeLessThan(64 * 1_048_576);
  });

  test('a slow but steady reader and an idle event stream are not cut', async () => {
    // So long that a busy machine, which stands still for a second, takes no part in it.
    const hugeOrEvents: Script = (socket, request, index) => {
      if (request.target === '/huge') return huge(socket, request, index);
      socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n');
      setTimeout(() => socket.end('data: 2\n\n'), 5_000).unref();
    };
    const { client, told } = await setUp({ sendTimeoutMs: 2_000 }, {}, hugeOrEvents, protocol);
    const stream = await client();
    stream.send(`GET /events HTTP/1.1\r\n${H}\r\n`);
    const reader = await client();
    reader.send(`GET /huge HTTP/1.1\r\n${H}\r\n`);
    reader.socket.pause();
    const timer = setInterval(() => {
      reader.socket.resume();
      reader.socket.once('data', () => reader.socket.pause());
    }, 50);
    cleanup.add({ close: () => clearInterval(timer) });
    expect((await stream.response()).content.toString()).toBe('data: 1\n\ndata: 2\n\n');
    expect([told.map(({ cause }) => cause), reader.closedBy]).toEqual([[], undefined]);
  });
});

test('a client that ends its side within its upload has left, whether or not it has a response: it is not refused', async () => {
  const { told, client, backend } = await setUp({}, {}, (socket, { target }) => {
    if (target === '/early') socket.write('HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno');
  });
  for (const [target, status] of [
    ['/early', 413],
    ['/none', undefined],
  ] as const) {
    const one = (await client()) as RawClient;
    one.send(`POST ${target} HTTP/1.1\r\n${H}Content-Length: 9\r\n\r\nhello`);
    if (status !== undefined) expect((await one.response()).status).toBe(status);
    await eventually('the backend is asked', () => backend.requests.at(-1)?.target === target);
    one.socket.end();
    await one.closed();
    expect([one.closedBy, one.pending.length]).toEqual(['FIN', 0]);
  }
  await eventually('the backend is free', () => backend.connections.size === 0);
  expect(told).toEqual([]);
});

describe.each(PROTOCOLS)('maxBodyBytes, over $name', (protocol) => {
  const isHttp1 = protocol.name === 'HTTP/1.1';
  const LIMIT = 1_000;

  test('G05: a larger Content-Length is refused at once, before any backend is involved', async () => {
    const { port, client, backend } = await setUp({}, { maxBodyBytes: LIMIT }, answerOk, protocol);
    const large = await client();
    large.send(upload(`Content-Length: ${LIMIT + 1}`));
    const answer = await large.response();
    expect([answer.status, answer.field('connection')]).toEqual([413, isHttp1 ? 'close' : undefined]);
    // Still sending: the answer is not lost to a reset.
    if (isHttp1) large.send('a'.repeat(LIMIT + 1));
    large.socket.end();
    await large.closed();
    expect([large.closedBy, backend.requests.length]).toEqual(['FIN', 0]);
    expect((await protocol.request(port, upload(`Content-Length: ${LIMIT}`) + 'a'.repeat(LIMIT))).status).toBe(200);
  });

  test('G05: chunked content is cut at the maximum, and never looks complete to the backend', async () => {
    const { port, client, backend, proxy } = await setUp(
      {},
      { maxBodyBytes: LIMIT },
      (socket, request, index) => {
        if (request.method === 'GET') answerOk(socket, request, index);
      },
      protocol,
    );
    const large = await client();
    large.send(`${upload(CHUNKED)}64\r\n${'a'.repeat(100)}\r\n`);
    await eventually('the backend is asked', () => backend.requests.length === 1);
    for (let i = 0; i < 10; i += 1) large.send(`64\r\n${'a'.repeat(100)}\r\n`);
    const answer = await large.response();
    expect([answer.status, JSON.parse(answer.content.toString()).cause]).toEqual([413, 'content_too_large']);
    if (isHttp1) large.send('0\r\n\r\n');
    large.socket.end();
    await large.closed();
    expect(large.closedBy).toBe('FIN');
    await eventually('the connection to the backend is gone', () => backend.connections.size === 0);
    expect(backend.received[0]?.toString('latin1')).not.toMatch(/\r\n0\r\n\r\n$/);
    expect(proxy.status()[0]).toMatchObject({ circuit: 'closed', inFlight: 0 });
    expect(proxy.load().inFlight).toBe(0);
    expect((await protocol.request(port, get('next'))).content.toString()).toBe('next');
  });

  test('chunked content up to the limit passes', async () => {
    const { port, backend } = await setUp({}, { maxBodyBytes: LIMIT }, answerOk, protocol);
    const chunk = `${LIMIT.toString(16)}\r\n${'a'.repeat(LIMIT)}\r\n`;
    expect((await protocol.request(port, `${upload(CHUNKED)}${chunk}0\r\n\r\n`)).status).toBe(200);
    await eventually('it ends', () => /\r\n0\r\n\r\n$/.test(backend.received[0]?.toString('latin1') ?? ''));
  });
});

test('a request that was refused while a middleware awaited something is not forwarded', async () => {
  const backend = cleanup.add(await RecorderBackend.start());
  const events = new GatewayEvents();
  const failures: unknown[] = [];
  events.on('attemptFailed', (event) => failures.push(event.outcome));
  const proxy = cleanup.add(roundRobinProxy({ backends: [backend.url], events }));
  let resume: (() => void) | undefined;
  const server = createServer((req, res) => {
    resume = () => proxy(req, res, () => {});
  });
  const { port } = cleanup.add(await listen(() => {}, hardenServer(server, BOUNDS)));
  const client = cleanup.add(await RawClient.connect(port));
  client.send(upload(CHUNKED));
  await eventually('the middleware has it', () => resume !== undefined);
  client.send('no chunk\r\n');
  expect((await client.response()).status).toBe(400);
  resume?.();
  await eventually('nothing is in flight', () => proxy.load().inFlight === 0);
  await stays('no backend is asked', () => backend.requests.length + failures.length === 0, 100);
});

describe.each(PROTOCOLS)('bounds of connections, over $name', (protocol) => {
  const setUpOver = (limits: HardenServerOptions) => setUp(limits, {}, answerOk, protocol);

  test('connections above the maximum of one address are closed at once; open ones stay', async () => {
    const { client, told } = await setUpOver({ maxConnectionsPerAddress: 2 });
    const [one, two] = [await client(), await client()];
    one.send(get('1'));
    expect((await one.response()).content.toString()).toBe('1');
    // Closed while it is made, or right after.
    await client().then(
      (third) => third.closed(),
      () => {},
    );
    const detail = 'Connections allowed of one address: 2 (maxConnectionsPerAddress, MAX_CONNECTIONS_PER_ADDRESS).';
    expect(told).toEqual([{ cause: 'client_connection_limit', detail, address: '127.0.0.1' }]);
    two.send(get('2'));
    expect((await two.response()).content.toString()).toBe('2');
    one.close();
    await eventually('there is room again', async () => {
      const next = await client();
      next.send(get('3'));
      return (await next.response()).status === 200;
    });
  });

  test('maxConnectionsPerAddress does not apply to a trusted proxy', async () => {
    const { client } = await setUpOver({
      maxConnectionsPerAddress: 1,
      isUncapped: (address) => address === '127.0.0.1',
    });
    for (let i = 0; i < 3; i += 1) {
      const one = await client();
      one.send(get(String(i)));
      expect((await one.response()).status).toBe(200);
    }
  });

  test('connections above the maximum are closed at once', async () => {
    const { client, told } = await setUpOver({ maxConnections: 1 });
    const one = await client();
    one.send(get('1'));
    await one.response();
    await client().then(
      (second) => second.closed(),
      () => {},
    );
    const detail = 'Connections allowed: 1 (maxConnections, MAX_CONNECTIONS).';
    expect(told).toEqual([{ cause: 'connection_limit', detail, port: expect.any(Number), address: '127.0.0.1' }]);
  });
});

// HTTP/2 has GOAWAY for it: http2-streams.test.ts.
test('a connection closes after its last request', async () => {
  const { client } = await setUp({ maxRequestsPerConnection: 2 });
  const one = await client();
  one.send(get('1'));
  expect((await one.response()).field('connection')).toBe('keep-alive');
  one.send(get('2'));
  const last = await one.response();
  expect([last.field('connection'), last.content.toString()]).toEqual(['close', '2']);
  one.send(get('3'));
  expect((await one.response()).status).toBe(503);
});

test('hardenServer() refuses a server that has its bounds', () => {
  const server = hardenServer(createServer());
  expect(() => hardenServer(server)).toThrow(/the server has its bounds already/);
});

test("assumptions about Node's server: options of construction, and the response in progress", async () => {
  const server = hardenServer(createServer(), { maxHeadBytes: 2_000, headTimeoutMs: 100, checkIntervalMs: 20 });
  let known: unknown;
  server.on('request', (req, res) => {
    known = (req.socket as { _httpMessage?: unknown })._httpMessage === res;
    res.end('ok');
  });
  const { port } = cleanup.add(await listen(() => {}, server));
  expect((await rawRequest(port, get('x'))).status).toBe(200);
  expect(known).toBe(true);
  expect((await rawRequest(port, get('x', `X: ${'a'.repeat(3_000)}\r\n`))).status).toBe(431);
  const slow = cleanup.add(await RawClient.connect(port));
  slow.send('GET / HTTP/1.1\r\n');
  // Node itself would look only every 30 s.
  expect((await slow.response()).status).toBe(408);
});
