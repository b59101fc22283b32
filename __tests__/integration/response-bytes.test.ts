import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import express, { type Express } from 'express';
import { roundRobinProxy, undiciTransport, upgradeHandler } from 'expressway';
import fc from 'fast-check';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { afterRead } from '../support/pause.ts';
import { PROTOCOLS, type Protocol } from '../support/protocols.ts';
import { type RawMessage, rawRequest } from '../support/raw-client.ts';
import { answer, RecorderBackend } from '../support/recorder-backend.ts';
import { listen } from '../support/servers.ts';
import { REPEATS_ALL } from '../support/stream-client.ts';
import { acceptOf } from '../support/tunnels.ts';

type Line = readonly [name: string, value: string];

/** What one case of the property sends, both ways. */
interface Case {
  readonly method: string;
  readonly status: number;
  readonly reason: string;
  readonly appLines: readonly Line[];
  readonly lines: readonly Line[];
  readonly requestLines: readonly Line[];
  readonly body: 'until close' | 'chunked' | number;
  /** Where `Content-Length` or `Transfer-Encoding` stands among the lines: Node's order matters. */
  readonly framingAt: number;
}

/** The next case: the app and the backend read it. */
let current: Case;

const cleanup = new Cleanup();
let backend: RecorderBackend;
/** By protocol and gateway. */
const ports = new Map<string, number>();

beforeAll(async () => {
  backend = cleanup.add(
    await RecorderBackend.start((socket, request) => {
      const { body } = current;
      socket.setNoDelay(true);
      socket.write(Buffer.from(responseHead(request.field('sec-websocket-key')), 'latin1'));
      if (!hasNoBody()) {
        if (typeof body === 'number') socket.write(Buffer.alloc(body, 'b'));
        else socket.write(body === 'chunked' ? '2\r\nok\r\n0\r\n\r\n' : 'ok');
      }
      if (body === 'until close' && current.status !== 101) socket.end();
    }),
  );
  const proxy = cleanup.add(roundRobinProxy({ backends: [backend.url], retry: { attempts: 0 } }));
  const native = { autoRewrite: true };
  const plugins = [undiciTransport()];
  const middlewares = {
    'roundRobinProxy()': proxy,
    'undiciTransport()': createProxyMiddleware({ target: backend.url, plugins }),
    'the native transport under undiciTransport()': createProxyMiddleware({ target: backend.url, plugins, ...native }),
  };
  for (const [name, middleware] of Object.entries(middlewares)) {
    for (const protocol of PROTOCOLS) {
      const app: Express = express().disable('x-powered-by');
      app.use((_req, res, next) => {
        for (const [header, value] of current.appLines) res.appendHeader(header, value);
        next();
      });
      app.use(middleware);
      const server = protocol.serverOf(app);
      server.on('upgrade', upgradeHandler(app));
      ports.set(`${protocol.name} ${name}`, cleanup.add(await listen(app, server)).port);
    }
  }
});
afterAll(() => cleanup.run());

function hasNoBody(): boolean {
  return current.method === 'HEAD' || [101, 204, 304].includes(current.status);
}

function framing(): Line[] {
  if (current.status === 101) return [];
  if (current.status === 204 || current.body === 'until close') return [];
  return current.body === 'chunked' ? [['Transfer-Encoding', 'chunked']] : [['Content-Length', String(current.body)]];
}

/** @param key `Sec-WebSocket-Key`, which the gateway sends for a client of HTTP/2. */
function responseHead(key: string | undefined): string {
  const { lines, framingAt } = current;
  const all = [...lines.slice(0, framingAt), ...framing(), ...lines.slice(framingAt)];
  if (current.status === 101) all.push(['Connection', 'Upgrade'], ['Upgrade', 'websocket']);
  if (current.status === 101 && key !== undefined) all.push(['Sec-WebSocket-Accept', acceptOf(key)]);
  return `HTTP/1.1 ${current.status} ${current.reason}\r\n${text(all)}\r\n`;
}

const text = (lines: readonly Line[]) => lines.map(([name, value]) => `${name}: ${value}\r\n`).join('');

