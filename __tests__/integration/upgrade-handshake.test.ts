import { createServer, type ServerOptions, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { afterEach, describe, expect, test } from '@jest/globals';
import express, { type Express } from 'express';
import { type RoundRobinProxyOptions, roundRobinProxy, type UpgradeHandlerOptions, upgradeHandler } from 'expressway';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { PROTOCOLS, type Protocol, type TextClient } from '../support/protocols.ts';
import { answer, answerOk, RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';
import { acceptOf, rawEcho, SWITCHING, upgradeRequest } from '../support/tunnels.ts';
import { expectWarnings } from '../support/warnings.ts';

expectWarnings('WARN_EXPRESSWAY_PATH_FILTER');

/** Node 24 reads the content of requests that ask for an upgrade, and has `shouldUpgradeCallback`. */
const READS_CONTENT = Number.parseInt(process.versions.node, 10) >= 24;
if (!READS_CONTENT) process.stderr.write('SKIPPED: shouldUpgradeCallback needs Node 24\n');

const HTTP_1 = PROTOCOLS[0] as Protocol;

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const backendWith = async (script: Script) => cleanup.add(await RecorderBackend.start(script));

async function gatewayWith(
  options: RoundRobinProxyOptions,
  upgrades?: UpgradeHandlerOptions,
  { serverOf } = HTTP_1,
  early = false,
) {
  const app = express();
  const proxy = cleanup.add(roundRobinProxy(options));
  app.use(proxy);
  const handler = upgradeHandler(app, upgrades);
  const server = early ? createServer({ shouldUpgradeCallback: handler.accepts } as ServerOptions, app) : serverOf(app);
  server.on('upgrade', handler);
  return { ...cleanup.add(await listen(app, server)), proxy };
}

async function send(port: number, bytes: string, { connect } = HTTP_1): Promise<TextClient> {
  const client = cleanup.add(await connect(port));
  client.send(bytes);
  return client;
}

// HTTP/2 has neither the header nor other protocols.
describe('requests that are no upgrade', () => {
  test('R36: in HTTP/1.0 the field is ignored', async () => {
    const backend = await backendWith(answerOk);
    const { port } = await gatewayWith({ backends: [backend.url] });
    const client = await send(port, upgradeRequest().replace('HTTP/1.1', 'HTTP/1.0'));
    expect((await client.response()).status).toBe(200);
    expect(backend.requests[0]?.field('upgrade')).toBeUndefined();
  });

  test('R36: without Connection: upgrade the Upgrade header is ignored, and the connection is kept', async () => {
    const backend = await backendWith(answerOk);
    const { port } = await gatewayWith({ backends: [backend.url] });
    const client = await send(port, 'GET /1 HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n');
    expect((await client.response()).status).toBe(200);
    client.send('GET /2 HTTP/1.1\r\nHost: a\r\n\r\n');
    expect((await client.response()).status).toBe(200);
    expect(backend.requests.map(({ target, field }) => [target, field('upgrade')])).toEqual([
      ['/1', undefined],
      ['/2', undefined],
    ]);
  });

  test('W04: h2c with content, as the HTTP client of Java sends it, is an ordinary request', async () => {
    const backend = await backendWith(answerOk);
    const { port } = await gatewayWith({ backends: [backend.url] });
    const head = 'POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n';
    const client = await send(port, `${head}HTTP2-Settings: AA\r\nContent-Length: 5\r\n\r\nhello`);
    const response = await client.response();
    expect([response.status, response.field('connection')]).toEqual([READS_CONTENT ? 200 : 501, 'close']);
    await client.closed();
    if (!READS_CONTENT) return;
    expect(backend.received[0]?.toString()).toMatch(/\r\n\r\nhello$/);
    for (const name of ['upgrade', 'http2-settings']) expect(backend.requests[0]?.field(name)).toBeUndefined();
  });

  (READS_CONTENT ? test : test.skip)('W04: the same with Expect: 100-continue', async () => {
    const backend = await backendWith(answerOk);
    const { port } = await gatewayWith({ backends: [backend.url] });
    const head = 'POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nExpect: 100-continue\r\n';
    const client = await send(port, `${head}Content-Length: 5\r\n\r\n`);
    await client.until((bytes) => bytes.includes('HTTP/1.1 100 Continue\r\n\r\n'));
    client.send('hello');
    await client.until((bytes) => bytes.includes('HTTP/1.1 200'));
    expect(backend.received[0]?.toString()).toMatch(/\r\n\r\nhello$/);
  });

  (READS_CONTENT ? test : test.skip)('handler.accepts as shouldUpgradeCallback keeps such connections', async () => {
    const backend = await backendWith(answerOk);
    const { port } = await gatewayWith({ backends: [backend.url] }, undefined, HTTP_1, true);
    const h2c = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n';
    const client = await send(port, h2c);
    expect((await client.response()).status).toBe(200);
    client.send(h2c);
    expect((await client.response()).status).toBe(200);
    backend.script = rawEcho;
    client.send(upgradeRequest());
    expect((await client.response()).status).toBe(101);
  });

  test.each(['POST', 'PUT'])('a WebSocket cannot begin with %s', async (method) => {
    const backend = await backendWith(answerOk);
    const { port } = await gatewayWith({ backends: [backend.url] });
    const client = await send(port, upgradeRequest().replace('GET', method));
    expect((await client.response()).status).toBe(200);
    expect(backend.requests[0]?.field('upgrade')).toBeUndefined();
  });
});

describe('the protocol of an upgrade', () => {
  test('K5: the backend gets the configured spelling, never that of the client', async () => {
    const backend = await backendWith(rawEcho);
    const { port } = await gatewayWith({ backends: [backend.url] });
    const client = await send(port, upgradeRequest().replace('Upgrade: websocket', 'Upgrade: evil/1, WebSocket, h2c'));
    const response = await client.response();
    expect([response.status, response.field('upgrade')]).toEqual([101, 'websocket']);
    expect(backend.requests[0]?.all('upgrade')).toEqual(['websocket']);
    expect(backend.requests[0]?.field('connection')?.toLowerCase()).toBe('upgrade');
  });

  test('another protocol is accepted when it is configured', async () => {
    const backend = await backendWith(answer(SWITCHING.replace('websocket', 'chat/2')));
    const { port } = await gatewayWith({ backends: [backend.url] }, { upgrades: ['chat/2'] });
    const client = await send(port, upgradeRequest().replace('Upgrade: websocket', 'Upgrade: chat/2'));
    const response = await client.response();
    expect([response.status, response.field('upgrade')]).toEqual([101, 'chat/2']);
    backend.script = answerOk;
    const other = await send(port, upgradeRequest());
    expect((await other.response()).status).toBe(200);
  });

  test('invalid names, and protocols that carry HTTP, throw at construction', () => {
    const make = () => upgradeHandler(() => {}, { upgrades: ['a b', 'h2c', 'TLS/1.0', 'x\r\ny'], nope: 1 } as never);
    expect(make).toThrow(/nope.*a b.*h2c.*TLS/);
  });
});

describe.each(PROTOCOLS)('no tunnel without a 101, over $name', (protocol) => {
  const isHttp1 = protocol.name === 'HTTP/1.1';
  const gatewayTo = (options: RoundRobinProxyOptions) => gatewayWith(options, undefined, protocol);
  const ask = (port: number, bytes: string) => send(port, bytes, protocol);

  async function listening(app: Express) {
    const server = protocol.serverOf(app);
    server.on('upgrade', upgradeHandler(app));
    return cleanup.add(await listen(app, server));
  }

  test.each([200, 426])('a %i of the backend is forwarded, and the connection closes', async (status) => {
    const backend = await backendWith(answer(`HTTP/1.1 ${status} Whatever\r\nX-A: b\r\nContent-Length: 2\r\n\r\nno`));
    const { port, proxy } = await gatewayTo({ backends: [backend.url] });
    const client = await ask(port, `${upgradeRequest()}early bytes`);
    const response = await client.response();
    // Over HTTP/2, each status from 200 to 299 would say that the tunnel is open.
    const seen = isHttp1 || status > 299 ? status : 502;
    expect([response.status, response.field('x-a'), response.content.toString()]).toEqual([seen, 'b', 'no']);
    await client.closed();
    expect(backend.received[0]?.toString()).not.toContain('early bytes');
    expect(proxy.status()[0]?.inFlight).toBe(0);
  });

  test.each([
    ['to something else', SWITCHING.replace('websocket', 'evil')],
    ['without saying to what', SWITCHING.replace('Upgrade: websocket\r\n', '')],
  ])('a backend that switches %s counts as failed: 502', async (_name, bytes) => {
    const backend = await backendWith(answer(bytes));
    const { port } = await gatewayTo({ backends: [backend.url], retry: { attempts: 0 } });
    const client = await ask(port, upgradeRequest());
    const response = await client.response();
    expect(response.status).toBe(502);
    expect(response.fields.some(([, value]) => value.includes('evil'))).toBe(false);
    await eventually('its connection is closed', () => backend.connections.size === 0);
  });

  test('the next backend is tried where the retry rules allow it', async () => {
    const bad = await backendWith(answer(SWITCHING.replace('websocket', 'evil')));
    const good = await backendWith(rawEcho);
    const { port } = await gatewayTo({ backends: [bad.url, good.url] });
    const client = await ask(port, upgradeRequest());
    expect((await client.response()).status).toBe(101);
    expect(bad.requests).toHaveLength(1);
  });

  test('K17: a client that resets before the 101 does no harm', async () => {
    const backend = await backendWith(() => {});
    const { port, proxy } = await gatewayTo({ backends: [backend.url] });
    const client = await ask(port, upgradeRequest());
    await eventually('the backend has the request', () => backend.requests.length === 1);
    client.abort();
    await eventually('the backend is let go of', () => backend.connections.size === 0);
    expect(proxy.status()[0]).toMatchObject({ inFlight: 0, circuit: 'closed' });
    backend.script = answerOk;
    expect((await protocol.request(port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')).status).toBe(200);
  });

  test('K17: a client that resets while it is refused does no harm', async () => {
    const asked: { readonly refuse: () => void; readonly socket: Socket }[] = [];
    const app = express().use(({ socket }, res) => {
      asked.push({ socket, refuse: () => res.status(403).end('no') });
    });
    const { port } = await listening(app);
    const client = await ask(port, upgradeRequest());
    await eventually('the app is asked', () => asked.length === 1);
    client.abort();
    await eventually('the reset has come', () => asked[0]?.socket.destroyed);
    asked[0]?.refuse();
    const other = await ask(port, upgradeRequest());
    await eventually('the app is asked once more', () => asked.length === 2);
    asked[1]?.refuse();
    expect((await other.response()).status).toBe(403);
  });

  // On one connection, one behind the other.
  const testPipelined = isHttp1 ? test : test.skip;
  testPipelined(
    'an upgrade that comes before an earlier response ends the connection behind that response',
    async () => {
      const held: ServerResponse[] = [];
      const app = express().use((_req, res) => void held.push(res));
      const server = createServer(app);
      let upgrades = 0;
      server.on('upgrade', () => {
        upgrades += 1;
      });
      server.on('upgrade', upgradeHandler(app, { path: '/ws' }));
      const { port } = cleanup.add(await listen(app, server));
      const client = await ask(port, `GET / HTTP/1.1\r\nHost: a\r\n\r\n${upgradeRequest()}`);
      await eventually('the server has both', () => held.length === 1 && upgrades === 1);
      held[0]?.end('ok');
      expect((await client.response()).content.toString()).toBe('ok');
      await client.closed();
      expect(held).toHaveLength(1);
    },
  );

  test('a client that is refused with a long response gets all of it', async () => {
    const content = Buffer.alloc(16 * 1_048_576, 'a');
    const app = express().use((_req, res) => {
      res.set('Content-Length', String(content.length));
      Readable.from([content.subarray(1), content.subarray(0, 1)]).pipe(res);
    });
    const { port } = await listening(app);
    const client = await ask(port, upgradeRequest());
    expect((await client.response()).content.equals(content)).toBe(true);
  });

  test('a client that was refused and does not close is cut off', async () => {
    const app = express().use((_req, res) => void res.status(403).end('no'));
    const { server, port } = await listening(app);
    const event = isHttp1 ? 'connection' : 'secureConnection';
    const closed = new Promise((resolve) => {
      // Over HTTP/2 each stream has a connection in memory.
      server.on(event, (socket) => 'tlsSocket' in socket === !isHttp1 && socket.on('close', resolve));
    });
    const client = await ask(port, upgradeRequest());
    expect((await client.response()).status).toBe(403);
    await closed;
  });
});

describe.each(PROTOCOLS)('the 101 response, over $name', (protocol) => {
  const isHttp1 = protocol.name === 'HTTP/1.1';

  test('has the headers of the app and the sticky cookie, and no framing headers', async () => {
    const backend = await backendWith((socket, { field }) => {
      const accept = acceptOf(field('sec-websocket-key') ?? '');
      const more = `Set-Cookie: b=1\r\nSec-WebSocket-Accept: ${accept}\r\nContent-Length: 3\r\nKeep-Alive: timeout=5`;
      socket.write(SWITCHING.replace('\r\n\r\n', `\r\n${more}\r\n\r\n`));
    });
    const options: RoundRobinProxyOptions = {
      backends: [backend.url],
      loadBalancing: { policy: 'sticky', secret: 's'.repeat(32), cookie: 'stick' },
    };
    const gateway = cleanup.add(
      await proxyGateway(
        options,
        (app) => {
          app.use((_req, res, next) => {
            res.setHeader('X-From-App', 'yes');
            next();
          });
        },
        protocol.serverOf,
      ),
    );
    const client = await send(gateway.port, upgradeRequest(), protocol);
    const response = await client.response();
    expect(response.status).toBe(101);
    const cookies = response.all('set-cookie').map((line) => line.split('=')[0]);
    expect(cookies.sort()).toEqual(['b', 'stick']);
    const accept = isHttp1 ? acceptOf('') : undefined;
    expect([response.field('x-from-app'), response.field('sec-websocket-accept')]).toEqual(['yes', accept]);
    for (const name of ['content-length', 'keep-alive', 'x-powered-by']) expect(response.field(name)).toBeUndefined();
    // And it is believed: with two backends the client would otherwise be sent around.
    const cookie = response.all('set-cookie').find((line) => line.startsWith('stick=')) as string;
    const again = await send(gateway.port, upgradeRequest(`Cookie: ${cookie.split(';')[0]}\r\n`), protocol);
    expect((await again.response()).all('set-cookie')).toEqual(['b=1']);
  });

  test('path filters apply to upgrades as well', async () => {
    const backend = await backendWith(rawEcho);
    const options = { backends: [backend.url], pathFilter: '/ws', pathRewrite: { '^/ws': '/live' } };
    const { port } = await gatewayWith(options, undefined, protocol);
    const refused = await send(port, upgradeRequest('', '/other'), protocol);
    expect((await refused.response()).status).toBe(404);
    const client = await send(port, upgradeRequest(), protocol);
    expect((await client.response()).status).toBe(101);
    expect(backend.requests.map(({ target }) => target)).toEqual(['/live']);
  });
});
