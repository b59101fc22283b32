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
  ipRateLimit,
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
  return {
    status: response.statusCode,
    reason: response.statusMessage,
    headers: response.headers,
    body: await text(response),
  };
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

test.each<[string, unknown]>([
  ['nothing', undefined],
  ['null', null],
  ['an object that was not made to JSON', { a: 1 }],
  ['a list that was not made to JSON', [{ a: 1 }, { a: 2 }]],
  ['numbers', [1, 2, 3]],
  ['other bytes', new Uint16Array([300])],
  ['a number', 5],
])('when the function returns %s, the error names it, and the client gets no such body', async (_, returned) => {
  const server = await gateway({ change: () => returned as never });
  const { status, body } = await ask(server, '/gzip');
  expect([status, body]).toEqual([500, expect.stringMatching('change\\(\\) of changeBody\\(\\) returned ')]);
  expect(body).toContain('but must return a string or a Uint8Array');
});

test.each([
  ['/gzip', 'Internal Server Error'],
  ['/garbage', 'Bad Gateway'],
])('an error has no reason phrase of the backend: %s', async (path, reason) => {
  const server = await gateway({ change: () => Promise.reject(new Error('no')) });
  expect(await ask(server, path)).toMatchObject({ reason });
});

test.each<[number, string, string | undefined]>([
  [404, 'Not Found', '3'],
  [204, 'No Content', undefined],
  [304, 'Not Modified', undefined],
])('the status %d of the function has its own reason phrase: %s', async (status, reason, length) => {
  const server = await gateway({
    change: (_body, _req, res) => {
      res.statusCode = status;
      return status === 404 ? 'new' : '';
    },
  });
  const got = await ask(server, '/gzip');
  expect(got).toMatchObject({ status, reason });
  expect(got.headers['content-length']).toBe(length);
});

test('a body that breaks off never looks whole', async () => {
  await expect(ask(await gateway(), '/dies-later')).rejects.toThrow('socket hang up');
});

/** An app whose only handler, behind changeBody(), is this one. */
async function handled(handler: express.RequestHandler, options: Partial<ChangeBodyOptions> = {}) {
  const app = express().set('env', 'test').disable('x-powered-by');
  app.use(changeBody({ ...OPTIONS, maxBytes: 100, ...options }));
  app.use(handler);
  app.use(((error, _req, res, _next) => {
    res.statusCode = 502;
    res.end(`${error.message} (${error.cause?.code})`);
  }) as express.ErrorRequestHandler);
  return kept(await listen(app));
}

const typed = (res: ServerResponse, type = 'text/html') => res.setHeader('Content-Type', type);

test.each<[string, (res: ServerResponse) => void]>([
  ['flushHeaders() and write()', (res) => void [res.flushHeaders(), res.write(PAGE), res.end()]],
  [
    'two kinds of pieces',
    (res) => void [res.write(PAGE.slice(0, 5)), res.end(new Uint8Array(Buffer.from(PAGE.slice(5))))],
  ],
  ['an encoding', (res) => void [res.write(Buffer.from(PAGE).toString('hex'), 'hex'), res.end()]],
  ['an encoding at the end', (res) => void res.end(Buffer.from(PAGE).toString('base64'), 'base64')],
  ['end() twice', (res) => void [res.end(PAGE), res.end('more')]],
  ['end(null)', (res) => void [res.write(PAGE), res.end(null)]],
  ['callbacks, the last one with nothing else', (res) => void res.write(PAGE, () => res.end(() => undefined))],
  ['a callback beside an encoding', (res) => void res.write(PAGE, 'utf8', () => res.end())],
  ['a type with a space before its parameter', (res) => void [typed(res, 'Text/HTML ; charset=utf-8'), res.end(PAGE)]],
  ['writeHead() with a reason', (res) => void res.writeHead(200, 'Fine', { 'X-A': '1' }).end(PAGE)],
  ['writeHead() with a header of no value', (res) => void res.writeHead(200, { 'X-A': undefined }).end(PAGE)],
  ['writeHead() with null', (res) => void res.writeHead(200, null as never).end(PAGE)],
  [
    'writeHead() with pairs',
    (res) => void res.writeHead(200, [['Content-Type', 'application/json']] as never).end(PAGE),
  ],
  ['writeHead() twice', (res) => void res.writeHead(200).writeHead(500).end(PAGE)],
])('a handler that uses %s', async (_, respond) => {
  const server = await handled((_req, res) => {
    typed(res);
    respond(res);
  });
  expect(await ask(server, '/')).toMatchObject({ status: 200, headers: LENGTH, body: CHANGED });
});

