import { afterAll, expect, test } from '@jest/globals';
import express from 'express';
import { circuitBreaker, ipRateLimit, requestGuard, roundRobinProxy, undiciTransport } from 'expressway';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { Cleanup } from '../support/gateway.ts';
import { listen } from '../support/servers.ts';
import { describeInstalled, installed } from './installed.ts';

describeInstalled('serverless-http', () => {
  const cleanup = new Cleanup();
  afterAll(() => cleanup.run());

  /** One request as AWS Lambda hands it over; errors come back by their code. */
  async function invoke(...handlers: unknown[]): Promise<{ statusCode: number; body: string }> {
    const app = express().use(...(handlers as express.RequestHandler[]));
    app.use(((error, _req, res, _next) => res.status(500).end(error.code)) as express.ErrorRequestHandler);
    const serverless = installed('serverless-http');
    return serverless(app)(
      {
        httpMethod: 'GET',
        path: '/x',
        headers: { host: 'gw.example', 'x-plan': 'free' },
        requestContext: { identity: { sourceIp: '192.0.2.1' } },
      },
      {},
    );
  }

  const backend = async () =>
    cleanup.add(await listen((req, res) => res.end(`backend ${req.url} ${req.headers['x-plan']}`))).url;

  test('ipRateLimit(), circuitBreaker() and undiciTransport() work', async () => {
    const proxy = createProxyMiddleware({ target: await backend(), plugins: [undiciTransport()] });
    const { statusCode, body } = await invoke(ipRateLimit(), circuitBreaker(), proxy);
    expect([statusCode, body]).toEqual([200, 'backend /x free']);
  });

  test('requestGuard() and roundRobinProxy() give the app a coded error', async () => {
    for (const handler of [requestGuard(), cleanup.add(roundRobinProxy({ backends: [await backend()] }))]) {
      expect(await invoke(handler)).toMatchObject({ statusCode: 500, body: 'ERR_EXPRESSWAY_RUNTIME' });
    }
  });
});
