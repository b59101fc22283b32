import { createServer, type Server } from 'node:http';
import { afterEach, expect, test } from '@jest/globals';
import express from 'express';
import { finalHandler } from '../../lib/gateway/internal-error.ts';
import { GATEWAY, listen } from '../../lib/gateway/listener.ts';
import { createLogger } from '../../lib/gateway/logging/logger.ts';
import { ask } from '../support/ask.ts';

let server: Server;

async function serve(handler: express.RequestHandler): Promise<{ url: string; logged: string[] }> {
  const logged: string[] = [];
  const app = express();
  app.use(handler);
  const end = finalHandler(createLogger('error', (line) => logged.push(line)));
  server = createServer((req, res) => app(req as never, res as never, (error: unknown) => end(req, res, error)));
  return { url: await listen(server, GATEWAY, { host: '127.0.0.1', port: 0 }), logged };
}

afterEach(() => {
  server.closeAllConnections();
  server.close();
});

test('an error of a middleware becomes a problem document without a stack, which the log has', async () => {
  const { url, logged } = await serve(() => {
    throw new Error('secret detail');
  });
  const answer = await ask(url);
  expect(answer).toMatchObject({ status: 500, json: { type: 'about:blank', title: 'Internal error', status: 500 } });
  expect(answer.headers['content-type']).toBe('application/problem+json');
  expect(answer.text).not.toMatch(/secret|internal-error\.test/);
  expect(logged.join()).toMatch(/secret detail.*internal-error\.test/);
});

test('an error in the middle of a response cuts the connection', async () => {
  const { url, logged } = await serve((_, res) => {
    res.write('half');
    throw new Error('too late');
  });
  await expect(ask(url)).rejects.toMatchObject({ code: 'ECONNRESET' });
  expect(logged).toHaveLength(1);
});

test('a request that no middleware handles gets 404, and is not logged as an error', async () => {
  const { url, logged } = await serve((_req, _res, next) => next());
  expect(await ask(url)).toMatchObject({ status: 404, json: { title: 'Not found', status: 404 } });
  expect(logged).toEqual([]);
});
