import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { type IpRateLimiter, ipRateLimit } from '../../lib/rate-limit/ip-rate-limit.ts';
import { FailingRedis } from '../../lib/testing/failing-redis.ts';
import { Cleanup } from '../support/gateway.ts';
import { eventually } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

async function serve(onConnection: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    onConnection(socket);
  });
  cleanup.add({
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const errorOf = async (limiter: IpRateLimiter): Promise<string> => {
  await eventually('the limiter knows what is wrong', () => limiter.storeError !== undefined);
  return String(limiter.storeError?.message);
};

test('a Redis that takes no writes any more is looked for anew at each trial; one with another error keeps its connection', async () => {
  const failing = cleanup.add(new FailingRedis());
  failing.message = "READONLY You can't write against a read only replica.";
  const port = await failing.listen();
  let connections = 0;
  let trials = 0;
  const address = await serve((near) => {
    connections++;
    const far = connect(port, '127.0.0.1');
    far.on('error', () => near.destroy());
    near.on('data', (chunk) => {
      trials += String(chunk).split('EVALSHA').length - 1;
    });
    near.pipe(far).pipe(near);
  });
  const limiter = cleanup.add(ipRateLimit({ redis: `redis://${address}`, storeTimeoutMs: 30_000 }));
  await eventually('two trials', () => connections >= 3);
  expect(limiter.storeError?.message).toMatch(/^READONLY/);
  failing.message = 'OOM command not allowed when used memory > maxmemory, not even READONLY';
  await eventually('the other error', () => limiter.storeError?.message.startsWith('OOM'));
  const [connectionsBefore, trialsBefore] = [connections, trials];
  await eventually('two more trials', () => trials >= trialsBefore + 2);
  expect(connections).toBe(connectionsBefore);
});

test('a server that does not speak TLS has another message than one that stays silent, and one that hangs up', async () => {
  const silent = await serve(() => {});
  const leaving = await serve((socket) => socket.destroy());
  const limiters = [`rediss://${silent}`, `redis://${silent}`, `rediss://${leaving}`].map((redis) =>
    cleanup.add(ipRateLimit({ redis })),
  );
  const [overTls, plain, left] = await Promise.all(limiters.map(errorOf));
  expect(overTls).toBe('Redis does not respond to TLS: is TLS on at this port?');
  expect(plain).toMatch(/timeout/i);
  expect(left).not.toMatch(/TLS:|timeout/i);
});
