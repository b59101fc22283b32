import type { Server } from 'node:http';
import { createServer } from 'node:https';
import { afterEach, describe, expect, test } from '@jest/globals';
import type { RequestHandler } from 'express';
import { OptionsError, type RoundRobinProxyOptions, roundRobinProxy } from 'expressway';
import { certificate } from '../support/certificate.ts';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { RawClient } from '../support/raw-client.ts';
import { answer, answerOk, RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const { cert, key } = certificate;

async function setUp(script: Script, options: Partial<RoundRobinProxyOptions> = {}) {
  const backend = cleanup.add(await RecorderBackend.start(script));
  return { backend, ...cleanup.add(await proxyGateway({ backends: [backend.url], ...options })) };
}

async function clientOf(port: number) {
  const client = cleanup.add(await RawClient.connect(port));
  return async (fields = '') => {
    client.send(`GET / HTTP/1.1\r\nHost: a\r\n${fields}\r\n`);
    return (await client.response()).status;
  };
}

describe('setTls()', () => {
  /** Backends over TLS and over TCP that count their connections. */
  async function backends() {
    const accepted = { tls: 0, tcp: 0 };
    const held: (() => void)[] = [];
    const secure = createServer({ cert, key }, (req, res) => {
      if (req.url === '/held') held.push(() => res.end('held'));
      else res.end('tls');
    }).on('secureConnection', () => {
      accepted.tls += 1;
    });
    const { port } = cleanup.add(await listen(() => {}, secure as unknown as Server));
    const plain = cleanup.add(await listen((_req, res) => res.end('tcp')));
    plain.server.on('connection', () => {
      accepted.tcp += 1;
    });
    return { urls: [`https://localhost:${port}`, plain.url], accepted, held };
  }

  test('applies to the next connection, and leaves those without TLS alone', async () => {
    const { urls, accepted } = await backends();
    const { url, proxy } = cleanup.add(await proxyGateway({ backends: urls }));
    const two = async () => [await (await fetch(url)).text(), await (await fetch(url)).text()].sort();
    expect(await two()).toEqual(['tcp', 'tcp']);
    proxy.setTls({ ca: cert });
    expect(await two()).toEqual(['tcp', 'tls']);
    expect(accepted).toEqual({ tls: 1, tcp: 1 });
    proxy.setTls({ ca: cert, serverName: 'api.test' });
    expect(await two()).toEqual(['tcp', 'tls']);
    expect(accepted).toEqual({ tls: 2, tcp: 1 });
    proxy.setTls({ ca: cert, serverName: 'other.test' });
    expect(await two()).toEqual(['tcp', 'tcp']);
  });

  test('applies to health checks, too', async () => {
    const { urls } = await backends();
    const healthCheck = { path: '/', intervalMs: 40, unhealthyIntervalMs: 20 };
    const { proxy } = cleanup.add(await proxyGateway({ backends: urls.slice(0, 1), healthCheck }));
    const isNow = (health: string) => eventually(`it is ${health}`, () => proxy.status()[0]?.health === health);
    await isNow('unhealthy');
    proxy.setTls({ ca: cert });
    await isNow('healthy');
  });

  test('lets a running request end on its connection', async () => {
    const { urls, held } = await backends();
    const { url, proxy } = cleanup.add(await proxyGateway({ backends: urls.slice(0, 1), tls: { ca: cert } }));
    const running = fetch(`${url}/held`);
    await eventually('the request arrives', () => held.length === 1);
    proxy.setTls({});
    expect((await fetch(url)).status).toBe(502);
    held[0]?.();
    expect(await (await running).text()).toBe('held');
  });

  const INVALID: [string, unknown, RegExp][] = [
    ['no options', 7, /tls/],
    ['an unknown one', { nope: 1 }, /nope/],
    ['an empty authority', { ca: '' }, /ca must be the text of a PEM file, or a Buffer of it/],
    ['an empty one among several', { ca: [cert, ''] }, /ca must be the text of a PEM file/],
    ['a number as authority', { ca: [7] }, /ca must be the text of a PEM file/],
    ['a path', { ca: '/etc/ca.pem' }, /ca has no certificate in PEM form: give the text of a PEM file, not its path/],
    ['an empty certificate', { cert: '', key }, /cert must be/],
    ['a certificate without key', { cert }, /cert and key must be given together/],
    ['a key without certificate', { key }, /cert and key must be given together/],
    ['an empty passphrase', { passphrase: '' }, /passphrase/],
    ['an empty name', { serverName: '' }, /serverName/],
    ['a text for a boolean', { rejectUnauthorized: 'no' }, /rejectUnauthorized/],
  ];

  test.each(INVALID)('refuses %s, as construction does, and keeps the old values', async (_name, tls, message) => {
    const { urls } = await backends();
    const { url, proxy } = cleanup.add(await proxyGateway({ backends: urls.slice(0, 1), tls: { ca: cert } }));
    expect(() => proxy.setTls(tls as never)).toThrow(OptionsError);
    expect(() => proxy.setTls(tls as never)).toThrow(message);
    expect(() => roundRobinProxy({ backends: urls, tls } as never)).toThrow(message);
    expect((await fetch(url)).status).toBe(200);
  });

  test.each<[string, RoundRobinProxyOptions['tls']]>([
    ['nothing', {}],
    ['buffers', { ca: [Buffer.from(cert)], cert: Buffer.from(cert), key: Buffer.from(key) }],
    ['no authorities', { ca: [] }],
  ])('takes %s', (_name, tls = {}) => {
    const proxy = cleanup.add(roundRobinProxy({ backends: ['https://a'], tls }));
    expect(() => proxy.setTls(tls)).not.toThrow();
  });
});

describe('a connection that may be authenticated', () => {
  const challenge = answer('HTTP/1.1 401 No\r\nWWW-Authenticate: Negotiate\r\nContent-Length: 0\r\n\r\n');

  test('belongs to its client from the challenge on, and ends with it', async () => {
    const { backend, port } = await setUp(challenge);
    const alice = cleanup.add(await RawClient.connect(port));
    alice.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    expect((await alice.response()).status).toBe(401);
    const bob = await clientOf(port);
    expect(await bob()).toBe(401);
    expect(backend.received).toHaveLength(2);
    alice.close();
    await eventually('its connection is closed', () => backend.connections.size === 1);
  });

  test.each([
    ['another scheme', 'Authorization: Basic Negotiate'],
    ['a scheme that begins alike', 'Authorization: Negotiated abc'],
    ['another header', 'X-Auth-Scheme: Negotiate'],
    ['a header that ends alike', 'Proxy-Authorization: Negotiate abc'],
  ])('is no other one: %s', async (_name, field) => {
    const { backend, port } = await setUp(answerOk);
    const [alice, bob] = [await clientOf(port), await clientOf(port)];
    expect([await alice(`${field}\r\n`), await bob(), await alice()]).toEqual([200, 200, 200]);
    expect(backend.received).toHaveLength(1);
  });
});

test('a 408 on the connection that follows a broken one is the response to its request', async () => {
  const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
  const CUT = 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok';
  const SLOW = 'HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n';
  let served = 0;
  const { backend, port } = await setUp((socket) => {
    const bytes = [OK, CUT, SLOW][served++] ?? OK;
    socket.write(bytes);
    if (bytes === CUT) socket.end();
  });
  const first = await clientOf(port);
  expect(await first()).toBe(200);
  const second = cleanup.add(await RawClient.connect(port));
  second.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  expect((await second.response().catch(() => undefined))?.framingComplete ?? false).toBe(false);
  await eventually('its connection is closed', () => backend.connections.size === 0);
  expect(await (await clientOf(port))()).toBe(408);
  expect(served).toBe(3);
});

test('close() closes the idle connections at once, and those in use with their response', async () => {
  let respond: (() => void) | undefined;
  // Else the gateway would close an idle connection soon, whether its proxy is closed or not.
  const lasting = answer('HTTP/1.1 200 OK\r\nKeep-Alive: timeout=600\r\nContent-Length: 2\r\n\r\nok');
  const { backend, port, proxy } = await setUp((socket, request, index) => {
    if (request.target === '/') lasting(socket, request, index);
    else respond = () => lasting(socket, request, index);
  });
  const slow = cleanup.add(await RawClient.connect(port));
  slow.send('GET /slow HTTP/1.1\r\nHost: a\r\n\r\n');
  await eventually('it arrives', () => respond !== undefined);
  expect(await (await clientOf(port))()).toBe(200);
  expect(backend.connections.size).toBe(2);
  const closed = proxy.close();
  await eventually('the idle one is closed', () => backend.connections.size === 1);
  respond?.();
  expect((await slow.response()).status).toBe(200);
  await closed;
  await eventually('no connection is left', () => backend.connections.size === 0);
});

test('after an informational response, the connection ends as the final response says', async () => {
  const FINAL =
    'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok';
  const EXTRA = 'HTTP/1.1 200 OK\r\nX-Evil: 1\r\nContent-Length: 4\r\n\r\nevil';
  const { backend, port, proxy } = await setUp(answer(FINAL + EXTRA), {
    circuit: { minimumRequests: 1, consecutiveFailures: 1 },
  });
  for (let i = 0; i < 3; i += 1) {
    const client = cleanup.add(await RawClient.connect(port));
    client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    expect((await client.response()).status).toBe(103);
    const { status, content, framingComplete, field } = await client.response();
    expect([status, content.toString(), framingComplete, field('x-evil')]).toEqual([200, 'ok', true, undefined]);
  }
  expect(proxy.status()[0]?.circuit).toBe('closed');
  expect(backend.received).toHaveLength(3);
});

test.each([
  ['POST', 'text'],
  ['POST', ''],
  ['PATCH', 'text'],
])(
  'a %s with the body "%s" is not sent on a connection whose end the gateway has not read yet',
  async (method, body) => {
    let served = 0;
    const backend = cleanup.add(
      await listen((req, res) => {
        served += 1;
        req.resume().on('end', () => res.end('ok'));
      }),
    );
    // In the turn in which the request has arrived: the event loop reads nothing until the request is on its way.
    const closing: RequestHandler = (_req, _res, next) => {
      backend.server.closeIdleConnections();
      next();
    };
    const { port } = cleanup.add(await proxyGateway({ backends: [backend.url] }, (app) => app.use(closing)));
    const client = cleanup.add(await RawClient.connect(port));
    for (const round of [1, 2, 3]) {
      client.send(`${method} / HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
      expect([round, (await client.response()).status, served]).toEqual([round, 200, round]);
    }
  },
);