function requestBytes(): string {
  const { method, requestLines } = current;
  const upgrade = method === 'UPGRADE' ? 'Connection: Upgrade\r\nUpgrade: websocket\r\n' : '';
  const content = method === 'POST' ? 'Content-Length: 2\r\n' : '';
  const line = `${method === 'UPGRADE' ? 'GET' : method} /x HTTP/1.1\r\nHost: gw.example\r\n`;
  return `${line}${upgrade}${content}${text(requestLines)}\r\n${method === 'POST' ? 'hi' : ''}`;
}

const HOPS = new Set(['connection', 'keep-alive', 'transfer-encoding', 'upgrade', 'date']);

/** The values of each name, in their order; names in the order of the alphabet. */
function byName(lines: Iterable<Line>): Record<string, string[]> {
  const map = new Map<string, string[]>();
  for (const [name, value] of lines) {
    const key = name.toLowerCase();
    if (!HOPS.has(key)) map.set(key, [...(map.get(key) ?? []), value.replace(/^[ \t]+|[ \t]+$/g, '')]);
  }
  return Object.fromEntries([...map].sort().map(([name, values]) => [`-${name}`, values]));
}

/** Without what Node 22 does not repeat over HTTP/2. */
const onceOver = ({ name }: Protocol, lines: Record<string, string[]>) =>
  name === 'HTTP/1.1' || REPEATS_ALL
    ? lines
    : Object.fromEntries(
        Object.entries(lines).map(([key, values]) => [
          key,
          /-(?:etag|location)/.test(key) ? values.slice(0, 1) : values,
        ]),
      );

/** The lines that the client must see: the backend's replace the app's of the same name, cookies are added to them. */
function expectedLines(): Line[] {
  const sent = new Set(current.lines.map(([name]) => name.toLowerCase()));
  const own = current.appLines.filter(([name]) => name === 'Set-Cookie' || !sent.has(name.toLowerCase()));
  return [...own, ...current.lines, ...framing()];
}

/** The status line that a client of the protocol sees. */
function startLine({ name }: Protocol, { method, status, reason }: Case): string {
  // A tunnel has no reason to tell.
  if (name === 'HTTP/1.1') return `HTTP/1.1 ${status} ${status === 101 ? 'Switching Protocols' : reason}`;
  // Each status from 200 to 299 would say that the tunnel is open.
  const isOpen = status === 101;
  return `HTTP/2.0 ${isOpen ? 200 : method === 'UPGRADE' && status < 300 ? 502 : status}`;
}

async function exchange(protocol: Protocol, gateway: string): Promise<{ response: RawMessage; rest: Buffer }> {
  const client = await protocol.connect(ports.get(`${protocol.name} ${gateway}`) as number);
  try {
    client.send(requestBytes());
    const response = await client.response(current.method);
    return { response, rest: client.pending };
  } finally {
    client.close();
  }
}

const byteOf = fc.oneof(fc.integer({ min: 0x20, max: 0x7e }), fc.integer({ min: 0x80, max: 0xff }));
// Pairs such as C4 8A, which are CR and LF to whoever decodes UTF-8 and keeps the low byte.
const pairOf = fc.constantFrom('\xc4\x8d', '\xc4\x8a', '\xc3\xa9', '\xe6\x97\xa5');
const value = fc
  .array(
    fc.oneof(
      byteOf.map((code) => String.fromCharCode(code)),
      pairOf,
    ),
    { maxLength: 24 },
  )
  .map((parts) => parts.join('').replace(/^[ \t]+|[ \t]+$/g, ''));
const linesOf = (...names: string[]) => fc.array(fc.tuple(fc.constantFrom(...names), value), { maxLength: 5 });

