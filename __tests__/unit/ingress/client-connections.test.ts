import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { connect, type Socket } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { hardenServer } from 'expressway';
import { Cleanup } from '../../support/gateway.ts';
import { listen } from '../../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

async function opened(server: Server): Promise<{ readonly client: Socket; readonly socket: Socket }> {
  const { port } = server.address() as { port: number };
  const accepted = once(server, 'connection');
  const client = connect(port, '127.0.0.1');
  client.on('error', () => {});
  cleanup.add({ close: async () => void client.destroy() });
  return { client, socket: (await accepted)[0] as Socket };
}

const listeners = (socket: Socket) => socket.eventNames().reduce((sum, name) => sum + socket.listenerCount(name), 0);

test('all bounds together add at most one listener to a connection', async () => {
  const plain = createServer();
  const bounded = hardenServer(createServer(), {
    maxConnectionsPerAddress: 5,
    minReceiveBytesPerSecond: 1,
    sendTimeoutMs: 1_000,
  });
  cleanup.add(await listen(() => {}, plain));
  cleanup.add(await listen(() => {}, bounded));
  const usual = listeners((await opened(plain)).socket);
  expect(listeners((await opened(bounded)).socket)).toBeLessThanOrEqual(usual + 1);
});
