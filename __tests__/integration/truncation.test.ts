import { afterEach, describe, expect, test } from '@jest/globals';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { hardenedGateway } from '../support/hardened-gateway.ts';
import { afterRead } from '../support/pause.ts';
import { PROTOCOLS, type Protocol, WITH_TLS } from '../support/protocols.ts';
import { RawClient, rawRequest } from '../support/raw-client.ts';
import { recordedGateway } from '../support/recorded-gateway.ts';
import { answer, answerOk, RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { eventually } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const setUp = (script: Script, { serverOf } = PROTOCOLS[0] as Protocol) => recordedGateway(script, cleanup, serverOf);

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const OLD_GET = 'GET / HTTP/1.0\r\nHost: a\r\n\r\n';
const LONG = 'x'.repeat(6_000);

const FRAMINGS: readonly [string, string][] = [
  ['length', `HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n${LONG}`],
  ['length, to close', `HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10000\r\n\r\n${LONG}`],
  ['chunks', `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1770\r\n${LONG}\r\n`],
  ['chunks, in the middle of one', `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1771\r\n${LONG}`],
  ['chunks, before the last', `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1770\r\n${LONG}\r\n0\r\n`],
  ['chunks, to close', `HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1770\r\n${LONG}\r\n`],
  ['the end of the connection', `HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n${LONG}`],
  ['the end of the connection, 1.0', `HTTP/1.0 200 OK\r\n\r\n${LONG}`],
];

const CUTS = FRAMINGS.flatMap(([framing, bytes]) =>
  // An orderly end is the end of content that has no other one.
  (framing.startsWith('the end') ? ['RST'] : ['FIN', 'RST']).map((how) => [framing, how, bytes] as const),
);

describe.each(WITH_TLS)('T01, R27: a truncated response looks truncated, over $name', (protocol) => {
  test.each(CUTS)('framed by %s, cut by %s', async (_framing, how, bytes) => {
    const { port, backend, proxy } = await setUp((socket) => {
      socket.write(bytes, () => afterRead(() => (how === 'FIN' ? socket.end() : socket.resetAndDestroy())));
    }, protocol);
    const outcomes: string[] = [];
    proxy.events.on('forwarded', ({ outcome }) => {
      outcomes.push(outcome.kind === 'failed' ? `${outcome.cause} ${outcome.error.message}` : outcome.kind);
    });
    const requests = protocol.name === 'HTTP/2' ? [GET] : [GET, OLD_GET];
    for (const request of requests) {
      const { status, content, framingComplete } = await protocol.request(port, request);
      expect([status, content.toString(), framingComplete]).toEqual([200, LONG, false]);
    }
    expect(outcomes).toHaveLength(requests.length);
    for (const outcome of outcomes) expect(outcome).toMatch(/^http_response_incomplete /);
    expect(backend.requests).toHaveLength(requests.length);
    await eventually('nothing is in flight', () => proxy.status()[0]?.inFlight === 0);
  });

  test('no other backend gets the request', async () => {
    const cut: Script = (socket) => void socket.end(`HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n${LONG}`);
    const [first, second] = [await RecorderBackend.start(cut), await RecorderBackend.start(answerOk)];
    const backends = [cleanup.add(first).url, cleanup.add(second).url];
    const { port } = cleanup.add(await proxyGateway({ backends }, undefined, protocol.serverOf));
    const { status, content, framingComplete } = await protocol.request(port, GET);
    expect([status, content.toString(), framingComplete]).toEqual([200, LONG, false]);
    expect([first.requests.length, second.requests.length]).toEqual([1, 0]);
  });

  test('a reset keeps its error code in events', async () => {
    const { port, proxy } = await setUp((socket) => {
      socket.write(`HTTP/1.0 200 OK\r\n\r\n${LONG}`, () => afterRead(() => socket.resetAndDestroy()));
    });
    const codes: unknown[] = [];
    proxy.events.on('attemptFailed', ({ outcome }) => {
      if (outcome.kind === 'failed') codes.push((outcome.error as NodeJS.ErrnoException).code);
    });
    await rawRequest(port, GET);
    expect(codes).toEqual(['ECONNRESET']);
  });

  test.each(FRAMINGS.slice(-2))(
    'C01: a response framed by %s that ends regularly is complete',
    async (_framing, bytes) => {
      const { port } = await setUp((socket) => void socket.end(bytes), protocol);
      for (const request of protocol.name === 'HTTP/2' ? [GET] : [GET, OLD_GET]) {
        const response = await protocol.request(port, request);
        expect([response.content.toString(), response.framingComplete]).toEqual([LONG, true]);
      }
    },
  );
});

const UPLOADS: readonly [string, string, RegExp][] = [
  ['length', 'Content-Length: 10\r\n\r\nhalf', /\r\n\r\nhalf$/],
  ['chunks', 'Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n', /\r\n\r\n4\r\nhalf(?:\r\n)?$/],
  ['chunks, in the middle of one', 'Transfer-Encoding: chunked\r\n\r\n9\r\nhalf', /\r\n\r\n4\r\nhalf(?:\r\n)?$/],
  ['chunks, before the last', 'Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n', /\r\n\r\n4\r\nhalf(?:\r\n)?$/],
];

describe('T04, R27: an aborted upload never looks complete', () => {
  const cases = UPLOADS.flatMap(([framing, bytes, seen]) =>
    ['FIN', 'RST', 'half-close'].flatMap((how) => [false, true].map((hard) => ({ framing, how, hard, bytes, seen }))),
  );
  test.each(cases)(
    'framed by $framing, aborted by $how, hardened server: $hard',
    async ({ how, hard, bytes, seen }) => {
      const backend = cleanup.add(await RecorderBackend.start(() => {}));
      const start = hard ? hardenedGateway : proxyGateway;
      const { port, proxy } = cleanup.add(await start({ backends: [backend.url] }));
      const client = cleanup.add(await RawClient.connect(port));
      client.send(`POST / HTTP/1.1\r\nHost: a\r\n${bytes}`);
      await eventually('content arrives', () => backend.received[0]?.includes('half'));
      if (how === 'half-close') client.socket.end();
      else if (how === 'FIN') client.close();
      else client.socket.resetAndDestroy();
      await eventually('the backend sees the end', () => backend.connections.size === 0);
      expect(backend.received[0]?.toString('latin1')).toMatch(seen);
      expect(backend.requests).toHaveLength(1);
      await eventually('nothing is in flight', () => proxy.status()[0]?.inFlight === 0);
      expect(proxy.status()[0]?.circuit).toBe('closed');
    },
  );
});

describe.each(WITH_TLS)('T04, R27: an aborted upload never looks complete, over $name', ({ serverOf, connect }) => {
  test.each(UPLOADS)('framed by %s', async (_framing, bytes, seen) => {
    const { port, backend, proxy } = await recordedGateway(() => {}, cleanup, serverOf);
    const client = cleanup.add(await connect(port));
    client.send(`POST / HTTP/1.1\r\nHost: a\r\n${bytes}`);
    await eventually('content arrives', () => backend.received[0]?.includes('half'));
    client.close();
    await eventually('the backend sees the end', () => backend.connections.size === 0);
    expect(backend.received[0]?.toString('latin1')).toMatch(seen);
    await eventually('nothing is in flight', () => proxy.status()[0]?.inFlight === 0);
    expect(proxy.status()[0]?.circuit).toBe('closed');
  });
});

describe.each(WITH_TLS)('T06, R30: an early response, over $name', (protocol) => {
  const isHttp1 = protocol.name !== 'HTTP/2';

  const early: Script = (socket) => socket.write('HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig');
  const streamed: Script = (socket) => {
    socket.write('HTTP/1.1 413 Content Too Large\r\nTransfer-Encoding: chunked\r\n\r\n');
    afterRead(() => socket.write('3\r\nbig\r\n0\r\n\r\n'));
  };
  const toClose: Script = (socket) => socket.end('HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n\r\nbig');
  const LONG_UPLOADS: readonly [string, string][] = [
    ['length', 'Content-Length: 3000000\r\n\r\n'],
    ['chunks', 'Transfer-Encoding: chunked\r\n\r\n2dc6c0\r\n'],
  ];
  const scripts: readonly [string, Script][] = [
    ['of known length', early],
    ['in chunks', streamed],
    ['up to the end of the connection', toClose],
  ];

  test.each(scripts.flatMap(([kind, script]) => LONG_UPLOADS.map(([by, head]) => ({ kind, script, by, head }))))(
    '$kind reaches a client that is still sending by $by, and the connection or stream ends',
    async ({ script, head }) => {
      const { port, backend, proxy } = await setUp(script, protocol);
      const client = cleanup.add(await protocol.connect(port));
      client.send(`POST / HTTP/1.1\r\nHost: a\r\n${head}`);
      client.send(Buffer.alloc(1_000_000));
      const response = await client.response('POST');
      expect([response.status, response.content.toString(), response.framingComplete]).toEqual([413, 'big', true]);
      if (isHttp1) {
        client.send(Buffer.alloc(100_000));
        client.send(GET);
      }
      await client.closed();
      expect([client.closedBy, client.pending.length]).toEqual(['FIN', 0]);
      expect(backend.requests).toHaveLength(1);
      await eventually('nothing is in flight', () => proxy.status()[0]?.inFlight === 0);
      await eventually('the backend is let go', () => backend.connections.size === 0);
    },
  );

  test('keeps the connection when little is left to send', async () => {
    const { port } = await setUp(early, protocol);
    const client = cleanup.add(await protocol.connect(port));
    client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n1');
    const response = client.response('POST');
    // A stream ends with the request; the client of HTTP/1.1 has its response before.
    if (isHttp1) await response;
    client.send(Buffer.alloc(100_000));
    expect((await response).field('connection')).toBe(isHttp1 ? 'keep-alive' : undefined);
    client.send(GET);
    expect((await client.response()).status).toBe(413);
  });

  test.each(['FIN', 'RST'])(
    'a backend that dies by %s during an upload gives 502, and the connection or stream ends',
    async (how) => {
      const { port, backend, proxy } = await setUp((socket) => {
        setTimeout(() => (how === 'FIN' ? socket.destroy() : socket.resetAndDestroy()), 50);
      }, protocol);
      const client = cleanup.add(await protocol.connect(port));
      client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n');
      const sending = setInterval(() => client.closedBy ?? client.send(Buffer.alloc(1_000)), 5);
      try {
        const response = await client.response('POST');
        expect([response.status, response.field('connection')]).toEqual([502, isHttp1 ? 'close' : undefined]);
        await client.closed();
      } finally {
        clearInterval(sending);
      }
      expect(backend.requests).toHaveLength(1);
      await eventually('nothing is in flight', () => proxy.status()[0]?.inFlight === 0);
    },
  );
});

describe('a client that half-closes its connection', () => {
  test.each([
    ['in the packet of the request', true],
    ['while the backend works', false],
  ])('%s has left: its request is aborted', async (_when, atOnce) => {
    const { port, backend, proxy } = await setUp(() => {});
    const client = cleanup.add(await RawClient.connect(port));
    if (atOnce) client.socket.end(GET);
    else {
      client.send(GET);
      await eventually('the request arrives', () => backend.requests.length === 1);
      client.socket.end();
    }
    await client.closed();
    await eventually('the backend is let go', () => backend.connections.size === 0);
    await eventually('nothing is in flight', () => proxy.status()[0]?.inFlight === 0);
    expect(proxy.status()[0]?.circuit).toBe('closed');
  });

  test('is closed regularly after its response', async () => {
    const { port } = await setUp(answerOk);
    const client = cleanup.add(await RawClient.connect(port));
    client.send(GET);
    expect((await client.response()).status).toBe(200);
    client.socket.end();
    await client.closed();
    expect(client.closedBy).toBe('FIN');
  });
});

test('K2, B04: content stays framed when Connection names framing headers', async () => {
  const { port, backend } = await setUp(
    answer('HTTP/1.1 200 OK\r\nConnection: Content-Length\r\nContent-Length: 2\r\n\r\nok'),
  );
  const client = cleanup.add(await RawClient.connect(port));
  const named = 'Connection: Content-Length, Transfer-Encoding, Content-Type\r\n';
  client.send(`POST /1 HTTP/1.1\r\nHost: a\r\n${named}Content-Length: 5\r\n\r\nhello`);
  expect(await client.response()).toMatchObject({ status: 200, framingComplete: true });
  client.send(`POST /2 HTTP/1.1\r\nHost: a\r\n${named}Transfer-Encoding: chunked\r\n\r\n5\r\nworld\r\n0\r\n\r\n`);
  const second = await client.response();
  expect([second.field('content-length'), second.content.toString()]).toEqual(['2', 'ok']);
  await eventually('all of it arrives', () => backend.received[0]?.toString('latin1').endsWith('\r\n0\r\n\r\n'));
  expect(backend.requests.map(({ target }) => target)).toEqual(['/1', '/2']);
  expect(backend.requests[0]?.field('content-length')).toBe('5');
  expect(backend.requests[1]?.field('transfer-encoding')).toBe('chunked');
});
