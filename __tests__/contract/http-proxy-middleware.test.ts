import { EventEmitter } from 'node:events';
import { afterEach, describe, expect, test } from '@jest/globals';
import express from 'express';
import {
  createProxyMiddleware,
  debugProxyErrorsPlugin,
  errorResponsePlugin,
  loggerPlugin,
} from 'http-proxy-middleware';
import type { ProxyServer } from '../../lib/proxy/plugin/plugin-owner.ts';
import { NATIVE_EVENTS } from '../../lib/proxy/undici-transport.ts';
import { Cleanup } from '../support/gateway.ts';
import { RawClient } from '../support/raw-client.ts';
import { RecorderBackend } from '../support/recorder-backend.ts';
import { closedPort, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** What lib/proxy relies on, or works around, in http-proxy-middleware 4 on httpxy. */
describe('http-proxy-middleware', () => {
  test('its default plugins add as many listeners as undiciTransport() expects', () => {
    const server = new EventEmitter();
    for (const plugin of [debugProxyErrorsPlugin, loggerPlugin]) plugin(server as ProxyServer, {});
    const counts = Object.keys(NATIVE_EVENTS).map((name) => [name, server.listenerCount(name)]);
    expect(Object.fromEntries(counts)).toEqual(NATIVE_EVENTS);
  });

  test('a plugin may replace proxyServer.web, and the middleware awaits what it returns', async () => {
    const order: string[] = [];
    const middleware = createProxyMiddleware({
      target: new URL('http://backend.invalid'),
      pathRewrite: { '^/api': '/v2' },
      plugins: [
        (proxyServer) => {
          proxyServer.web = async (req, res) => {
            await new Promise((resolve) => setImmediate(resolve));
            order.push(`web ${req.url}`);
            res.end('mine');
          };
        },
      ],
    });
    const app = express();
    app.use(async (req, res, next) => {
      await middleware(req, res, next);
      order.push('awaited');
    });
    const { url } = cleanup.add(await listen(app));
    expect(await (await fetch(`${url}/api/x`)).text()).toBe('mine');
    expect(order).toEqual(['web /v2/x', 'awaited']);
  });

  test('a rejected web() reaches next(), after an "error" event that throws when it has no listener', async () => {
    const app = express();
    app.use(
      createProxyMiddleware({
        target: new URL('http://backend.invalid'),
        ejectPlugins: true,
        plugins: [
          (proxyServer) => {
            proxyServer.on('error', () => {});
            proxyServer.web = async () => {
              throw new Error('from web');
            };
          },
        ],
      }),
    );
    app.use(
      ((error, _req, res, _next) => void res.status(500).end(error.message)) satisfies express.ErrorRequestHandler,
    );
    const { url } = cleanup.add(await listen(app));
    expect(await (await fetch(url)).text()).toBe('from web');
  });

  test('the native transport responds with 504 to a refused connection, and echoes host and URL', async () => {
    const app = express();
    app.use(createProxyMiddleware({ target: `http://127.0.0.1:${await closedPort()}` }));
    const { url } = cleanup.add(await listen(app));
    const response = await fetch(`${url}/secret`);
    expect(response.status).toBe(504);
    expect(await response.text()).toContain('/secret');
  });

  test('the native transport passes hop-by-hop fields on', async () => {
    const backend = cleanup.add(await RecorderBackend.start());
    const app = express();
    app.use(createProxyMiddleware({ target: backend.url }));
    const { port } = cleanup.add(await listen(app));
    const client = cleanup.add(await RawClient.connect(port));
    client.send('GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Foo\r\nX-Foo: 1\r\nProxy-Authorization: x\r\n\r\n');
    await client.response();
    expect(backend.requests[0]?.field('x-foo')).toBe('1');
    expect(backend.requests[0]?.field('proxy-authorization')).toBe('x');
  });

  test('the default plugins are exported, and are all that listens by default', () => {
    let counts: Record<string, number> = {};
    createProxyMiddleware({
      target: 'http://a',
      plugins: [
        (server) => {
          counts = Object.fromEntries(
            ['proxyReq', 'proxyRes', 'start', 'end'].map((name) => [name, server.listenerCount(name)]),
          );
        },
      ],
    });
    expect(counts).toEqual({ proxyReq: 1, proxyRes: 2, start: 0, end: 0 });
    for (const plugin of [debugProxyErrorsPlugin, loggerPlugin, errorResponsePlugin])
      expect(plugin).toBeInstanceOf(Function);
  });
});
