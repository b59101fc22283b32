import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import express from 'express';
import { roundRobinProxy, undiciTransport } from 'expressway';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { Cleanup } from '../support/gateway.ts';
import { afterRead } from '../support/pause.ts';
import { PROTOCOLS } from '../support/protocols.ts';
import { rawRequest } from '../support/raw-client.ts';
import { answer, RecorderBackend } from '../support/recorder-backend.ts';
import { listen } from '../support/servers.ts';

const cleanup = new Cleanup();
/** By protocol and gateway. */
const ports = new Map<string, number>();
let appLine: readonly [name: string, value: string];
let backend: RecorderBackend;

beforeAll(async () => {
  backend = cleanup.add(await RecorderBackend.start());
  const proxy = cleanup.add(roundRobinProxy({ backends: [backend.url] }));
  const plugin = createProxyMiddleware({ target: backend.url, plugins: [undiciTransport()] });
  for (const [name, middleware] of Object.entries({ 'roundRobinProxy()': proxy, 'undiciTransport()': plugin })) {
    for (const protocol of PROTOCOLS) {
      const app = express();
      app.use((_req, res, next) => {
        if (appLine !== undefined) res.setHeader(...appLine);
        next();
      });
      app.use(middleware);
      ports.set(`${protocol.name} ${name}`, cleanup.add(await listen(app, protocol.serverOf(app))).port);
    }
  }
});
afterAll(() => cleanup.run());

const GET = 'GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n';

const GATEWAYS = PROTOCOLS.flatMap((protocol) =>
  ['roundRobinProxy()', 'undiciTransport()'].map((gateway) => ({ gateway, name: protocol.name, protocol })),
);

describe.each(GATEWAYS)('$gateway over $name', ({ gateway, protocol }) => {
  const get = () => protocol.request(ports.get(`${protocol.name} ${gateway}`) as number, GET);

  test.each([
    ['Vary', 'Origin', 'Accept-Encoding'],
    ['Link', '</app.css>; rel=preload', '</b>; rel=next'],
    ['Server-Timing', 'app;dur=1', 'db;dur=2'],
    ['Access-Control-Expose-Headers', 'RateLimit', 'X-Total'],
    ['Cache-Status', 'gateway; fwd=miss', 'origin; hit'],
    ['Proxy-Status', 'app', 'origin; error=dns_error'],
    ['RateLimit', '"ip";r=9', '"user";r=1'],
    ['RateLimit-Policy', '"ip";q=9', '"user";q=1'],
    ['Accept-CH', 'DPR', 'Width'],
    ['Critical-CH', 'DPR', 'Width'],
    ['Clear-Site-Data', '"cache"', '"cookies"'],
    ['Set-Cookie', 'a=1', 'b=2'],
  ])('the values of %s of app and backend both arrive', async (name, ours, theirs) => {
    appLine = [name, ours];
    backend.script = answer(`HTTP/1.1 200 OK\r\n${name}: ${theirs}\r\nContent-Length: 0\r\n\r\n`);
    expect((await get()).all(name.toLowerCase())).toEqual([ours, theirs]);
    backend.script = answer('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    expect((await get()).all(name.toLowerCase())).toEqual([ours]);
  });

  test.each([
    'Access-Control-Allow-Origin',
    'Access-Control-Allow-Methods',
    'Timing-Allow-Origin',
    'Cache-Control',
    'Content-Security-Policy',
    'Content-Type',
    'Allow',
    'X-Any',
  ])('%s of the backend replaces that of the app', async (name) => {
    appLine = [name, 'app'];
    backend.script = answer(`HTTP/1.1 200 OK\r\n${name}: backend\r\nContent-Length: 0\r\n\r\n`);
    expect((await get()).all(name.toLowerCase())).toEqual(['backend']);
  });

  test('headers named like members of Object.prototype arrive in the head, in informational responses and in trailers', async () => {
    appLine = ['X-App', '1'];
    const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'valueOf'];
    const lines = names.map((name) => `${name}: 1\r\n${name}: 2\r\n`).join('');
    backend.script = answer(
      `HTTP/1.1 103 Early Hints\r\n${lines}\r\nHTTP/1.1 200 OK\r\n${lines}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n${lines}\r\n`,
    );
    const client = await protocol.connect(ports.get(`${protocol.name} ${gateway}`) as number);
    client.send(GET);
    await client.until((bytes) => bytes.toString().split('\r\n\r\n').length === 4);
    const sections = client.pending.toString('latin1').toLowerCase();
    client.close();
    for (const name of names) {
      const values = [...sections.matchAll(new RegExp(`^${name.toLowerCase()}: (.)\r$`, 'gm'))].map(
        ([, value]) => value,
      );
      expect([name, values]).toEqual([name, ['1', '2', '1', '2', '1', '2']]);
    }
  });
});

