import type { ServerResponse } from 'node:http';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import express from 'express';
import { type ServiceOptions, serviceRouter, upgradeHandler } from '../../lib/index.ts';
import { mockTimeoutsOnly } from '../support/mock-time.ts';
import { RawClient } from '../support/raw-client.ts';
import { eventually, listen } from '../support/servers.ts';
import { SWITCHING, upgradeRequest } from '../support/tunnels.ts';

const open: { close(): unknown }[] = [];

afterEach(async () => {
  jest.useRealTimers();
  for (const one of open.splice(0).reverse()) await one.close();
});

/** A backend whose responses are given by hand, and that echoes what comes through a tunnel. */
async function heldBackend() {
  const held: ServerResponse[] = [];
  const server = await listen((_req, res) => void held.push(res));
  server.server.on('upgrade', (_req, socket) => {
    socket.write(SWITCHING);
    socket.on('error', () => undefined).pipe(socket);
  });
  open.push(server);
  return { held, url: server.url };
}

/** A gateway with one service, and a new declaration that removes or changes it. */
async function gateway(service: ServiceOptions) {
  const declaration = (own: ServiceOptions) => ({ services: { a: own }, routes: [{ service: 'a' }] });
  const router = serviceRouter(declaration(service));
  const app = express().use(router);
  const server = await listen(app);
  server.server.on('upgrade', upgradeHandler(app));
  open.push(router, server);
  const before = router.services.get('a');
  const replace = (how: string) =>
    router.setDeclaration(
      how === 'removed'
        ? { services: {}, routes: [{ respond: { body: 'new' } }] }
        : declaration({ ...service, connectTimeoutMs: 1_234 }),
    );
  const isClosed = () => {
    try {
      before?.setBackends(service.backends);
      return false;
    } catch {
      return true;
    }
  };
  return { router, port: server.port, url: server.url, replace, isClosed };
}

async function tunnelOf(gw: Awaited<ReturnType<typeof gateway>>): Promise<RawClient> {
  const client = await RawClient.connect(gw.port);
  open.push(client);
  client.send(upgradeRequest());
  expect((await client.response()).status).toBe(101);
  return client;
}

describe.each(['removed', 'changed'])('a service that a new declaration has %s', (how) => {
  test('keeps its tunnels until they end, and is closed then', async () => {
    const gw = await gateway({ backends: [(await heldBackend()).url] });
    const client = await tunnelOf(gw);
    gw.replace(how);
    gw.replace(how === 'removed' ? 'changed' : 'removed');
    for (const text of ['one', 'two', 'three']) {
      client.send(text);
      await client.until((bytes) => bytes.toString().endsWith(text));
    }
    expect(gw.isClosed()).toBe(false);
    client.close();
    await eventually('the service is closed', () => gw.isClosed());
  });

  test('keeps tunnels and requests no longer than drainTimeoutMs', async () => {
    const { held, url } = await heldBackend();
    const gw = await gateway({ backends: [url], drainTimeoutMs: 100 });
    const client = await tunnelOf(gw);
    const late = fetch(gw.url).then(({ status }) => status);
    await eventually('the backend has the request', () => held.length === 1);
    gw.replace(how);
    await client.closed();
    expect(await late).toBe(503);
    await eventually('the service is closed', () => gw.isClosed());
  });

  test('sends a request whose backend dies meanwhile to the next one', async () => {
    const [first, second] = [await heldBackend(), await heldBackend()];
    const gw = await gateway({ backends: [first.url, second.url] });
    const response = fetch(gw.url).then((one) => one.text());
    await eventually('a backend has the request', () => first.held.length === 1);
    gw.replace(how);
    first.held[0]?.socket?.destroy();
    await eventually('the other one has it', () => second.held.length === 1);
    second.held[0]?.end('second');
    expect(await response).toBe('second');
  });

  test('serves the requests that wait in its queue', async () => {
    const { held, url } = await heldBackend();
    const gw = await gateway({ backends: [url], maxRequests: 1, queue: { size: 5, timeoutMs: 60_000 } });
    const responses = [1, 2].map(() => fetch(gw.url).then((one) => one.text()));
    await eventually('one waits', () => held.length === 1 && gw.router.services.get('a')?.load().waiting === 1);
    gw.replace(how);
    held[0]?.end('old');
    await eventually('the other one is next', () => held.length === 2);
    held[1]?.end('old');
    expect(await Promise.all(responses)).toEqual(['old', 'old']);
  });

  test('ends its tunnels when the router is closed', async () => {
    const gw = await gateway({ backends: [(await heldBackend()).url] });
    const client = await tunnelOf(gw);
    gw.replace(how);
    await gw.router.close();
    await client.closed();
    expect(gw.isClosed()).toBe(true);
  });
});

test('the new declaration of a service says how long the tunnels before it may go on', async () => {
  const { url } = await heldBackend();
  const gw = await gateway({ backends: [url] });
  const client = await tunnelOf(gw);
  gw.router.setDeclaration({
    services: { a: { backends: [url], drainTimeoutMs: 100 } },
    routes: [{ service: 'a' }],
  });
  await client.closed();
  await eventually('the service before is closed', () => gw.isClosed());
});

test('a service that was removed looks its backends up no more, while its tunnels stay', async () => {
  mockTimeoutsOnly();
  let lookups = 0;
  const resolver = {
    resolve4: async () => {
      lookups += 1;
      return [{ address: '127.0.0.1', ttl: 60 }];
    },
    resolve6: async () => [],
    resolveSrv: async () => [],
  };
  const { port } = new URL((await heldBackend()).url);
  const gw = await gateway({ backends: [`dns://api.test:${port}`], dns: { refreshMs: 1_000, resolver } });
  await tunnelOf(gw);
  await jest.advanceTimersByTimeAsync(1_000);
  expect(lookups).toBe(2);
  gw.replace('removed');
  await jest.advanceTimersByTimeAsync(60_000);
  expect([lookups, gw.isClosed()]).toEqual([2, false]);
});
