import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { roundRobinProxy, undiciTransport } from 'expressway';
import { createProxyMiddleware, type Options, type RequestHandler } from 'http-proxy-middleware';
import { AllConnections } from '../../lib/proxy/transport/all-connections.ts';
import { certificate } from '../support/certificate.ts';
import { Cleanup } from '../support/gateway.ts';
import { mockDateOnly } from '../support/mock-time.ts';
import { rawRequest } from '../support/raw-client.ts';
import { eventually, listen } from '../support/servers.ts';

const NOW = Date.UTC(2026, 0, 1);
mockDateOnly(NOW);

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const proxied = async (options: Options, plugins = [undiciTransport()]) =>
  cleanup.add(await listen(createProxyMiddleware({ ...options, plugins }) as RequestHandler as never));

/** A server on every address of the loopback interface, which lets idle connections stay for ten minutes. */
async function everywhere() {
  const server = createServer({ keepAliveTimeout: 600_000 }, (_req, res) => res.end('ok'));
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve));
  let open = 0;
  server.on('connection', (socket) => {
    open += 1;
    socket.on('close', () => {
      open -= 1;
    });
  });
  cleanup.add({
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  });
  return { port: (server.address() as AddressInfo).port, open: () => open };
}

describe('connections to the targets of a router', () => {
  test('idle connections are closed when many targets were used', async () => {
    const backend = await everywhere();
    let target = 0;
    const gateway = await proxied({ router: () => ({ host: `127.0.1.${target}`, port: backend.port }) });
    for (target = 1; target <= 120; target += 1) expect((await fetch(gateway.url)).status).toBe(200);
    expect(backend.open()).toBe(120);
    jest.setSystemTime(NOW + 11_000);
    for (target = 130; target <= 215; target += 1) expect((await fetch(gateway.url)).status).toBe(200);
    await eventually('the first 120 are closed', () => backend.open() <= 86);
  });

  test('all connections are closed with the server', async () => {
    const backend = await everywhere();
    const gateway = await proxied({ target: `http://127.0.0.1:${backend.port}` });
    await (await fetch(gateway.url)).text();
    expect(backend.open()).toBe(1);
    await gateway.close();
    await eventually('the connection to the target is closed', () => backend.open() === 0);
  });

  test('an origin is dropped with its last connection, except those of a pool', () => {
    for (const forgetIdle of [true, false]) {
      const connections = new AllConnections({ connectTimeoutMs: 1_000, forgetIdle });
      const to = (port: number) => {
        const origin = `http://10.0.0.1:${port}`;
        return connections.to({ identity: origin, origin });
      };
      const first = to(1);
      for (let port = 2; port <= 101; port += 1) to(port);
      expect(to(1) === first).toBe(!forgetIdle);
    }
  });
});

describe('undici sends a request', () => {
  const parts = { protocol: 'http:', hostname: '127.0.0.1' };

  /** The heads of all requests that undici sends in this process. */
  function sentByUndici(): { host: string }[] {
    const heads: { host: string }[] = [];
    const keep = (message: unknown) => void heads.push((message as { request: (typeof heads)[number] }).request);
    subscribe('undici:request:create', keep);
    cleanup.add({ close: () => unsubscribe('undici:request:create', keep) });
    return heads;
  }

  test.each<[string, (port: number) => object | string, boolean]>([
    ['a path', (port) => `http://127.0.0.1:${port}/base`, true],
    ['an IPv6 address', (port) => `http://[::1]:${port}`, true],
    ['parts with an IPv6 address in brackets', (port) => ({ hostname: '[::1]', port }), true],
    ['parts with a path', (port) => ({ ...parts, port, pathname: '/base' }), true],
    ['parts for TLS, which the native transport understands', (port) => ({ ...parts, port, passphrase: 'x' }), false],
  ])('to a target with %s', async (_name, target, isSentByUndici) => {
    const sent = sentByUndici();
    const server = cleanup.add(createServer((_req, res) => res.end()));
    await new Promise<void>((resolve) => server.listen(0, '::', resolve));
    const { port } = await proxied({ target: target((server.address() as AddressInfo).port) as never });
    const response = await rawRequest(port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    expect([response.status, sent.length > 0]).toEqual([200, isSentByUndici]);
  });

  // It does not matter whether something listens there.
  test.each<[string, object | string, string]>([
    ['a default port', 'http://127.0.0.1', '127.0.0.1'],
    ['the default port of TLS', 'https://127.0.0.1', '127.0.0.1'],
    ['a default port in parts', { protocol: 'http:', host: '127.0.0.1', port: 80 }, '127.0.0.1'],
    ['a default port in parts without a protocol', { host: '127.0.0.1', port: 80 }, '127.0.0.1:80'],
  ])('whose Host under changeOrigin is that of the native transport, to %s', async (_name, target, host) => {
    const sent = sentByUndici();
    const { port } = await proxied({ target: target as never, changeOrigin: true });
    await rawRequest(port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    expect(sent[0]?.host).toBe(host);
  });

  test('to the new place of a target in parts that was changed', async () => {
    const [first, second] = await Promise.all(
      ['first', 'second'].map(async (text) => cleanup.add(await listen((_req, res) => res.end(text)))),
    );
    const target = { host: '127.0.0.1', port: first?.port };
    const { url } = await proxied({ target: target as never });
    expect(await (await fetch(url)).text()).toBe('first');
    target.port = second?.port;
    expect(await (await fetch(url)).text()).toBe('second');
  });
});

test('a copy by the option forward is sent when the router names no target', async () => {
  let count = 0;
  const backend = cleanup.add(
    await listen((_req, res) => {
      count += 1;
      res.end();
    }),
  );
  const { url } = await proxied({ forward: backend.url, router: (() => undefined) as never });
  expect((await fetch(url)).status).toBe(200);
  await eventually('the copy arrives', () => count === 1);
});

describe('NODE_TLS_REJECT_UNAUTHORIZED=0', () => {
  async function untrusted(): Promise<string> {
    const server = createTlsServer(certificate, (_req, res) => res.end('ok'));
    const { port } = cleanup.add(await listen(() => {}, server as never));
    return `https://localhost:${port}`;
  }

  async function withoutChecks<T>(run: () => Promise<T>): Promise<T> {
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
    try {
      return await run();
    } finally {
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    }
  }

  test.each([
    ['the native transport', []],
    ['undiciTransport()', [undiciTransport()]],
  ])('%s still checks the certificate; only secure: false disables that', async (_name, plugins) => {
    const target = await untrusted();
    const statuses = await withoutChecks(async () => {
      const gateways = [await proxied({ target }, plugins), await proxied({ target, secure: false }, plugins)];
      return Promise.all(gateways.map(async ({ url }) => (await fetch(url)).status));
    });
    expect(statuses).toEqual([500, 200]);
  });

  test('roundRobinProxy() still checks the certificate; only tls.rejectUnauthorized disables that', async () => {
    const backends = [await untrusted()];
    const statuses = await withoutChecks(async () => {
      const proxies = [{ backends }, { backends, tls: { rejectUnauthorized: false } }].map((options) =>
        cleanup.add(roundRobinProxy(options)),
      );
      const gateways = await Promise.all(proxies.map(async (proxy) => cleanup.add(await listen(proxy as never))));
      return Promise.all(gateways.map(async ({ url }) => (await fetch(url)).status));
    });
    expect(statuses).toEqual([502, 200]);
  });
});