test('callbacks of end() are called when the response is sent', async () => {
  const called: string[] = [];
  const server = await handled((req, res) => {
    const callback = () => void called.push(req.path);
    typed(res);
    if (req.path === '/body') res.end(PAGE, callback);
    else res.end(callback);
  });
  await ask(server, '/body');
  await ask(server, '/none');
  expect(called).toEqual(['/body', '/none']);
});

test('headers of writeHead() replace those that were set', async () => {
  const server = await handled((req, res) => {
    res.setHeader('X-A', '0');
    const raw = ['Content-Type', 'text/html', 'X-A', '1', 'x-a', '2'];
    res.writeHead(200, 'Fine', req.url === '/raw' ? raw : { 'content-type': 'text/html', 'X-a': ['1', '2'] }).end(PAGE);
  });
  for (const path of ['/raw', '/object']) {
    const { reason, headers } = await ask(server, path);
    expect([reason, headers['x-a']]).toEqual(['Fine', '1, 2']);
  }
});

test('no header describes the old body, and none of the conditions of the client is for it', async () => {
  const old = ['Content-MD5', 'Content-Digest', 'Repr-Digest', 'Digest', 'Accept-Ranges'];
  let seen: unknown;
  const server = await handled((req, res) => {
    seen = req.headers['if-range'];
    typed(res);
    for (const name of old) res.setHeader(name, 'old');
    res.setHeader('ETag', 'W/"1"');
    res.end(PAGE);
  });
  const { headers } = await ask(server, '/', 'GET', { 'if-range': '"1"' });
  expect(seen).toBeUndefined();
  expect(headers).toMatchObject({ ...LENGTH, etag: 'W/"1"' });
  for (const name of old) expect(headers).not.toHaveProperty(name.toLowerCase());
});

test.each([
  [206, PAGE],
  [304, ''],
])('a response with status %d stays as it is', async (status, body) => {
  const server = await handled((_req, res) => {
    typed(res);
    res.writeHead(status, { ETag: '"1"' }).end(PAGE);
  });
  expect(await ask(server, '/')).toMatchObject({ status, body, headers: { etag: '"1"' } });
});

test('flushHeaders() sends the head of another response at once', async () => {
  const server = await handled((_req, res) => {
    typed(res, 'text/css');
    res.flushHeaders();
  });
  const sent = request(server.url, { agent: false }).end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  expect(response.headers['content-type']).toBe('text/css');
  sent.destroy();
});

test('a rejection behind it stays as it is', async () => {
  const limiter = ipRateLimit({ limit: 1, windowMs: 60_000 });
  const server = await handled(limiter, { types: ['application/problem+json'], change: () => 'changed' });
  await ask(server, '/');
  expect(await ask(server, '/')).toMatchObject({ status: 429, body: expect.stringContaining('rate_limited') });
});

test.each([
  [100, 200, 'a'.repeat(100)],
  [101, 502, 'changeBody(): the body of the response is longer than 100 bytes (maxBytes) (undefined)'],
])('a body of %d bytes where 100 are allowed: %d', async (bytes, status, body) => {
  const server = await handled((_req, res) => void [typed(res), res.end('a'.repeat(bytes))]);
  expect(await ask(server, '/')).toMatchObject({ status, body });
});

