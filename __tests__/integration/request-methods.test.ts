import { afterEach, expect, test } from '@jest/globals';
import express, { type RequestHandler } from 'express';
import { roundRobinProxy, undiciTransport } from 'expressway';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { Cleanup } from '../support/gateway.ts';
import { RawClient } from '../support/raw-client.ts';
import { RecorderBackend } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** A gateway that takes the method from a header, as method-override does. */
async function setUp(by: string) {
  const backend = cleanup.add(
    await RecorderBackend.start((socket, { method }) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n${method === 'HEAD' ? '' : 'ok'}`);
    }),
  );
  const codes: unknown[] = [];
  const proxy =
    by === 'roundRobinProxy()'
      ? cleanup.add(roundRobinProxy({ backends: [backend.url] }))
      : createProxyMiddleware({
          target: backend.url,
          plugins: [undiciTransport()],
          on: {
            error: (error: NodeJS.ErrnoException, _req, res) => {
              codes.push(error.code);
              if ('writeHead' in res) res.writeHead(405).end();
            },
          },
        });
  const app = express();
  app.use((req, _res, next) => {
    req.method = req.get('x-http-method-override') ?? req.method;
    next();
  });
  app.use(proxy as RequestHandler);
  const { port } = cleanup.add(await listen(app));
  return { backend, codes, client: cleanup.add(await RawClient.connect(port)) };
}

const post = (override: string) =>
  `POST / HTTP/1.1\r\nHost: a\r\nX-HTTP-Method-Override: ${override}\r\nContent-Length: 0\r\n\r\n`;
const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

const TRANSPORTS = ['roundRobinProxy()', 'undiciTransport()'];

test.each(TRANSPORTS)('%s opens no tunnel where a middleware makes a CONNECT request', async (by) => {
  const { backend, client, codes } = await setUp(by);
  client.send(post('CONNECT'));
  expect((await client.response()).status).toBe(405);
  expect([backend.requests, codes]).toEqual([[], by === 'undiciTransport()' ? ['ERR_EXPRESSWAY_REQUEST_HEAD'] : []]);
  await eventually('no connection is left', () => backend.connections.size === 0);
});

test.each(TRANSPORTS)(
  '%s: where a middleware makes a HEAD request, the next response is not the body of this one',
  async (by) => {
    const { client } = await setUp(by);
    client.send(post('HEAD'));
    const head = await client.response('POST');
    expect([head.status, head.content.toString(), head.framingComplete]).toEqual([200, '', true]);
    client.send(GET);
    const next = await client.response();
    expect([next.status, next.content.toString()]).toEqual([200, 'ok']);
  },
);
