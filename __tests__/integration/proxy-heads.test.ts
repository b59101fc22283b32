import { afterEach, describe, expect, test } from '@jest/globals';
import express, { type Express } from 'express';
import { undiciTransport } from 'expressway';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { PROTOCOLS, type Protocol } from '../support/protocols.ts';
import { RawClient, rawRequest } from '../support/raw-client.ts';
import { answer, answerOk, RecorderBackend } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';
import { expectWarnings } from '../support/warnings.ts';

expectWarnings('WARN_EXPRESSWAY_TRUST_PROXY');

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

type Options = Partial<Parameters<typeof proxyGateway>[0]>;

async function started(
  script = answerOk,
  options: Options = {},
  prepare?: (app: Express) => void,
  serverOf?: Protocol['serverOf'],
) {
  const backend = cleanup.add(await RecorderBackend.start(script));
  const { port } = cleanup.add(await proxyGateway({ backends: [backend.url], ...options }, prepare, serverOf));
  return { backend, port };
}

const get = (fields = '', target = '/') => `GET ${target} HTTP/1.1\r\nHost: gw.example\r\n${fields}\r\n`;

describe('request and response headers of HTTP/1.1 alone', () => {
  const setUp = started;

  test('B01: headers that Connection names are not forwarded, in any spelling', async () => {
    const { backend, port } = await setUp();
    await rawRequest(
      port,
      get(
        'Connection: close, X-Foo, x-bar\r\nConnection: \tX-BAZ ,,\r\nX-Foo: 1\r\nX-Bar: 1\r\nX-Baz: 1\r\nX-Keep: 1\r\n',
      ),
    );
    const [seen] = backend.requests;
    expect(
      seen?.fields.map(([name]) => name).filter((name) => name.startsWith('x-') && !name.startsWith('x-forw')),
    ).toEqual(['x-keep']);
    expect(seen?.all('connection')).toEqual(['keep-alive']);
  });

  test.each(['roundRobinProxy()', 'undiciTransport()'])(
    '%s: trailers of a request are neither forwarded nor merged into the header',
    async (by) => {
      const { backend, port } = await setUp();
      const plugin = express().use(createProxyMiddleware({ target: backend.url, plugins: [undiciTransport()] }));
      const entry = by === 'undiciTransport()' ? cleanup.add(await listen(plugin)).port : port;
      const trailers = 'Trailer: X-Sum\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n';
      await rawRequest(
        entry,
        `POST / HTTP/1.1\r\nHost: a\r\n${trailers}\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nX-Role: admin\r\n\r\n`,
      );
      await eventually('all has arrived', () => backend.received[0]?.toString().endsWith('0\r\n\r\n'));
      const seen = backend.received[0]?.toString() ?? '';
      expect(seen).toMatch(/\r\n2\r\nok\r\n0\r\n\r\n$/);
      expect(seen).not.toMatch(/x-sum|x-role|trailer|te:/i);
    },
  );

  test('B03: a client cannot remove headers that the gateway adds, nor Host', async () => {
    const { backend, port } = await setUp();
    await rawRequest(
      port,
      get('Connection: X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Real-IP, Forwarded, Via, Host\r\n'),
    );
    const [seen] = backend.requests;
    expect(seen?.field('x-forwarded-for')).toBe('127.0.0.1');
    expect(seen?.field('x-forwarded-proto')).toBe('http');
    expect(seen?.field('x-forwarded-host')).toBe('gw.example');
    expect(seen?.field('via')).toMatch(/^1\.1 expressway-/);
    expect(seen?.all('host')).toEqual(['gw.example']);
  });

  test('B04: naming a framing header in Connection does not change the framing', async () => {
    const { backend, port } = await setUp();
    const response = await rawRequest(
      port,
      'POST / HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\nContent-Length: 5\r\n\r\nhello',
      'POST',
    );
    expect(response.status).toBe(200);
    expect(backend.requests[0]?.all('content-length')).toEqual(['5']);
    expect(backend.received[0]?.toString('latin1').endsWith('\r\n\r\nhello')).toBe(true);
  });

  test('B05: hop-by-hop headers are not forwarded, named in Connection or not', async () => {
    const { backend, port } = await setUp();
    const response = await rawRequest(
      port,
      get(
        'Keep-Alive: timeout=9\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\nTE: trailers, gzip\r\n' +
          'Trailer: X-T\r\nHTTP2-Settings: AAMAAABk\r\n',
      ),
    );
    expect(response.status).toBe(200);
    const names = backend.requests[0]?.fields.map(([name]) => name);
    for (const name of ['keep-alive', 'proxy-connection', 'proxy-authorization', 'te', 'trailer', 'http2-settings']) {
      expect(names).not.toContain(name);
    }
  });

  test.each(['//evil.example/x', 'http://evil.example/x', '/\\evil.example/x', '/@evil.example/x'])(
    'A07: an upgrade with the target %s goes to the configured backend, or nowhere',
    async (target) => {
      const evil = cleanup.add(await RecorderBackend.start());
      const { backend, port } = await setUp();
      const upgrade = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n';
      const absolute = target.replace('evil.example', `127.0.0.1:${evil.port}`);
      const response = await rawRequest(port, get(upgrade, absolute));
      expect(response.status).toBe(target.includes('\\') ? 400 : 200);
      expect(evil.requests).toEqual([]);
      expect(backend.requests).toHaveLength(target.includes('\\') ? 0 : 1);
    },
  );

  test('S15: the authority of an absolute target becomes Host; the backend stays the configured one', async () => {
    const { backend, port } = await setUp();
    const response = await rawRequest(port, 'GET http://other.example/p?q HTTP/1.1\r\nHost: gw.example\r\n\r\n');
    expect(response.status).toBe(200);
    expect(backend.requests[0]).toMatchObject({ target: '/p?q' });
    expect(backend.requests[0]?.all('host')).toEqual(['other.example']);
  });

  test.each([
    'Connection: X-Int, X-Other, close\r\n',
    'Connection: X-Int\r\nConnection: X-Other, close\r\n',
    'Connection:\r\nConnection: x-int\r\nConnection: x-other\r\n',
    'connection: close,X-INT ,\tX-Other\r\n',
  ])('B02: hop-by-hop headers of a backend are not forwarded: %j', async (connection) => {
    const { port } = await setUp(
      answer(
        `HTTP/1.1 200 OK\r\n${connection}X-Int: secret\r\nX-Other: s\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n` +
          'X-Ext: keep\r\nContent-Length: 2\r\n\r\nok',
      ),
    );
    const client = cleanup.add(await RawClient.connect(port));
    for (let i = 0; i < 2; i += 1) {
      client.send(get());
      const response = await client.response();
      expect(response.content.toString()).toBe('ok');
      expect(response.field('x-ext')).toBe('keep');
      for (const name of ['x-int', 'x-other', 'proxy-connection']) expect(response.field(name)).toBeUndefined();
      expect(response.field('connection')).toBe('keep-alive');
    }
  });
});

