import { createServer, type Server } from 'node:http';
import { connect } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import express from 'express';
import { finalHandler } from '../../lib/gateway/internal-error.ts';
import { GATEWAY, listen } from '../../lib/gateway/listener.ts';
import { createLogger } from '../../lib/gateway/logging/logger.ts';
import { ask } from '../support/ask.ts';
import { afterRead } from '../support/pause.ts';
import { expectWarnings } from '../support/warnings.ts';

expectWarnings('WARN_EXPRESSWAY_LISTENER');

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

/** What comes back for these bytes until the connection ends. `how` is the code of an error, or `end`. */
function bytesFor(url: string, sent: string): Promise<{ text: string; how: string | undefined }> {
  return new Promise((resolve) => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
    });
    socket.on('error', ({ code }: NodeJS.ErrnoException) => resolve({ text, how: code }));
    socket.on('end', () => resolve({ text, how: 'end' }));
    socket.write(sent);
  });
}

test.each([404, 500])('%i does not wait for the rest of a long request body', async (status) => {
  const { url } = await serve((_req, _res, next) => next(status === 500 ? new Error('no') : undefined));
  const { text } = await bytesFor(url, 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n');
  expect(text).toContain(`HTTP/1.1 ${status} `);
  expect(text).toContain('\r\nConnection: close\r\n');
});

test.each([404, 500])('an app whose own writeHead() throws does not end the process with %i', async (status) => {
  const { url } = await serve((_req, res, next) => {
    res.writeHead = () => {
      throw new Error('of the app');
    };
    setImmediate(() => next(status === 500 ? new Error('no') : undefined));
  });
  await expect(ask(url)).rejects.toMatchObject({ code: 'ECONNRESET' });
});

test('an error in the middle of a response to HTTP/1.0 resets the connection, whose end would be that of the response', async () => {
  // On Node 22, a client that reads the last bytes and the reset at once sees an end.
  const { url } = await serve((_req, res, next) => {
    res.write('half', () => afterRead(() => next(new Error('too late'))));
  });
  expect(await bytesFor(url, 'GET / HTTP/1.0\r\nHost: a\r\n\r\n')).toMatchObject({ how: 'ECONNRESET' });
});
