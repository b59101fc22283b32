import type { ServerResponse } from 'node:http';
import { afterEach, describe, expect, test } from '@jest/globals';
import express, { type NextFunction, type Request, type Response } from 'express';
import { type ReadBody, roundRobinProxy, undiciTransport } from 'expressway';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { RawClient } from '../support/raw-client.ts';
import { RecorderBackend } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';
import { expectWarnings } from '../support/warnings.ts';

expectWarnings('ERR_EXPRESSWAY_BODY_ALREADY_READ');

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

describe('the option body', () => {
  test.each<[string, ReadBody, string]>([
    ['a number from a function', () => 42 as never, 'the function `body` returned a value of type number'],
    ['an object in a property', 'body', 'req.body is a value of type object'],
  ])('is an error of the app that names where the value is from: %s', async (_name, body, message) => {
    const backend = cleanup.add(await RecorderBackend.start());
    const app = express().use(express.json());
    app.use(cleanup.add(roundRobinProxy({ backends: [backend.url], body })));
    app.use((error: Error & { code?: string }, _req: Request, res: Response, _next: NextFunction) => {
      res.status(500).send(`${error.code}: ${error.message}`);
    });
    const { url } = cleanup.add(await listen(app));
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(url, { method: 'POST', body: '{"a":1}', headers });
    expect(await response.text()).toMatch(new RegExp(`^ERR_EXPRESSWAY_CALLBACK: .*${message}`));
    expect(backend.requests).toEqual([]);
  });

  test.each([undefined, null])(
    'that returns no body for a request, %s, leaves the request without its body',
    async (none) => {
      const backend = cleanup.add(await RecorderBackend.start());
      const gateway = await proxyGateway({ backends: [backend.url], body: () => none as undefined }, (app) => {
        app.use(express.json());
      });
      const { url } = cleanup.add(gateway);
      const headers = { 'content-type': 'application/json' };
      const response = await fetch(url, { method: 'POST', body: '{"a":1}', headers });
      const { cause } = (await response.json()) as { cause: string };
      expect([response.status, cause]).toEqual([500, 'content_already_read']);
      expect(backend.requests).toEqual([]);
    },
  );

  test('a body that was read leaves the connection of the client open', async () => {
    const backend = cleanup.add(await RecorderBackend.start());
    const gateway = await proxyGateway({ backends: [backend.url], body: 'rawBody' }, (app) => {
      app.use(express.raw({ type: () => true, verify: (req, _res, bytes) => Object.assign(req, { rawBody: bytes }) }));
    });
    const client = cleanup.add(await RawClient.connect(cleanup.add(gateway).port));
    for (const content of ['hello', 'again']) {
      client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n${content}`);
      const response = await client.response();
      expect(response.field('connection')).not.toBe('close');
      expect(response.status).toBe(200);
    }
    expect(backend.received[0]?.toString()).toMatch(/hello.*again$/s);
  });
});

describe('a middleware that meddles with the body after next()', () => {
  const LENGTH = 'Content-Length: 5\r\n\r\nh\u00ffllo';
  const CHUNKED = 'Transfer-Encoding: chunked\r\n\r\n5\r\nh\u00ffllo\r\n0\r\n\r\n';
  const utf8 = (req: Request) => void req.setEncoding('utf8');
  const latin1 = (req: Request) => void req.setEncoding('latin1');
  const takeover = (req: Request) => void req.removeAllListeners('data').resume();

  test.each<[string, (req: Request) => void, string]>([
    ['setEncoding("utf8"), known length', utf8, LENGTH],
    ['setEncoding("utf8"), chunked', utf8, CHUNKED],
    ['setEncoding("latin1"), known length', latin1, LENGTH],
    ['setEncoding("latin1"), chunked', latin1, CHUNKED],
    ['removeAllListeners("data"), known length', takeover, LENGTH],
  ])('gets 500 for it, and the backend no whole request: %s', async (_name, meddle, upload) => {
    const backend = cleanup.add(await RecorderBackend.start(() => {}));
    const gateway = await proxyGateway({ backends: [backend.url] }, (app) => {
      app.use((req, _res, next) => {
        next();
        meddle(req);
      });
    });
    const { port, proxy } = cleanup.add(gateway);
    const client = cleanup.add(await RawClient.connect(port));
    client.send(`POST / HTTP/1.1\r\nHost: a\r\n${upload}`);
    const response = await client.response();
    expect([response.status, JSON.parse(response.content.toString()).cause]).toEqual([500, 'content_already_read']);
    expect(backend.received.join('')).not.toContain('llo');
    expect(proxy.status()[0]).toMatchObject({ circuit: 'closed', inFlight: 0 });
  });

  test.each([
    ['setEncoding("utf8")', utf8],
    ['removeAllListeners("data")', takeover],
  ])('gives undiciTransport() a coded error for the app: %s', async (_name, meddle) => {
    const backend = cleanup.add(await RecorderBackend.start(() => {}));
    const app = express();
    let taken: Request | undefined;
    app.use((req, _res, next) => {
      taken = req;
      next();
    });
    const error = (given: NodeJS.ErrnoException, _req: unknown, res: unknown) => {
      (res as ServerResponse).writeHead(500).end(given.code);
    };
    app.use(createProxyMiddleware({ target: backend.url, plugins: [undiciTransport()], on: { error } }));
    const { port } = cleanup.add(await listen(app));
    const client = cleanup.add(await RawClient.connect(port));
    client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe');
    await eventually('the backend has the first part', () => backend.received[0]?.toString().endsWith('he'));
    meddle(taken as Request);
    client.send('llo');
    expect((await client.response()).content.toString()).toBe('ERR_EXPRESSWAY_BODY_ALREADY_READ');
    expect(backend.received.join('')).not.toContain('llo');
  });

  test('ends a response that has begun, through undiciTransport(), too', async () => {
    const backend = cleanup.add(
      await RecorderBackend.start((socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart')),
    );
    const app = express();
    let taken: Request | undefined;
    app.use((req, _res, next) => {
      taken = req;
      next();
    });
    const errors: unknown[] = [];
    const error = (given: NodeJS.ErrnoException) => void errors.push(given.code);
    app.use(createProxyMiddleware({ target: backend.url, plugins: [undiciTransport()], on: { error } }));
    const { port } = cleanup.add(await listen(app));
    const client = cleanup.add(await RawClient.connect(port));
    client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\nhe');
    await eventually('the client has the first part', () => client.pending.toString().endsWith('part'));
    utf8(taken as Request);
    client.send('llo');
    await client.closed();
    expect(errors).toEqual(['ERR_EXPRESSWAY_BODY_ALREADY_READ']);
  });
});