test('headers of a failed backend do not reach the response of the next one', async () => {
  const head = 'HTTP/1.1 200 OK\r\nVary: First\r\nLink: <first>\r\nContent-Length: 10\r\n\r\n';
  const first = cleanup.add(
    await RecorderBackend.start((socket) => void socket.write(head, () => afterRead(() => socket.destroy()))),
  );
  const second = cleanup.add(
    await RecorderBackend.start(answer('HTTP/1.1 200 OK\r\nVary: Second\r\nContent-Length: 0\r\n\r\n')),
  );
  const app = express();
  app.use((_req, res, next) => {
    res.vary('Origin');
    next();
  });
  app.use(cleanup.add(roundRobinProxy({ backends: [first.url, second.url] })));
  const { port } = cleanup.add(await listen(app));
  const response = await rawRequest(port, GET);
  expect(first.requests).toHaveLength(1);
  expect([response.all('vary'), response.all('link')]).toEqual([['Origin', 'Second'], []]);
});

test("headers of the app that a failed backend's head replaced are in the response of the next backend, and in that of the gateway", async () => {
  const dies = (head: string) =>
    RecorderBackend.start((socket) => void socket.write(head, () => setTimeout(() => socket.destroy(), 20)));
  const names = ['Content-Security-Policy', 'Vary', 'Access-Control-Allow-Origin', 'X-Any'];
  const lines = names.map((name) => `${name.toLowerCase()}: backend\r\n`).join('');
  const first = cleanup.add(await dies(`HTTP/1.1 200 OK\r\n${lines}Content-Length: 10\r\n\r\n`));
  const second = cleanup.add(await RecorderBackend.start(answer('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')));
  for (const backends of [[first.url, second.url], [first.url]]) {
    const app = express();
    app.use((_req, res, next) => {
      for (const name of names) res.setHeader(name, name === 'Vary' ? ['Origin', 'Cookie'] : 'app');
      next();
    });
    app.use(cleanup.add(roundRobinProxy({ backends })));
    const { port } = cleanup.add(await listen(app));
    const response = await rawRequest(port, GET);
    expect(response.status).toBe(backends.length === 2 ? 200 : 502);
    expect(names.map((name) => response.all(name.toLowerCase()))).toEqual([
      ['app'],
      ['Origin', 'Cookie'],
      ['app'],
      ['app'],
    ]);
  }
});

describe('a middleware that wraps the methods of the response', () => {
  const body = Buffer.from('{"name":"é日本","bytes":"\u0080ÿ"}');
  test.each([1, 4_096, 10_000])('gets and sends the bytes of the backend, at %d bytes', async (length) => {
    const sent = Buffer.concat(Array(Math.ceil(length / body.length)).fill(body)).subarray(0, length);
    const head = `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`;
    backend.script = (socket) => void socket.write(Buffer.concat([Buffer.from(head), sent]));
    const proxy = cleanup.add(roundRobinProxy({ backends: [backend.url] }));
    const seen: Buffer[] = [];
    const app = express();
    app.use((_req, res, next) => {
      const { write, end } = res;
      // As many do it: an encoding is neither asked for nor handed on.
      res.write = (chunk: never) => seen.push(Buffer.from(chunk)) > 0 && write.call(res, chunk, 'utf8');
      res.end = (chunk?: never) => {
        if (chunk !== undefined) seen.push(Buffer.from(chunk));
        return end.call(res, chunk, 'utf8');
      };
      next();
    });
    const { port } = cleanup.add(await listen(app.use(proxy)));
    const response = await rawRequest(port, GET);
    expect(response.content.equals(sent)).toBe(true);
    expect(Buffer.concat(seen).equals(sent)).toBe(true);
  });
});

const LENGTH = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody';
const CHUNKS = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n';

test.each([
  ['Content-Length', '2', LENGTH, 'length'],
  ['Content-Length', '2', CHUNKS, 'chunked'],
  ['Transfer-Encoding', 'chunked', LENGTH, 'chunked'],
  ['Transfer-Encoding', 'chunked', CHUNKS, 'chunked'],
])(
  '%s: %s of a middleware does not say where the body of a backend ends (%j: %s)',
  async (name, value, head, framing) => {
    const backend = cleanup.add(await RecorderBackend.start(answer(head)));
    const app = express();
    app.use((_req, res, next) => {
      res.setHeader(name, value);
      next();
    });
    app.use(cleanup.add(roundRobinProxy({ backends: [backend.url] })));
    const { port } = cleanup.add(await listen(app));
    const response = await rawRequest(port, GET);
    expect(response.all('content-length')).toEqual(framing === 'length' ? ['4'] : []);
    expect(response.all('transfer-encoding')).toEqual(framing === 'length' ? [] : ['chunked']);
    expect(response.content.toString()).toBe('body');
  },
);
