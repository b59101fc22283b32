import { createServer as createHttpServer } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, test } from '@jest/globals';
import express from 'express';
import { type RoundRobinProxy, roundRobinProxy, upgradeHandler } from 'expressway';
import { Cleanup } from '../support/gateway.ts';
import { RawClient } from '../support/raw-client.ts';
import { eventually, listen, type RunningServer } from '../support/servers.ts';
import { SWITCHING, upgradeRequest } from '../support/tunnels.ts';

type Close = (socket: Socket) => void;

const CLOSES: Readonly<Record<string, Close>> = {
  FIN: (socket) => socket.end(),
  'FIN after early bytes': (socket) => socket.end('early bytes'),
  RST: (socket) => socket.resetAndDestroy(),
  destroy: (socket) => socket.destroy(),
};

const TIMES = ['long before', 'before', 'with', 'after'];

const combinations = Object.keys(CLOSES).flatMap((how) =>
  TIMES.flatMap((when) => ['immediate', 'late'].map((backend) => ({ how, when, backend, protocol: 'websocket' }))),
);

const cleanup = new Cleanup();
let gateway: RunningServer;
let proxy: RoundRobinProxy;
let asked: (backendSide: Socket) => void = () => {};
const backendSides = new Set<Socket>();

beforeAll(async () => {
  // Once it has switched it is silent. It does not close when the gateway closes.
  const backend = createServer({ allowHalfOpen: true }, (socket) => {
    backendSides.add(socket.on('error', () => {}).on('close', () => backendSides.delete(socket)));
    socket.once('data', () => asked(socket));
    socket.resume();
  });
  await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve));
  cleanup.add(backend);
  const { port } = backend.address() as { port: number };
  proxy = cleanup.add(roundRobinProxy({ backends: [`http://127.0.0.1:${port}`], tunnel: { closeTimeoutMs: 50 } }));
  const app = express();
  app.use('/refused', (_req, res) => void setTimeout(() => res.sendStatus(403), 20));
  app.use(proxy);
  const server = createHttpServer(app);
  server.on('upgrade', upgradeHandler(app, { upgrades: ['websocket', 'chat/2'] }));
  gateway = cleanup.add(await listen(app, server));
});
afterEach(() => {
  for (const socket of backendSides) socket.destroy();
});
afterAll(() => cleanup.run());

async function nothingIsLeft(): Promise<void> {
  await eventually('nothing is in flight', () => proxy.status()[0]?.inFlight === 0 && proxy.load().inFlight === 0);
  const connections = () => new Promise((resolve) => gateway.server.getConnections((_error, count) => resolve(count)));
  await eventually('no client connection is left', async () => (await connections()) === 0);
  await eventually('no backend connection is left', () => {
    // A connection that the gateway has closed answers this with a reset.
    for (const socket of backendSides) socket.write('are you there?');
    return backendSides.size === 0;
  });
}

test.each([
  ...combinations,
  { how: 'FIN', when: 'before', backend: 'immediate', protocol: 'chat/2' },
  { how: 'FIN', when: 'before', backend: 'late', protocol: 'chat/2' },
])(
  'a client ($protocol) that closes early leaves no connection: $how $when the 101 of a backend that answers $backend',
  async ({ how, when, backend, protocol }) => {
    const close = CLOSES[how] as Close;
    const client = await RawClient.connect(gateway.port);
    const isAsked = new Promise<void>((resolve) => {
      asked = (socket) => {
        const answer = () => {
          socket.write(SWITCHING.replace('websocket', protocol));
          if (when === 'with') close(client.socket);
        };
        if (when === 'before') close(client.socket);
        if (backend === 'late') setTimeout(answer, 20);
        else answer();
        resolve();
      };
    });
    client.send(upgradeRequest().replace('websocket', protocol));
    if (when === 'long before') {
      close(client.socket);
    } else {
      await isAsked;
      if (when === 'after') {
        await client.response();
        close(client.socket);
      }
    }
    await nothingIsLeft();
    client.close();
  },
);

test.each(Object.entries(CLOSES))(
  'a client that is refused and closes early leaves no connection: %s',
  async (_how, close) => {
    const client = await RawClient.connect(gateway.port);
    client.send(upgradeRequest('', '/refused'));
    close(client.socket);
    await nothingIsLeft();
    client.close();
  },
);

test('a client that has ended before a listener of the app passes its upgrade on is not kept', async () => {
  const handler = upgradeHandler(() => {});
  const server = createHttpServer();
  server.on('upgrade', (req, socket, head) => socket.resume().once('end', () => handler(req, socket, head)));
  const { port } = cleanup.add(await listen(() => {}, server));
  const client = cleanup.add(await RawClient.connect(port));
  client.send(upgradeRequest());
  client.socket.end();
  await client.closed();
});
