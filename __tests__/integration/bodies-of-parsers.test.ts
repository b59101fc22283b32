import type { ServerResponse } from 'node:http';
import { afterEach, describe, expect, test } from '@jest/globals';
import express, { type Express, type NextFunction, type Request, type Response } from 'express';
import { parsedBody, type ReadBody, type RoundRobinProxyOptions, roundRobinProxy, undiciTransport } from 'expressway';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { pause } from '../support/pause.ts';
import { RawClient } from '../support/raw-client.ts';
import { RecorderBackend, type Script } from '../support/recorder-backend.ts';
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

describe('a body that was read', () => {
  async function send(script: Script, options: Partial<RoundRobinProxyOptions>) {
    const backend = cleanup.add(await RecorderBackend.start(script));
    const read = (app: Express) => app.use(express.text({ type: () => true }));
    const gateway = cleanup.add(await proxyGateway({ backends: [backend.url], body: parsedBody, ...options }, read));
    const client = cleanup.add(await RawClient.connect(gateway.port));
    client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi');
    return client;
  }

  test('counts as sent: a backend that does not respond fails', async () => {
    const client = await send(() => {}, { responseTimeoutMs: 50, retry: { attempts: 0 } });
    expect((await client.response()).status).toBe(504);
  });

  test('does not end the event stream that responds to it', async () => {
    const client = await send(
      async (socket) => {
        socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 2\r\n\r\n');
        await pause('six times idleTimeoutMs', 300);
        socket.write('ok');
      },
      { idleTimeoutMs: 50 },
    );
    expect((await client.response()).content.toString()).toBe('ok');
  });
});

test('the rest of a body that a middleware read in part is dropped, and the connection of the client stays open', async () => {
  const LENGTH = 200_000;
  const backend = cleanup.add(await RecorderBackend.start());
  const gateway = await proxyGateway({ backends: [backend.url], body: 'rawBody' }, (app) => {
    app.post('/', (req, _res, next) => {
      req.once('data', (chunk: Buffer) => {
        Object.assign(req.pause(), { rawBody: chunk.subarray(0, 5) });
        next();
      });
    });
  });
  const client = cleanup.add(await RawClient.connect(cleanup.add(gateway).port));
  client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${LENGTH}\r\n\r\n${'x'.repeat(LENGTH)}`);
  expect((await client.response()).status).toBe(200);
  client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  expect((await client.response()).status).toBe(200);
  expect(backend.received[0]?.toString()).toMatch(/\r\n\r\nxxxxxGET /);
});

test('a server without Express responds with 500 to a request whose body was read', async () => {
  const proxy = cleanup.add(roundRobinProxy({ backends: ['http://127.0.0.1:1'] }));
  const { url } = cleanup.add(
    await listen((req, res) => void req.resume().on('end', () => proxy(req, res, () => res.end()))),
  );
  const response = await fetch(url, { method: 'POST', body: 'hello' });
  expect([response.status, await response.json()]).toMatchObject([500, { cause: 'content_already_read' }]);
});

test.each(['roundRobinProxy()', 'undiciTransport()'])(
  'a middleware that calls req.setEncoding() before %s gets 500, and the backend not even a head',
  async (path) => {
    const backend = cleanup.add(await RecorderBackend.start());
    const logger = { info() {}, warn() {}, error() {} };
    const app = express();
    app.use((req, _res, next) => {
      req.setEncoding('utf8');
      next();
    });
    app.use(
      path === 'roundRobinProxy()'
        ? cleanup.add(roundRobinProxy({ backends: [backend.url] }))
        : createProxyMiddleware({ target: backend.url, logger, plugins: [undiciTransport()] }),
    );
    const { url } = cleanup.add(await listen(app));
    expect((await fetch(url, { method: 'POST', body: 'hello' })).status).toBe(500);
    expect(backend.received).toEqual([]);
  },
);

describe('a middleware that meddles with the body after next()', () => {
  const LENGTH = 'Content-Length: 5\r\n\r\nh\u00ffllo';
  const CHUNKED = 'Transfer-Encoding: chunked\r\n\r\n5\r\nh\u00ffllo\r\n0\r\n\r\n';
  const utf8 = (req: Request) => void req.setEncoding('utf8');
  const latin1 = (req: Request) => void req.setEncoding('latin1');
  const takeover = (req: Request) => void req.removeAllListeners('data').resume();

  const DECODED = 'called req.setEncoding()';
  const AHEAD = 'faster than the backend';

  test.each<[string, (req: Request) => void, string, string]>([
    ['setEncoding("utf8"), known length', utf8, LENGTH, DECODED],
    ['setEncoding("utf8"), chunked', utf8, CHUNKED, DECODED],
    ['setEncoding("latin1"), known length', latin1, LENGTH, DECODED],
    ['setEncoding("latin1"), chunked', latin1, CHUNKED, DECODED],
    ['removeAllListeners("data"), known length', takeover, LENGTH, AHEAD],
  ])('gets 500 for it, and the backend no whole request: %s', async (_name, meddle, upload, why) => {
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
    expect(response.status).toBe(500);
    expect(JSON.parse(response.content.toString())).toMatchObject({
      cause: 'content_already_read',
      detail: expect.stringContaining(why),
    });
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
