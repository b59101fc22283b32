import { existsSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { acceptQueueLength } from '../../../lib/ingress/accept-queue.ts';
import { Cleanup } from '../../support/gateway.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const ofLinux = existsSync('/proc/self/net/tcp') ? test : test.skip;

ofLinux.each(['127.0.0.1', '::1'])('%s: connections that are not accepted yet are counted', async (host) => {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  cleanup.add({ close: () => void server.close() });
  const address = server.address() as AddressInfo;
  const { port } = address;
  expect(acceptQueueLength(address)).toBe(0);
  for (let n = 0; n < 3; n += 1) {
    const socket = connect(port, host);
    socket.on('error', () => {});
    cleanup.add({ close: () => void socket.destroy() });
  }
  await new Promise<void>((resolve) => process.nextTick(resolve));
  // The kernel connects them while this process does not come to accept any.
  let length = 0;
  for (const until = Date.now() + 5_000; length < 3 && Date.now() < until; ) length = acceptQueueLength(address);
  expect(length).toBe(3);
});

test('a port without a listener has no queue', () => {
  expect(acceptQueueLength({ port: 1, family: 'IPv4' })).toBe(0);
});
