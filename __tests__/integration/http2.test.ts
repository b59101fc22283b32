import { once } from 'node:events';
import { createServer as createPlainServer, type ServerResponse } from 'node:http';
import { constants } from 'node:http2';
import { createServer } from 'node:https';
import { afterEach, describe, expect, test } from '@jest/globals';
import express, { type Express } from 'express';
import { accessLog, gracefulShutdown, hardenServer, http2Server, observability, roundRobinProxy } from 'expressway';
import { certificate } from '../support/certificate.ts';
import { Cleanup } from '../support/gateway.ts';
import { Http2Client, http2Gateway, http2ServerOf, responseTo } from '../support/http2.ts';
import { answer, answerOk, RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** An app on a server with HTTP/2, and a client of it. */
async function serve(prepare: (app: Express) => void) {
  const app = express();
  prepare(app);
  const running = cleanup.add(await listen(app, http2ServerOf()(app)));
  return { ...running, client: cleanup.add(new Http2Client(running.port)) };
}

async function proxied(script: Script = answerOk) {
  const backend = cleanup.add(await RecorderBackend.start(script));
  const gateway = cleanup.add(await http2Gateway({ backends: [backend.url] }));
  return { backend, ...gateway, client: cleanup.add(new Http2Client(gateway.port)) };
}

describe('the request in the app', () => {
  test('a secure request of HTTP/1.1 from the client itself', async () => {
    const { client } = await serve((app) => {
      app.get('/a', (req, res) => {
        res.json({
          address: req.socket.remoteAddress,
          port: req.socket.remotePort,
          ip: req.ip,
          secure: req.secure,
          host: req.headers.host,
          version: req.httpVersion,
          query: req.query,
        });
      });
    });
    const { status, content, headers } = await client.request({ ':path': '/a?b=1', ':authority': 'api.test' });
    expect(status).toBe(200);
    expect(JSON.parse(content.toString())).toEqual({
      address: '127.0.0.1',
      port: client.session.socket.localPort,
      ip: '127.0.0.1',
      secure: true,
      host: 'api.test',
      version: '1.1',
      query: { b: '1' },
    });
    expect(headers).not.toHaveProperty('connection');
    expect(headers).not.toHaveProperty('keep-alive');
  });

  test('cookies that came as several fields are one, and each Set-Cookie is a field', async () => {
    const { client } = await serve((app) => {
      app.get('/', (req, res) => {
        res.append('Set-Cookie', 'x=1').append('Set-Cookie', 'y=2').send(req.headers.cookie);
      });
    });
    const { content, headers } = await client.request({ cookie: ['a=1', 'b=2; c=3', 'd=4'] });
    expect(content.toString()).toBe('a=1; b=2; c=3; d=4');
    expect(headers['set-cookie']).toEqual(['x=1', 'y=2']);
  });

  test('HTTP/1.1 clients use the same port', async () => {
    const { port } = await serve((app) => app.get('/', (_req, res) => void res.send('one')));
    const response = await fetchOverHttp1(port);
    expect(response).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*one$/);
  });
});

async function fetchOverHttp1(port: number): Promise<string> {
  const { connect } = await import('node:tls');
  const socket = connect({ port, host: '127.0.0.1', ca: certificate.cert, ALPNProtocols: ['http/1.1'] });
  socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
  let text = '';
  for await (const chunk of socket) text += chunk;
  return text;
}

describe('the request at the backend and in the log', () => {
  test('https in X-Forwarded-Proto, and HTTP/2 in Via', async () => {
    const { backend, client } = await proxied();
    expect((await client.request()).status).toBe(200);
    const [request] = backend.requests;
    expect(request?.field('x-forwarded-proto')).toBe('https');
    expect(request?.field('x-forwarded-for')).toBe('127.0.0.1');
    expect(request?.field('via')).toMatch(/^2\.0 expressway-/);
  });

  test('the access log has the version that the client speaks', async () => {
    const lines: string[] = [];
    const log = accessLog({ to: { write: (line: string) => void lines.push(line) } });
    const { client } = await serve((app) => {
      app.use(observability({ accessLog: log }));
      app.get('/', (_req, res) => void res.send('one'));
    });
    await client.request();
    await eventually('a line', () => lines.length > 0);
    expect(lines[0]).toContain('HTTP/2.0');
  });
});