describe.each(PROTOCOLS)('over $name', ({ name, serverOf, request }) => {
  const isHttp1 = name === 'HTTP/1.1';

  const setUp = (script = answerOk, options: Options = {}, trust?: string | number) =>
    started(script, options, (app) => void (trust !== undefined && app.set('trust proxy', trust)), serverOf);

  describe('request headers', () => {
    test('C03: repeated headers keep number and order, and changes of req.headers by a middleware are sent', async () => {
      const edit = (app: Express) =>
        app.use((req, _res, next) => {
          req.headers['x-user'] = 'ada';
          delete req.headers['x-secret'];
          next();
        });
      const { backend, port } = await started(answerOk, {}, edit, serverOf);
      await request(port, get('X-A: 1\r\nX-B: b, c\r\nX-A: 2\r\nX-Secret: s\r\nX-Empty:\r\nX-L: caf\xe9\r\n'));
      const [seen] = backend.requests;
      expect(seen?.all('x-a')).toEqual(['1', '2']);
      expect(seen?.all('x-b')).toEqual(['b, c']);
      expect(seen?.field('x-user')).toBe('ada');
      expect(seen?.field('x-secret')).toBeUndefined();
      expect(seen?.field('x-empty')).toBe('');
      expect(seen?.field('x-l')).toBe('caf\xe9');
    });

    test('C04: neither User-Agent nor Accept is added', async () => {
      const { backend, port } = await setUp();
      await request(port, get());
      expect(backend.requests[0]?.fields.map(([name]) => name).sort()).toEqual([
        'connection',
        'host',
        'via',
        'x-forwarded-for',
        'x-forwarded-host',
        'x-forwarded-proto',
      ]);
    });

    test.each([
      '/a//b',
      '/a;v=1',
      '//',
      '//evil.example/x',
      '/?',
      '/?a=%zz',
      '/?q=[]|"',
      '/?a=../..%2f%00',
      '/%E2%82%AC',
      '/caf%E9',
      '/.well-known/x',
      '/...',
      '/a..b/.c./%2Ea',
      '/%252f%252e',
    ])('C02: the target %s arrives unchanged', async (target) => {
      const { backend, port } = await setUp();
      expect((await request(port, get('', target))).status).toBe(200);
      expect(backend.requests[0]?.target).toBe(target);
    });

    const ENCODED_SLASH = [
      '/a%2Fb',
      '/a%2fb?x=%252f',
      '/@acme%2fwidget/-/widget-1.tgz',
      '/a%2Fb%2Fc',
      '/a.%2f.b',
      '/a%2f',
    ];

    test.each(ENCODED_SLASH)('A08: the encoded slash of %s is data, and arrives unchanged', async (target) => {
      const { backend, port } = await setUp();
      expect((await request(port, get('', target))).status).toBe(200);
      expect(backend.requests[0]?.target).toBe(target);
      const strict = await setUp(answerOk, { ambiguousPaths: 'strict' });
      expect((await request(strict.port, get('', target))).status).toBe(400);
      expect(strict.backend.requests).toEqual([]);
    });

    const AMBIGUOUS = [
      '/a%2f..%2fb',
      '/a%2F..',
      '/a/%2e%2f/b',
      '/..%2fb',
      '/a%2f..;x%2fb',
      '/a%2f%2fb',
      '/%2fa',
      '/a%2f/b',
      '/a%2f%252e%252e%252fb',
      '/%252e%2fb',
      '/a%5Cb',
      '/a\\b',
      '/\\evil.example/x',
      '/a/./b',
      '/a/../b',
      '/..',
      '/a/.',
      '/a/%2e%2E/b',
      '/a/.%2e',
      '/a/..;x=1/b',
      '/a%00',
      '/a%0d%0aX:1',
      '/a%7f',
      '/%c0%af',
      '/%C1%9C',
      '/%e0%80%af',
      '/%f0%80%80%af',
      '/%zz',
      '/%',
      '/%u002f',
      // HTTP/2 has no absolute form.
      ...(isHttp1 ? ['http://gw.example/a/../b'] : []),
    ];

    test.each(AMBIGUOUS)('A08: the ambiguous path of %s gets 400', async (target) => {
      const { backend, port } = await setUp();
      const response = await request(port, get('', target));
      expect([response.status, response.field('connection')]).toEqual([400, isHttp1 ? 'close' : undefined]);
      const { cause, detail } = JSON.parse(response.content.toString());
      expect([cause, detail]).toEqual([
        'bad_request',
        expect.stringMatching(/^The path has .*ambiguousPaths, AMBIGUOUS_PATHS/),
      ]);
      expect(backend.requests).toEqual([]);
    });

    test.each(AMBIGUOUS)('A08: with ambiguousPaths: pass, %s arrives unchanged', async (target) => {
      const { backend, port } = await setUp(answerOk, { ambiguousPaths: 'pass' });
      expect((await request(port, get('', target))).status).toBe(200);
      expect(backend.requests[0]?.target).toBe(target.replace('http://gw.example', ''));
    });

    test.each([
      '*',
      '/a#b',
      'ftp://a/b',
      'xhttp://evil.example/x',
      'http://u:p@evil.example/x',
      'http:///x',
      'http://a\\b/x',
      '@evil.example/x',
      'evil.example/x',
    ])('A06: the target %s is never forwarded', async (target) => {
      const { backend, port } = await setUp(answerOk, { ambiguousPaths: 'pass' });
      // nghttp2 resets the streams of some of them.
      expect(isHttp1 ? [400] : [400, 0]).toContain((await request(port, get('', target))).status);
      expect(backend.requests).toEqual([]);
    });

    test.each(['PROPFIND', 'QUERY', 'PURGE', 'OPTIONS', 'PATCH'])('C02: the method %s passes', async (method) => {
      const { backend, port } = await setUp();
      expect((await request(port, `${method} /x HTTP/1.1\r\nHost: a\r\n\r\n`)).status).toBe(200);
      expect(backend.requests[0]?.method).toBe(method);
    });

    test('changeOrigin sends the backend its own authority', async () => {
      const { backend, port } = await setUp(answerOk, { changeOrigin: true });
      await request(port, get());
      expect(backend.requests[0]?.field('host')).toBe(`127.0.0.1:${backend.port}`);
      expect(backend.requests[0]?.field('x-forwarded-host')).toBe('gw.example');
    });
  });

  describe('forwarding headers', () => {
    const spoofed =
      'X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Real-IP: 6.6.6.6\r\n' +
      'X-Forwarded-Port: 1\r\nX-Forwarded-Prefix: /evil\r\nForwarded: for=6.6.6.6\r\n';

    test('A01: all forwarding headers of an untrusted peer are dropped', async () => {
      const { backend, port } = await setUp();
      await request(port, get(spoofed));
      expect(backend.received[0]?.toString('latin1')).not.toMatch(/6\.6\.6\.6|evil/);
      expect(backend.requests[0]?.all('x-forwarded-proto')).toEqual([isHttp1 ? 'http' : 'https']);
      expect(backend.requests[0]?.all('x-forwarded-for')).toEqual(['127.0.0.1']);
    });

    const aliases = [
      'X_Forwarded_For: 6.6.6.6',
      'X-Forwarded_For: 6.6.6.6',
      'X_Forwarded-Proto: evil',
      'x_real_ip: 6.6.6.6',
      'X_ORIGINAL_URL: /evil',
      'Transfer_Encoding: evil',
      'Content_Length: 666',
      'Proxy: http://evil',
      'Proxy_Authorization: evil',
    ];
    test.each(aliases)('K19, A03: %s is dropped, because CGI reads it as a header of the gateway', async (line) => {
      for (const trust of [undefined, 'loopback']) {
        // A name of its own in Via: one at random may have 666 in it.
        const { backend, port } = await setUp(answerOk, { via: 'edge' }, trust);
        await request(port, get(`${line}\r\nX_Own: kept\r\n`));
        expect(backend.received[0]?.toString('latin1')).not.toMatch(/666|6\.6\.6\.6|evil/);
        expect(backend.requests[0]?.field('x_own')).toBe('kept');
      }
    });

    test.each([
      'True-Client-IP',
      'CF-Connecting-IP',
      'X-Azure-ClientIP',
      'X-Forwarded-Prefix',
      'X-Forwarded-User',
      'X-Forwarded-Client-Cert',
      'X-Original-Host',
    ])('K9, A01: %s is forwarded from a trusted peer only', async (name) => {
      const untrusted = await setUp();
      await request(untrusted.port, get(`${name}: spoofed\r\n`));
      expect(untrusted.backend.requests[0]?.field(name.toLowerCase())).toBeUndefined();
      const trusted = await setUp(answerOk, {}, 'loopback');
      await request(trusted.port, get(`${name}: said\r\n`));
      expect(trusted.backend.requests[0]?.field(name.toLowerCase())).toBe('said');
    });

    test('X-Forwarded-For of a trusted peer is replaced by the client that it names', async () => {
      const { backend, port } = await setUp(answerOk, {}, 'loopback');
      await request(port, get('X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop\r\n'));
      const [seen] = backend.requests;
      expect(seen?.all('x-forwarded-for')).toEqual(['192.0.2.7']);
      expect(seen?.all('x-forwarded-proto')).toEqual(['https']);
      expect(seen?.all('x-forwarded-host')).toEqual(['shop']);
    });

    test('with append a trusted peer is added to the list, and an untrusted list is dropped', async () => {
      const trusted = await setUp(answerOk, { forwarded: 'append' }, 'loopback');
      await request(trusted.port, get('X-Forwarded-For: 192.0.2.7, 198.51.100.1\r\n'));
      expect(trusted.backend.requests[0]?.all('x-forwarded-for')).toEqual(['192.0.2.7, 198.51.100.1, 127.0.0.1']);
      const untrusted = await setUp(answerOk, { forwarded: 'append' });
      await request(untrusted.port, get(spoofed));
      expect(untrusted.backend.requests[0]?.all('x-forwarded-for')).toEqual(['127.0.0.1']);
    });

    test('with append a trusted peer that names no client is the first of the list', async () => {
      const { backend, port } = await setUp(answerOk, { forwarded: 'append' }, 'loopback');
      await request(port, get());
      expect(backend.requests[0]?.all('x-forwarded-for')).toEqual(['127.0.0.1']);
    });

    test('C09: Via is appended, with the version that came in', async () => {
      const { backend, port } = await setUp(answerOk, { via: 'edge' });
      await request(port, get('Via: 1.0 fred, 1.1 p.example\r\n'));
      expect(backend.requests.map((r) => r.field('via'))).toEqual([
        `1.0 fred, 1.1 p.example, ${isHttp1 ? '1.1' : '2.0'} edge`,
      ]);
    });
  });

  describe('response headers', () => {
    test('C03: Set-Cookie and other repeated headers keep number, order and bytes', async () => {
      const { port } = await setUp(
        answer(
          'HTTP/1.1 200 Fine\r\nSet-Cookie: a=1\r\nX-A: 1\r\nSet-Cookie: b=2; Path=/\r\nX-A: 2\r\nX-L: caf\xe9\r\n' +
            'WWW-Authenticate: Basic realm="x"\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\n\r\n',
        ),
      );
      const response = await request(port, get());
      expect(response.startLine).toBe(isHttp1 ? 'HTTP/1.1 200 Fine' : 'HTTP/2.0 200');
      expect(response.all('set-cookie')).toEqual(['a=1', 'b=2; Path=/']);
      expect(response.all('x-a')).toEqual(['1', '2']);
      expect(response.field('x-l')).toBe('caf\xe9');
      expect(response.all('www-authenticate')).toEqual(['Basic realm="x"', 'Bearer']);
    });

    test('C04: Date is added when missing and kept when present; X-Powered-By is not sent', async () => {
      const without = await setUp();
      const response = await request(without.port, get());
      expect(Number.isNaN(Date.parse(response.field('date') ?? ''))).toBe(false);
      expect(response.field('x-powered-by')).toBeUndefined();
      const date = 'Tue, 15 Nov 1994 08:12:31 GMT';
      const { port } = await setUp(
        answer(`HTTP/1.1 200 OK\r\nDate: ${date}\r\nX-Powered-By: PHP\r\nServer: old\r\nContent-Length: 0\r\n\r\n`),
      );
      const kept = await request(port, get());
      expect([kept.all('date'), kept.field('x-powered-by'), kept.field('server')]).toEqual([[date], 'PHP', 'old']);
    });

    test('D11: RateLimit entries of backend and gateway are both sent; other headers of the backend replace those of the app', async () => {
      const prepare = (app: Express) =>
        app.use((_req, res, next) => {
          res.setHeader('RateLimit', '"ip";r=9;t=60');
          res.setHeader('X-App', 'gateway');
          next();
        });
      const script = answer(
        'HTTP/1.1 200 OK\r\nRateLimit: "api";r=1;t=5\r\nX-App: backend\r\nContent-Length: 0\r\n\r\n',
      );
      const { port } = await started(script, {}, prepare, serverOf);
      const response = await request(port, get());
      expect(response.all('ratelimit')).toEqual(['"ip";r=9;t=60', '"api";r=1;t=5']);
      expect(response.all('x-app')).toEqual(['backend']);
    });
  });
});