const cases: fc.Arbitrary<Case> = fc
  .record({
    method: fc.constantFrom('GET', 'HEAD', 'POST', 'UPGRADE'),
    status: fc.constantFrom(200, 206, 304, 404, 204, 101),
    reason: value,
    appLines: linesOf('X-App', 'Content-Disposition', 'Set-Cookie'),
    lines: linesOf(
      'Content-Disposition',
      'content-disposition',
      'X-Any',
      'Set-Cookie',
      'Cookie',
      'ETag',
      'Location',
      '__proto__',
      'constructor',
      'toString',
    ),
    requestLines: linesOf('X-Any', 'Content-Disposition', 'X-Other'),
    body: fc.oneof(
      fc.constantFrom('until close' as const, 'chunked' as const),
      fc.constantFrom(0, 1, 2, 5_000, 150_000),
    ),
    framingAt: fc.nat(5),
  })
  .filter(({ method, status }) => status !== 101 || method === 'UPGRADE');

const simple = (more: Partial<Case>): Case => ({
  method: 'GET',
  status: 200,
  reason: 'OK',
  appLines: [],
  lines: [],
  requestLines: [],
  body: 2,
  framingAt: 9,
  ...more,
});

const gatewaysOver = (gateways: readonly string[]) =>
  PROTOCOLS.flatMap((protocol) => gateways.map((gateway) => ({ gateway, name: protocol.name, protocol })));

describe.each(gatewaysOver(['roundRobinProxy()', 'undiciTransport()']))(
  '$gateway over $name',
  ({ gateway, protocol }) => {
    const isHttp1 = protocol.name === 'HTTP/1.1';

    test('every byte and every line of a message head arrives, in both directions', async () => {
      await fc.assert(
        fc.asyncProperty(cases, async (one) => {
          fc.pre(gateway === 'roundRobinProxy()' || one.method !== 'UPGRADE');
          current = one;
          const { response, rest } = await exchange(protocol, gateway);
          expect(response.startLine).toBe(startLine(protocol, one));
          expect(byName(response.fields)).toEqual(onceOver(protocol, byName(expectedLines())));
          if (!hasNoBody()) expect(response.content.length).toBe(typeof one.body === 'number' ? one.body : 2);
          expect(rest.length).toBe(0);
          const received = backend.requests.at(-1)?.fields ?? [];
          const names = new Set(['x-any', 'x-other', 'content-disposition']);
          expect(byName(received.filter(([name]) => names.has(name)))).toEqual(byName(one.requestLines));
        }),
        // What HTTP/2 adds is the last step: fewer runs tell.
        { numRuns: isHttp1 ? 150 : 50 },
      );
    });

    test('a response has the number of header lines that the backend sent', async () => {
      const lines = Array.from({ length: 600 }, (_, n): Line => [n % 3 === 0 ? 'X-Same' : `x-${n}`, `${n}`]);
      current = simple({ lines });
      const { response } = await exchange(protocol, gateway);
      expect(byName(response.fields)).toEqual(byName(expectedLines()));
    });
  },
);

const GATEWAYS = ['roundRobinProxy()', 'undiciTransport()', 'the native transport under undiciTransport()'];

describe.each(gatewaysOver(GATEWAYS))('$gateway over $name: Content-Disposition', ({ gateway, protocol }) => {
  const attack = 'attachment; filename="a\xc4\x8d\xc4\x8aSet-Cookie: evil=1"';
  const names = ['\xe9.txt', '\xc3\xa9.txt', '\xe6\x97\xa5\xe6\x9c\xac.pdf', '\xe4\xb8\x8a\xe6\xb5\xb7.txt'];
  const values = [attack, ...names.map((name) => `attachment; filename="${name}"`)];

  test.each([
    ['GET', 200, 2],
    ['GET', 206, 9_000],
    ['HEAD', 200, 2],
    ['GET', 304, 2],
    ['GET', 200, 'chunked'],
  ] as const)(
    '%s, status %i, body %s: a file name arrives unchanged and adds no header',
    async (method, status, body) => {
      for (const framingAt of [0, 1]) {
        for (const disposition of values) {
          current = simple({ method, status, body, framingAt, lines: [['Content-Disposition', disposition]] });
          const { response, rest } = await exchange(protocol, gateway);
          expect(response.all('content-disposition')).toEqual([disposition]);
          expect(response.field('set-cookie')).toBeUndefined();
          expect(rest.length).toBe(0);
        }
      }
    },
  );

  test('every header of an event stream arrives unchanged', async () => {
    const lines: Line[] = [
      ['Content-Type', 'text/event-stream'],
      ['Content-Disposition', attack],
      ['X-Any', '\xe9\xff'],
    ];
    current = simple({ lines, body: 'chunked' });
    const { response } = await exchange(protocol, gateway);
    expect(byName(response.fields)).toEqual(byName(lines));
  });

  test('a file name that the app set arrives unchanged', async () => {
    for (const disposition of values) {
      current = simple({ appLines: [['Content-Disposition', disposition]] });
      const { response } = await exchange(protocol, gateway);
      expect(response.all('content-disposition')).toEqual([disposition]);
      expect(response.field('set-cookie')).toBeUndefined();
    }
  });
});