describe('content', () => {
  test.each([
    ['with its length', true],
    ['without its length', false],
  ])('of a request %s reaches the app whole, and comes back', async (_name, hasLength) => {
    const { client } = await serve((app) => app.post('/', (req, res) => void req.pipe(res)));
    const content = Buffer.alloc(300_000, 'abc\r\n\r\ndef');
    const length = hasLength ? { 'content-length': content.length } : {};
    const response = await client.request({ ':method': 'POST', ...length }, content);
    expect(response.content.equals(content)).toBe(true);
    expect(response.rstCode).toBe(0);
  });

  test('trailers pass both ways', async () => {
    const { client } = await serve((app) =>
      app.post('/', (req, res) => {
        req.resume().on('end', () => {
          res.write('one');
          res.addTrailers({ 'X-Sum': String(req.trailers['x-sum']), 'X-Mine': 'b' });
          res.end();
        });
      }),
    );
    const stream = client.session.request({ ':method': 'POST', te: 'trailers' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': 'a' }));
    stream.end('content');
    const response = await responseTo(stream);
    expect(response.trailers).toMatchObject({ 'x-sum': 'a', 'x-mine': 'b' });
    expect(response.content.toString()).toBe('one');
  });

  test.each([
    ['HEAD', 200],
    ['GET', 204],
    ['GET', 304],
  ])('%s with %i has none, and the connection goes on', async (method, status) => {
    const { client } = await proxied(
      answer(`HTTP/1.1 ${status} X\r\nETag: "a"\r\n${status === 200 ? 'Content-Length: 1000\r\n' : ''}\r\n`),
    );
    for (let i = 0; i < 3; i += 1) {
      const response = await client.request({ ':method': method });
      expect([response.status, response.headers.etag, response.content.length, response.rstCode]).toEqual([
        status,
        '"a"',
        0,
        0,
      ]);
    }
  });

  test('early hints come before the response', async () => {
    const { client } = await proxied(
      answer('HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'),
    );
    const { informational, status, content } = await client.request();
    expect(informational).toMatchObject([{ ':status': 103, link: '</a.css>' }]);
    expect([status, content.toString()]).toEqual([200, 'ok']);
  });

  test('Expect: 100-continue gets 100 when the app reads the content', async () => {
    const { client } = await serve((app) => app.post('/', (req, res) => void req.pipe(res)));
    const stream = client.open({ ':method': 'POST', expect: '100-continue' }, false);
    const response = responseTo(stream);
    await once(stream, 'continue');
    stream.end('content');
    expect((await response).content.toString()).toBe('content');
  });
});

describe('aborts', () => {
  test('maxResets: 0 allows any number of resets: nghttp2 would end the connection at 1 000', async () => {
    const app = express();
    const server = hardenServer(http2Server(app, { tls: certificate, maxResets: 0 }));
    app.get('/', (_req, res) => void res.send('ok'));
    app.get('/hang', () => {});
    const { port } = cleanup.add(await listen(app, server));
    const client = cleanup.add(new Http2Client(port));
    for (let round = 0; round < 12; round += 1) {
      const streams = Array.from({ length: 100 }, () => client.open({ ':path': '/hang' }));
      for (const stream of streams) stream.close(constants.NGHTTP2_CANCEL);
      await Promise.all(streams.map(responseTo));
    }
    expect((await client.request()).status).toBe(200);
    expect(client.goaways).toEqual([]);
  });

  test('an upload that is reset never looks complete to the backend', async () => {
    const { backend, client } = await proxied(() => {});
    const stream = client.open({ ':method': 'POST' }, false);
    stream.write('a part');
    await eventually('the backend has it', () => backend.received.some((bytes) => bytes.includes('a part')));
    // Node's close() would send the end of the content first.
    stream.destroy(new Error('gone'));
    await eventually('the backend sees the end', () => backend.connections.size === 0);
    expect(backend.received.join('')).not.toMatch(/\r\n0\r\n\r\n/);
  });

  test.each([
    ['in the middle of its length', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc'],
    ['between chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n'],
  ])('a response that its backend cuts %s is reset, never ended', async (_where, head) => {
    const { client } = await proxied((socket) => {
      socket.write(head, () => setImmediate(() => socket.destroy()));
    });
    const response = await client.request();
    expect([response.status, response.rstCode]).toEqual([200, constants.NGHTTP2_INTERNAL_ERROR]);
  });
});

describe('a response of the app that HTTP/2 does not allow', () => {
  test.each<[string, (res: ServerResponse) => unknown]>([
    ['a status above 599', (res) => res.writeHead(600, { 'Content-Length': 0 }).end()],
    ['a transfer coding', (res) => res.writeHead(200, { 'Transfer-Encoding': 'gzip, chunked' }).end('abc')],
    ['an end before its length', (res) => res.writeHead(200, { 'Content-Length': 5 }).end('abc')],
    ['more than its length', (res) => res.writeHead(200, { 'Content-Length': 2 }).end('abc')],
  ])('%s: its stream is reset, and the next one gets its response', async (_what, respond) => {
    const { client } = await serve((app) => {
      app.get('/bad', (_req, res) => void respond(res));
      app.get('/', (_req, res) => void res.send('ok'));
    });
    for (const path of ['/', '/bad', '/', '/bad']) {
      const { rstCode, content } = await client.request({ ':path': path });
      if (path === '/bad') expect(rstCode).toBe(constants.NGHTTP2_INTERNAL_ERROR);
      else expect([rstCode, content.toString()]).toEqual([0, 'ok']);
    }
  });

  test('spaces around the value of a header are not sent, which a client would refuse', async () => {
    const { client } = await serve((app) => {
      app.get('/', (_req, res) => void res.setHeader('X-Spaced', ' \ta b\t ').end('ok'));
    });
    const { status, headers, rstCode } = await client.request();
    expect([status, headers['x-spaced'], rstCode]).toEqual([200, 'a b', 0]);
  });
});

describe('drain', () => {
  test('running requests end, new ones are refused without harm, and the connection closes', async () => {
    let finish: (() => void) | undefined;
    const app = express();
    app.get('/slow', (_req, res) => {
      finish = () => res.send('slow');
    });
    app.get('/', (_req, res) => void res.send('ok'));
    const server = http2ServerOf()(app);
    const shutdown = gracefulShutdown(server, { signals: [], idleGraceMs: 300, timeoutMs: 20_000 });
    const { port } = cleanup.add(await listen(app, server));
    const client = cleanup.add(new Http2Client(port));
    const slow = client.request({ ':path': '/slow' });
    await eventually('it runs', () => finish !== undefined);
    const closed = shutdown.close();
    await eventually('the client was told', () => client.goaways.length > 0);
    expect(client.goaways[0]).toBe(constants.NGHTTP2_NO_ERROR);
    finish?.();
    expect((await slow).content.toString()).toBe('slow');
    expect(await closed).toEqual({ requests: 0, streams: 0, upgrades: 0 });
    await client.closed();
  });

  test('requests that still run at the deadline are reset, and an event stream ends normally', async () => {
    const app = express();
    let running = 0;
    app.get('/hang', (_req, res) => {
      running += 1;
      res.write('a part');
    });
    app.get('/events', (_req, res) => {
      running += 1;
      res.type('text/event-stream').write('data: 1\n\n');
    });
    const server = http2ServerOf()(app);
    const shutdown = gracefulShutdown(server, { signals: [], idleGraceMs: 50, timeoutMs: 1_000 });
    const { port } = cleanup.add(await listen(app, server));
    const client = cleanup.add(new Http2Client(port));
    const responses = Promise.all([client.request({ ':path': '/hang' }), client.request({ ':path': '/events' })]);
    await eventually('they run', () => running === 2);
    expect(await shutdown.close()).toEqual({ requests: 1, streams: 1, upgrades: 0 });
    const [hang, events] = await responses;
    expect(hang.rstCode).toBe(constants.NGHTTP2_INTERNAL_ERROR);
    expect([events.rstCode, events.content.toString()]).toEqual([0, 'data: 1\n\n']);
  });
});

describe('options', () => {
  const app = express();

  test.each<[string, () => unknown, RegExp]>([
    ['an app without a certificate', () => http2Server(app), /tls is missing/],
    [
      'a server with tls',
      () => http2Server(createServer(certificate), { tls: certificate }),
      /tls must be left out for a server/,
    ],
    [
      'a server of node:http',
      () => http2Server(createPlainServer() as never),
      /needs an app, or a server of node:https/,
    ],
    ['no app', () => http2Server(undefined as never), /needs an app, or a server of node:https, got undefined/],
    ['an unknown key', () => http2Server(app, { maxStreams: 1 } as never), /unknown option "maxStreams"/],
    [
      'no stream at all',
      () => http2Server(app, { tls: certificate, maxConcurrentStreams: 0 }),
      /maxConcurrentStreams must be/,
    ],
  ])('%s is refused', (_what, act, message) => {
    expect(act).toThrow(message);
  });

  test('a server that listens is refused', async () => {
    const { server } = cleanup.add(await listen(app, createServer(certificate, app)));
    expect(() => http2Server(server as never)).toThrow(/must not listen yet/);
  });

  test('hardenServer() may come before or after', async () => {
    for (const make of [
      () => hardenServer(http2Server(app, { tls: certificate })),
      () => http2Server(hardenServer(createServer(certificate, app))),
    ]) {
      const { port } = cleanup.add(await listen(app, make()));
      const { status } = await cleanup.add(new Http2Client(port)).request({ ':path': '/none' });
      expect(status).toBe(404);
    }
    expect(roundRobinProxy).toBeDefined();
  });
});
