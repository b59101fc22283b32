import { createServer as createHttpServer } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, test } from '@jest/globals';
import express from 'express';
import { type RoundRobinProxy, roundRobinProxy, upgradeHandler } from 'expressway';
import { Cleanup } from '../support/gateway.ts';
import { type TextClient, WITH_TLS } from '../support/protocols.ts';
import { RawClient } from '../support/raw-client.ts';
import { eventually, listen, type RunningServer } from '../support/servers.ts';
import { switchingFor, upgradeRequest } from '../support/tunnels.ts';

type Close = (client: TextClient) => void;

const CLOSES: Readonly<Record<string, Close>> = {
  FIN: ({ socket }) => socket.end(),
  'FIN after early bytes': ({ socket }) => socket.end('early bytes'),
  RST: (client) => client.abort(),
  destroy: (client) => client.close(),
};

const TIMES = ['long before', 'before', 'with', 'after'];

const combinations = Object.keys(CLOSES).flatMap((how) =>
  TIMES.flatMap((when) => ['immediate', 'late'].map((backend) => ({ how, when, backend, protocol: 'websocket' }))),
);

const cleanup = new Cleanup();
/** By protocol. */
const gateways = new Map<string, RunningServer>();
let proxy: RoundRobinProxy;
let asked: (backendSide: Socket, head: Buffer) => void = () => {};
const backendSides = new Set<Socket>();

beforeAll(async () => {
  // Once it has switched it is silent. It does not close when the gateway closes.
  const backend = createServer({ allowHalfOpen: true }, (socket) => {
    backendSides.add(socket.on('error', () => {}).on('close', () => backendSides.delete(socket)));
    socket.once('data', (head) => asked(socket, head));
    socket.resume();
  });
  await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve));
  cleanup.add(backend);
  const { port } = backend.address() as { port: number };
  proxy = cleanup.add(roundRobinProxy({ backends: [`http://127.0.0.1:${port}`], tunnel: { closeTimeoutMs: 50 } }));
  const app = express();
  app.use('/refused', (_req, res) => void setTimeout(() => res.sendStatus(403), 20));
  app.use(proxy);
  for (const { name, serverOf } of WITH_TLS) {
    const server = serverOf(app);
    server.on('upgrade', upgradeHandler(app, { upgrades: ['websocket', 'chat/2'] }));
    gateways.set(name, cleanup.add(await listen(app, server)));
  }
});
afterEach(() => {
  for (const socket of backendSides) socket.destroy();
});
afterAll(() => cleanup.run());

describe.each(WITH_TLS)('over $name', ({ name, connect }) => {
  const isHttp1 = name !== 'HTTP/2';

  async function nothingIsLeft(client: TextClient): Promise<void> {
    const { server } = gateways.get(name) as RunningServer;
    await eventually('nothing is in flight', () => proxy.status()[0]?.inFlight === 0 && proxy.load().inFlight === 0);
    if (!isHttp1) {
      await eventually('the stream is closed', () => client.socket.destroyed);
      client.close();
    }
    const connections = () => new Promise((resolve) => server.getConnections((_error, count) => resolve(count)));
    await eventually('no client connection is left', async () => (await connections()) === 0);
    await eventually('no backend connection is left', () => {
      // A connection that the gateway has closed answers this with a reset.
      for (const socket of backendSides) socket.write('are you there?');
      return backendSides.size === 0;
    });
  }

  test.each([
    ...combinations,
    // HTTP/2 has no protocol but WebSocket.
    ...(isHttp1 ? ['immediate', 'late'] : []).map((backend) => ({
      how: 'FIN',
      when: 'before',
      backend,
      protocol: 'chat/2',
    })),
  ])(
    'a client ($protocol) that closes early leaves no connection: $how $when the 101 of a backend that answers $backend',
    async ({ how, when, backend, protocol }) => {
      const close = CLOSES[how] as Close;
      const client = await connect(gateways.get(name)?.port as number);
      const isAsked = new Promise<void>((resolve) => {
        asked = (socket, head) => {
          const answer = () => {
            socket.write(switchingFor(head).replace('websocket', protocol));
            if (when === 'with') close(client);
          };
          if (when === 'before') close(client);
          if (backend === 'late') setTimeout(answer, 20);
          else answer();
          resolve();
        };
      });
      client.send(upgradeRequest().replace('websocket', protocol));
      if (when === 'long before') {
        close(client);
      } else {
        await isAsked;
        if (when === 'after') {
          await client.response();
          close(client);
        }
      }
      await nothingIsLeft(client);
      client.close();
    },
  );

  test.each(Object.entries(CLOSES))(
    'a client that is refused and closes early leaves no connection: %s',
    async (_how, close) => {
      const client = await connect(gateways.get(name)?.port as number);
      client.send(upgradeRequest('', '/refused'));
      close(client);
      await nothingIsLeft(client);
      client.close();
    },
  );
});

// A stream has no end before its tunnel is open.
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
