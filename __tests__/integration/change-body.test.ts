import { once } from 'node:events';
import { type IncomingMessage, request, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { brotliCompressSync, deflateSync, gunzipSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { afterEach, expect, test } from '@jest/globals';
import compression from 'compression';
import express from 'express';
import {
  type ChangeBodyOptions,
  changeBody,
  circuitBreaker,
  compose,
  errorResponses,
  observability,
  roundRobinProxy,
} from '../../lib/index.ts';
import { listen, type RunningServer } from '../support/servers.ts';

const open: { close(): unknown }[] = [];

afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

const kept = <T extends { close(): unknown }>(one: T): T => {
  open.push(one);
  return one;
};

const PAGE = '<p>internal.example</p>';
const CHANGED = '<p>example.com</p>';
const change = (body: Buffer) => body.toString().replaceAll('internal.example', 'example.com');
const OPTIONS: ChangeBodyOptions = { types: ['text/html', 'application/json'], change };

const html = (res: ServerResponse, body: string | Buffer, headers: Record<string, string> = {}) =>
  void res.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', ...headers }).end(body);

const encoded = (coding: string, body: Buffer) => (res: ServerResponse) =>
  html(res, body, { 'Content-Encoding': coding, 'Content-Length': String(body.length) });

const PAGES: Record<string, (res: ServerResponse, req: IncomingMessage) => void> = {
  '/plain': (res) => html(res, PAGE, { ETag: '"1"', 'Accept-Ranges': 'bytes', 'Content-Length': String(PAGE.length) }),
  '/pieces': (res) => {
    res.writeHead(200, { 'Content-Type': 'TEXT/HTML', Trailer: 'X-Sum' });
    res.write(PAGE.slice(0, 9));
    res.addTrailers({ 'X-Sum': '1' });
    setImmediate(() => res.end(PAGE.slice(9)));
  },
  '/gzip': encoded('gzip', gzipSync(PAGE)),
  '/GZIP': encoded('GZIP', gzipSync(PAGE)),
  '/deflate': encoded('deflate', deflateSync(PAGE)),
  '/br': encoded('br', brotliCompressSync(PAGE)),
  '/zstd': encoded('zstd', zstdCompressSync(PAGE)),
  '/identity': encoded('identity', Buffer.from(PAGE)),
  '/empty': (res) => html(res, ''),
  '/error': (res) => void res.writeHead(500, { 'Content-Type': 'text/html' }).end(PAGE),
  '/css': (res) => void res.writeHead(200, { 'Content-Type': 'text/css', ETag: '"1"' }).end(PAGE),
  '/untyped': (res) => void res.end(PAGE),
  '/range': (res, req) => html(res, String(req.headers.range)),
  '/unchanged': (res) => void res.writeHead(304, { ETag: '"1"' }).end(),
  '/nothing': (res) => void res.writeHead(204, { 'Content-Type': 'text/html' }).end(),
  '/events': (res) =>
    void res.writeHead(200, { 'Content-Type': 'text/event-stream' }).write('data: internal.example\n\n'),
  '/long': (res) => html(res, 'a'.repeat(2_000)),
  '/bomb': encoded('gzip', gzipSync(Buffer.alloc(2_000))),
  '/garbage': encoded('gzip', Buffer.from('no gzip')),
  '/unknown': encoded('compress', Buffer.from('no gzip')),
  '/dies': (res) => {
    html(res, '', { 'Content-Length': '100' });
    res.socket?.destroy();
  },
  '/dies-later': (res) => {
    res.writeHead(200, { 'Content-Type': 'text/html' }).write(PAGE);
    setImmediate(() => res.destroy());
  },
};

async function gateway(
  options: Partial<ChangeBodyOptions> = {},
  first?: express.RequestHandler,
): Promise<RunningServer> {
  const backend = kept(await listen((req, res) => PAGES[req.url ?? '']?.(res, req)));
  const app = express().set('env', 'test').disable('x-powered-by');
  app.use(errorResponses({ json: ({ cause }) => ({ cause, host: 'internal.example' }) }));
  if (first) app.use(first);
  app.use(changeBody({ ...OPTIONS, maxBytes: 1_000, ...options }));
  app.get('/handler', (_req, res) => void res.json({ host: 'internal.example' }));
  app.get(
    '/raw',
    (_req, res) => void res.writeHead(200, ['Content-Type', 'text/html', 'X-A', '1', 'X-A', '2']).end(PAGE),
  );
  app.get('/sent', (_req, res) => void res.type('html').send(PAGE));
  app.use('/down', kept(roundRobinProxy({ name: 'down', backends: ['http://127.0.0.1:1'] })));
  app.use(kept(roundRobinProxy({ backends: [backend.url], retry: { attempts: 0 } })));
  app.use(((error, _req, res, _next) => {
    res.status(error.status ?? 500).json({ error: error.message });
  }) as express.ErrorRequestHandler);
  return kept(await listen(app));
}

async function ask({ url }: RunningServer, path: string, method = 'GET', headers: Record<string, string> = {}) {
  const sent = request(url + path, { method, headers, agent: false }).end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  return { status: response.statusCode, headers: response.headers, body: await text(response) };
}

const LENGTH = { 'content-length': String(CHANGED.length) };

test.each([
  ['/plain', { ...LENGTH, etag: 'W/"1"' }],
  ['/pieces', LENGTH],
  ['/gzip', LENGTH],
  ['/GZIP', LENGTH],
  ['/deflate', LENGTH],
  ['/br', LENGTH],
  ['/zstd', LENGTH],
  ['/identity', LENGTH],
  ['/raw', { ...LENGTH, 'x-a': '1, 2' }],
  ['/sent', LENGTH],
])('%s is changed', async (path, headers) => {
  const response = await ask(await gateway(), path);
  expect(response).toMatchObject({ status: 200, headers, body: CHANGED });
  for (const name of ['content-encoding', 'accept-ranges', 'transfer-encoding', 'trailer'])
    expect(response.headers).not.toHaveProperty(name);
});

test.each([
  ['/handler', 200, '{"host":"example.com"}'],
  ['/error', 500, CHANGED],
  ['/empty', 200, ''],
  ['/css', 200, PAGE],
  ['/untyped', 200, PAGE],
  ['/unchanged', 304, ''],
  ['/nothing', 204, ''],
  // The backend is not asked for a part.
  ['/range', 200, 'undefined'],
  // The gateway's own responses stay.
  ['/down', 502, '{"cause":"connection_refused","host":"internal.example"}'],
  ['/dies', 502, '{"cause":"http_response_incomplete","host":"internal.example"}'],
  ['/long', 502, '{"error":"changeBody(): the body of the response is longer than 1000 bytes (maxBytes)"}'],
  ['/bomb', 502, '{"error":"changeBody(): the body of the response is longer than 1000 bytes (maxBytes)"}'],
  ['/garbage', 502, '{"error":"changeBody(): the body of the response cannot be decompressed (gzip)"}'],
  [
    '/unknown',
    502,
    '{"error":"changeBody(): the body of the response has the unknown Content-Encoding \\"compress\\""}',
  ],
])('%s: %d %s', async (path, status, body) => {
  expect(await ask(await gateway(), path, 'GET', { range: 'bytes=0-1' })).toMatchObject({ status, body });
});

test('HEAD has no headers of the body that only GET knows', async () => {
  const { status, headers, body } = await ask(await gateway(), '/plain', 'HEAD');
  expect([status, headers['content-type'], headers.etag, body]).toEqual([200, 'text/html; charset=utf-8', 'W/"1"', '']);
  expect(headers).not.toHaveProperty('content-length');
  expect(headers).not.toHaveProperty('accept-ranges');
});

test('other responses are streamed', async () => {
  const { url } = await gateway();
  const sent = request(`${url}/events`, { agent: false }).end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  expect(String((await once(response, 'data'))[0])).toBe('data: internal.example\n\n');
  sent.destroy();
});

test('a new body may be bytes, a promise, and have another status and headers', async () => {
  const server = await gateway({
    change: async (body, req, res) => {
      res.statusCode = 201;
      res.setHeader('X-Path', req.url ?? '');
      return new Uint8Array(Buffer.from(`${body.length} ä`));
    },
  });
  const { status, headers, body } = await ask(server, '/gzip');
  expect([status, headers['x-path'], body]).toEqual([201, '/gzip', '23 ä']);
});

test.each<[string, ChangeBodyOptions['change']]>([
  [
    'throws',
    () => {
      throw new Error('no');
    },
  ],
  ['rejects', () => Promise.reject(new Error('no'))],
])('when the function %s, the error handlers of the app respond', async (_, broken) => {
  const server = await gateway({ change: broken });
  expect(await ask(server, '/gzip')).toMatchObject({ status: 500, body: '{"error":"no"}' });
  // The next request is not affected.
  expect(await ask(server, '/css')).toMatchObject({ status: 200, body: PAGE });
});

test('a body that breaks off never looks whole', async () => {
  await expect(ask(await gateway(), '/dies-later')).rejects.toThrow('socket hang up');
});

test('compression() in front compresses the new body', async () => {
  const { url } = await gateway({}, compression({ threshold: 0 }));
  const sent = request(`${url}/br`, { headers: { 'accept-encoding': 'gzip' }, agent: false }).end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  expect(response.headers['content-encoding']).toBe('gzip');
  expect(gunzipSync(Buffer.concat(chunks)).toString()).toBe(CHANGED);
});

test.each([
  ['/br', 200, CHANGED, undefined],
  ['/css', 200, PAGE, 'gzip'],
  ['/handler', 200, '{"host":"example.com"}', undefined],
  ['/raw-css', 200, PAGE, 'gzip'],
  ['/garbage', 502, 'not read', undefined],
])('compression() behind: %s gets %d %s', async (path, status, body, coding) => {
  const backend = kept(await listen((req, res) => PAGES[req.url ?? '']?.(res, req)));
  const app = express().set('env', 'test');
  app.use(changeBody(OPTIONS), compression({ threshold: 0 }));
  app.get('/handler', (_req, res) => void res.json({ host: 'internal.example' }));
  app.get('/raw-css', (_req, res) => void res.writeHead(200, 'Fine', { 'Content-Type': 'text/css' }).end(PAGE));
  app.use(kept(roundRobinProxy({ backends: [backend.url] })));
  app.use(((error, _req, res, _next) => void res.status(error.status).send('not read')) as express.ErrorRequestHandler);
  const { url } = kept(await listen(app));
  const response = await fetch(url + path, { headers: { 'accept-encoding': 'gzip' } });
  expect([response.status, await response.text(), response.headers.get('content-encoding') ?? undefined]).toEqual([
    status,
    body,
    coding,
  ]);
});

test('works in a chain, twice, behind a circuit breaker', async () => {
  const backend = kept(await listen((_req, res) => html(res, PAGE)));
  const broken = () => Promise.reject(new Error('no'));
  const chain = (first: ChangeBodyOptions['change']) =>
    compose(
      observability(),
      circuitBreaker(),
      changeBody({ ...OPTIONS, change: first }),
      changeBody(OPTIONS),
      kept(roundRobinProxy({ backends: [backend.url] })),
    );
  const app = express().set('env', 'test');
  app.use(
    '/good',
    chain((body) => `${body}!`),
  );
  app.use('/bad', chain(broken));
  const server = kept(await listen(app));
  expect(await ask(server, '/good')).toMatchObject({ status: 200, body: `${CHANGED}!` });
  expect(await ask(server, '/bad')).toMatchObject({ status: 500 });
});

test('a client that leaves while the body is made costs nothing', async () => {
  const begun = Promise.withResolvers<void>();
  const made = Promise.withResolvers<string>();
  const server = await gateway({
    change: () => {
      begun.resolve();
      return made.promise;
    },
  });
  const sent = request(`${server.url}/gzip`, { agent: false }).end();
  sent.on('error', () => undefined);
  await begun.promise;
  sent.destroy();
  await new Promise((resolve) => sent.once('close', resolve));
  made.resolve('late');
  expect(await ask(server, '/css')).toMatchObject({ status: 200 });
});

test.each([
  [{ change }, 'types must be a non-empty array of media types'],
  [{ types: ['html'], change }, 'types must be a non-empty array of media types'],
  [{ types: ['text/html'] }, 'change must be a function'],
  [{ ...OPTIONS, maxBytes: 0 }, 'maxBytes must be an integer of at least 1'],
  [{ ...OPTIONS, type: 'a/b' }, 'unknown option "type": did you mean "types"?'],
])('%j is rejected', (options, problem) => {
  expect(() => changeBody(options as ChangeBodyOptions)).toThrow(problem);
});
