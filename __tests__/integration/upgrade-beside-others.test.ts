import { type IncomingMessage, type Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import express, { type Express } from 'express';
import { roundRobinProxy, type UpgradeHandlerOptions, upgradeHandler } from 'expressway';
import { type WebSocket, WebSocketServer } from 'ws';
import { Cleanup } from '../support/gateway.ts';
import { mockTimeoutsOnly } from '../support/mock-time.ts';
import { PROTOCOLS, type Protocol } from '../support/protocols.ts';
import { RawClient } from '../support/raw-client.ts';
import { answerOk, RecorderBackend } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';
import { rawEcho, upgradeRequest } from '../support/tunnels.ts';

const cleanup = new Cleanup();
afterEach(async () => {
  jest.useRealTimers();
  await cleanup.run();
});

/** Says who serves a WebSocket, first of all. */
const greet = (sockets: WebSocketServer, name: string): WebSocketServer =>
  cleanup.add(sockets.on('connection', (socket) => socket.send(name)));

/** What a client is told first, or the status that it is refused with. */
async function greeting({ connect }: Protocol, port: number, path: string): Promise<string> {
  const client = cleanup.add(await connect(port));
  client.send(upgradeRequest(`Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${'A'.repeat(22)}==\r\n`, path));
  const { status } = await client.response();
  if (status !== 101) return `refused with ${status}`;
  // A short frame: two bytes, and the text.
  await client.until((bytes) => bytes.length > 2);
  return client.pending.toString('latin1', 2);
}

/** As engine.io 6 attaches itself for socket.io; `later` as with an asynchronous `allowRequest`. */
const engine = (later: boolean) => (server: Server) => {
  const sockets = greet(new WebSocketServer({ noServer: true }), 'other');
  server.on('upgrade', (req: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (req.url?.startsWith('/other/') !== true) return;
    const accept = () => sockets.handleUpgrade(req, socket, head, (ws) => sockets.emit('connection', ws, req));
    if (later) setImmediate(accept);
    else accept();
  });
};

/** As express-ws 5: it takes every upgrade of its server, and then calls the app. */
function expressWs(server: Server, app: Express): void {
  const sockets = cleanup.add(new WebSocketServer({ server }));
  sockets.on('connection', (socket, req) => {
    Object.assign(req, { ws: socket, url: `${req.url}.websocket` });
    const handle = app as unknown as { handle(req: IncomingMessage, res: ServerResponse, done: () => void): void };
    handle.handle(req, new ServerResponse(req), () => socket.close());
  });
}

const LISTENERS: Readonly<Record<string, (server: Server, app: Express) => void>> = {
  'socket.io': engine(false),
  'socket.io that decides later': engine(true),
  'ws with noServer, dispatched by path': engine(false),
  'a ws server of the same path': (server) => greet(new WebSocketServer({ server, path: '/other/ws' }), 'other'),
  'express-ws': expressWs,
};

async function setup({ serverOf }: Protocol, other: string, order: string, options?: UpgradeHandlerOptions) {
  const backend = await listen((_req, res) => res.end());
  cleanup.add(backend);
  greet(new WebSocketServer({ server: backend.server }), 'backend');
  const app = express();
  let calls = 0;
  app.use((_req, _res, next) => {
    calls += 1;
    next();
  });
  app.get('/other/ws.websocket', (req) => (req as unknown as { ws: WebSocket }).ws.send('other'));
  app.use(cleanup.add(roundRobinProxy({ backends: [backend.url] })));
  const server = serverOf(app);
  const add = {
    other: () => LISTENERS[other]?.(server, app),
    ours: () => server.on('upgrade', upgradeHandler(app, options)),
  };
  if (order === 'ours first') add.ours();
  add.other();
  if (order !== 'ours first') add.ours();
  const { port } = cleanup.add(await listen(app, server));
  return { port, calls: () => calls };
}

let warned: jest.SpiedFunction<typeof process.emitWarning>;
beforeEach(() => {
  warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
});
afterEach(() => warned.mockRestore());

/** The codes of the warnings since the test began. */
const codes = () => warned.mock.calls.map(([, options]) => (options as unknown as { code: string }).code);

const orders = ['ours first', 'ours last'];
const path = '/proxied';

describe.each(PROTOCOLS)(
  'upgradeHandler() beside another upgrade listener on the same server, over $name',
  (protocol) => {
    test.each(Object.keys(LISTENERS).flatMap((other) => orders.map((order) => [other, order])))(
      '%s, %s: with path, the other listener gets upgrades on other paths',
      async (other, order) => {
        const { port, calls } = await setup(protocol, other, order, { path });
        expect(await greeting(protocol, port, '/other/ws')).toBe('other');
        expect(calls()).toBe(other === 'express-ws' ? 1 : 0);
      },
    );

    test.each(
      ['socket.io', 'express-ws', 'a ws server of the same path'].flatMap((other) =>
        orders.map((order) => [other, order]),
      ),
    )('%s, %s: without path, upgrades that the other listener accepted are left to it', async (other, order) => {
      const { port, calls } = await setup(protocol, other, order);
      expect(await greeting(protocol, port, '/other/ws')).toBe('other');
      expect(codes()).toEqual([]);
      expect(calls()).toBe(other === 'express-ws' ? 1 : 0);
    });

    test.each(orders)('socket.io, %s: upgrades for the app reach it', async (order) => {
      for (const options of [
        { path },
        { path: ['/x', '/proxied/'] },
        { path: (asked: string) => asked === '/proxied/ws' },
        undefined,
      ]) {
        const { port } = await setup(protocol, 'socket.io', order, options);
        expect(codes()).toEqual([]);
        expect(await greeting(protocol, port, '/proxied/ws')).toBe('backend');
      }
    });

    test.each(orders)(
      'a ws server with a path, %s: it refuses upgrades for the app, which a warning says',
      async (order) => {
        const { port } = await setup(protocol, 'a ws server of the same path', order, { path });
        expect(await greeting(protocol, port, '/proxied/ws')).toBe('refused with 400');
        expect(codes()).toEqual(['WARN_EXPRESSWAY_UPGRADE_LISTENERS']);
      },
    );

    test('an upgrade that no listener wants is closed after 10 s, and one that another listener has stays', async () => {
      const { port } = await setup(protocol, 'socket.io', 'ours last', { path });
      mockTimeoutsOnly();
      const before = jest.getTimerCount();
      const [unwanted, other] = [cleanup.add(await protocol.connect(port)), cleanup.add(await protocol.connect(port))];
      unwanted.send(upgradeRequest('', '/nobody'));
      other.send(
        upgradeRequest(`Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${'A'.repeat(22)}==\r\n`, '/other/ws'),
      );
      expect((await other.response()).status).toBe(101);
      await eventually('the handler waits', () => jest.getTimerCount() >= before + 2);
      jest.advanceTimersByTime(10_000);
      await unwanted.closed();
      expect([unwanted.pending.length, other.closedBy]).toEqual([0, undefined]);
    });

    test('without path, a warning says that other listeners may decide later', async () => {
      const { port } = await setup(protocol, 'socket.io', 'ours last');
      expect(await greeting(protocol, port, '/proxied/ws')).toBe('backend');
      expect(codes()).toEqual(['WARN_EXPRESSWAY_UPGRADE_LISTENERS']);
    });
  },
);

describe.each(PROTOCOLS)('the option path, over $name', ({ name, serverOf, connect }) => {
  const isHttp1 = name === 'HTTP/1.1';

  test.each<readonly [string, boolean]>([
    ['/proxied', true],
    ['/proxied?a=/b', true],
    ['/proxied/ws', true],
    // HTTP/2 has no absolute form.
    ...(isHttp1 ? ([['http://gw/proxied/ws', true]] as const) : []),
    ['/proxiedX', false],
    ['/', false],
    ['/other?/proxied', false],
  ])('without other listeners, %s is an upgrade: %s', async (target, isUpgrade) => {
    const backend = cleanup.add(await RecorderBackend.start(isUpgrade ? rawEcho : answerOk));
    const app = express().use(cleanup.add(roundRobinProxy({ backends: [backend.url] })));
    const server = serverOf(app);
    server.on('upgrade', upgradeHandler(app, { path }));
    const { port } = cleanup.add(await listen(app, server));
    const client = cleanup.add(await connect(port));
    client.send(upgradeRequest('', target));
    // Over HTTP/2, 200 would say that the tunnel is open.
    expect((await client.response()).status).toBe(isUpgrade ? 101 : isHttp1 ? 200 : 502);
    expect(backend.requests[0]?.field('upgrade')).toBe(isUpgrade ? 'websocket' : undefined);
  });

  test.each([5, '', 'proxied', [], ['/a', 1]])('%j throws at construction', (bad) => {
    expect(() => upgradeHandler(express(), { path: bad as never })).toThrow(/path must be/);
  });
});

test('without an upgrade handler on the server, a warning names it once, and the response is an ordinary one', async () => {
  const backend = cleanup.add(await RecorderBackend.start(answerOk));
  const app = express().use(cleanup.add(roundRobinProxy({ backends: [backend.url] })));
  const { port } = cleanup.add(await listen(app));
  for (const protocol of ['h2c', 'websocket', 'websocket']) {
    const client = cleanup.add(await RawClient.connect(port));
    client.send(upgradeRequest().replace('websocket', protocol));
    expect((await client.response()).status).toBe(200);
    if (protocol === 'h2c') expect(codes()).toEqual([]);
  }
  expect(codes()).toEqual(['WARN_EXPRESSWAY_NO_UPGRADE_HANDLER']);
});