test('the response to a body that cannot be read has no header of it, and the error has the cause', async () => {
  const old = ['ETag', 'Last-Modified', 'Cache-Control', 'Expires', 'Content-Type', 'Content-Encoding'];
  const server = await handled((_req, res) => {
    for (const name of old) res.setHeader(name, '"1"');
    typed(res);
    res.setHeader('Content-Encoding', 'gzip');
    res.end('no gzip');
  });
  const { status, headers, body } = await ask(server, '/');
  expect([status, body]).toEqual([
    502,
    'changeBody(): the body of the response cannot be decompressed (gzip) (Z_DATA_ERROR)',
  ]);
  for (const name of old) expect(headers).not.toHaveProperty(name.toLowerCase());
});

test('a body without an end is an error as soon as it is too long, and its backend is left alone', async () => {
  const left = Promise.withResolvers<void>();
  const backend = kept(
    await listen((_req, res) => {
      typed(res);
      const timer = setInterval(() => res.write('a'.repeat(60)), 1);
      res.on('close', () => void [clearInterval(timer), left.resolve()]);
    }),
  );
  const proxy = kept(roundRobinProxy({ backends: [backend.url] }));
  expect(await ask(await handled(proxy), '/')).toMatchObject({ status: 502 });
  await left.promise;
  expect(proxy.status()).toMatchObject([{ circuit: 'closed', inFlight: 0 }]);
});

test('a handler that goes on when its body is too long does no harm', async () => {
  const ended = Promise.withResolvers<void>();
  const server = await handled((_req, res) => {
    typed(res);
    res.once('close', () => void [res.write('late'), res.end(), ended.resolve()]);
    let left = 100;
    // Before the error handler, and between its end() and the end of the response.
    const go = (): void => {
      res.write('a'.repeat(60));
      left -= 1;
      if (left > 0) queueMicrotask(go);
    };
    go();
  });
  expect(await ask(server, '/')).toMatchObject({ status: 502 });
  await ended.promise;
});

test('a client that leaves before the function fails costs nothing', async () => {
  const begun = Promise.withResolvers<void>();
  const made = Promise.withResolvers<string>();
  const errors: unknown[] = [];
  const app = express().set('env', 'test');
  const late = () => {
    begun.resolve();
    return made.promise;
  };
  app.use(changeBody({ ...OPTIONS, change: late }));
  app.use((_req, res) => void res.type('html').send(PAGE));
  app.use(((error, _req, _res, _next) => void errors.push(error)) as express.ErrorRequestHandler);
  const { url } = kept(await listen(app));
  const sent = request(url, { agent: false }).end();
  sent.on('error', () => undefined);
  await begun.promise;
  sent.destroy();
  await new Promise((resolve) => sent.once('close', resolve));
  await fetch(`${url}/`, { method: 'HEAD' });
  made.reject(new Error('late'));
  await new Promise((resolve) => setImmediate(resolve));
  expect(errors).toEqual([]);
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
  [{ types: [], change }, 'types must be a non-empty array of media types'],
  [{ types: ['text/html', 5], change }, 'types must be a non-empty array of media types'],
  [{ types: ['text/html', 'a text/html'], change }, 'types must be a non-empty array of media types'],
  [{ types: ['text/html;charset=utf-8'], change }, 'types must be a non-empty array of media types'],
  [{ types: ['html'], change }, 'types must be a non-empty array of media types'],
  [{ types: ['text/html'] }, 'change must be a function'],
  [{ ...OPTIONS, maxBytes: 0 }, 'maxBytes must be an integer of at least 1'],
  [{ ...OPTIONS, type: 'a/b' }, 'unknown option "type": did you mean "types"?'],
])('%j is rejected', (options, problem) => {
  expect(() => changeBody(options as ChangeBodyOptions)).toThrow(problem);
});