test.each(gatewaysOver(GATEWAYS))(
  '$gateway over $name: Content-Disposition of a client adds no header to the request to the backend',
  async ({ gateway, protocol }) => {
    const disposition: Line = ['Content-Disposition', 'a\xc4\x8d\xc4\x8aX-Added: 1'];
    for (const [method, more] of [
      ['GET', []],
      ['POST', []],
      ['POST', [['Expect', '100-continue']]],
    ] as [string, Line[]][]) {
      current = simple({ method, requestLines: [disposition, ...more] });
      const client = await protocol.connect(ports.get(`${protocol.name} ${gateway}`) as number);
      client.send(requestBytes());
      let { status } = await client.response(method);
      if (status === 100) ({ status } = await client.response(method));
      client.close();
      expect(status).toBe(200);
      const received = backend.requests.at(-1);
      expect(received?.all('content-disposition')).toEqual([disposition[1]]);
      expect(received?.field('x-added')).toBeUndefined();
    }
  },
);

test.each(PROTOCOLS)('the large body of a refused upgrade arrives whole over $name', async (protocol) => {
  current = simple({ method: 'UPGRADE', status: 403, body: 2_000_000 });
  const { response } = await exchange(protocol, 'roundRobinProxy()');
  expect(response.status).toBe(403);
  expect(response.content.length).toBe(2_000_000);
});

test.each(PROTOCOLS)(
  'an informational response arrives with every byte of its headers over $name',
  async (protocol) => {
    const hints = cleanup.add(
      await RecorderBackend.start(
        answer('HTTP/1.1 103 Early Hints\r\nLink: </\xe9\xc4\x8a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'),
      ),
    );
    const proxy = cleanup.add(roundRobinProxy({ backends: [hints.url] }));
    const app = express().use(proxy);
    const { port } = cleanup.add(await listen(app, protocol.serverOf(app)));
    const { status, all } = await protocol.request(port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    expect([status, all('link')]).toEqual([103, ['</\xe9\xc4\x8a>']]);
  },
);

test.each([200, 299])('an empty reason phrase stays empty: %i', async (status) => {
  const backend = cleanup.add(await RecorderBackend.start(answer(`HTTP/1.1 ${status} \r\nContent-Length: 0\r\n\r\n`)));
  const { port } = cleanup.add(await proxyGateway({ backends: [backend.url] }));
  expect((await rawRequest(port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')).startLine).toBe(`HTTP/1.1 ${status} `);
});

test('a reason phrase that comes in several packets arrives whole', async () => {
  const slow = cleanup.add(
    await RecorderBackend.start((socket) => {
      socket.setNoDelay(true);
      const pieces = ['HTTP/1.1 200 Fi', 'ne, th\xe4', 'nks\r\nContent-Length: 2\r\n\r\nok'];
      const next = () => {
        const piece = pieces.shift();
        if (piece !== undefined) socket.write(Buffer.from(piece, 'latin1'), () => afterRead(next));
      };
      next();
    }),
  );
  const proxy = cleanup.add(roundRobinProxy({ backends: [slow.url] }));
  const { port } = cleanup.add(await listen(express().use(proxy)));
  const { startLine } = await rawRequest(port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  expect(startLine).toBe('HTTP/1.1 200 Fine, th\xe4nks');
});
