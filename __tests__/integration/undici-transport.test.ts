import type { RequestListener, ServerResponse } from 'node:http';
import { afterEach, describe, expect, test } from '@jest/globals';
import express from 'express';
import { undiciTransport } from 'expressway';
import { createProxyMiddleware, type Options, type Plugin } from 'http-proxy-middleware';
import { Cleanup } from '../support/gateway.ts';
import { afterRead } from '../support/pause.ts';
import { type RawMessage, rawRequest } from '../support/raw-client.ts';
import { answer, answerOk, type RecordedRequest, RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { closedPort, eventually, listen } from '../support/servers.ts';
import { expectWarnings } from '../support/warnings.ts';

expectWarnings('WARN_EXPRESSWAY_PATH_FILTER', 'WARN_EXPRESSWAY_LISTENER');

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

interface Seen {
  readonly response: RawMessage;
  readonly request: RecordedRequest | undefined;
}

/** One request through http-proxy-middleware, on the native transport and on ours. */
async function both(
  options: Options,
  request: string,
  script: Script = answerOk,
): Promise<{ native: Seen; ours: Seen }> {
  const run = async (plugins: Plugin[]): Promise<Seen> => {
    const backend = cleanup.add(await RecorderBackend.start(script));
    const target = `${backend.url}${options.target ?? ''}`;
    const app = express();
    app.use(createProxyMiddleware({ ...options, target, plugins: [...(options.plugins ?? []), ...plugins] }));
    const { port } = cleanup.add(await listen(app));
    const response = await rawRequest(port, request);
    const [seen] = backend.requests;
    return { response, request: seen };
  };
  return { native: await run([]), ours: await run([undiciTransport()]) };
}

const GET = 'GET /api/x?q=1 HTTP/1.1\r\nHost: gw.example:81\r\nX-A: 1\r\n\r\n';

describe('undiciTransport() sends the same request as the native transport', () => {
  const backendPort = /127\.0\.0\.1:\d+/;
  test.each<[string, Options]>([
    ['a plain target', {}],
    ['a target with a path', { target: '/base/' }],
    ['a target with a path and a query', { target: '/base?k=v' }],
    ['pathRewrite', { pathRewrite: { '^/api': '/v2' } }],
    ['ignorePath', { target: '/only', ignorePath: true }],
    ['changeOrigin', { changeOrigin: true }],
    ['headers', { headers: { 'X-A': '2', 'x-new': 'n', Host: 'other' } }],
    ['xfwd', { xfwd: true }],
    ['router', { router: (() => undefined) as never }],
  ])('%s', async (_name, options) => {
    const { native, ours } = await both(options, GET);
    expect(ours.response.status).toBe(200);
    expect(ours.request?.target).toBe(native.request?.target);
    const fields = ({ request }: Seen) =>
      (request?.fields ?? [])
        .filter(([name]) => name !== 'connection')
        .map(([name, value]) => `${name}: ${value.replace(backendPort, 'BACKEND')}`)
        .sort();
    expect(fields(ours)).toEqual(fields(native));
  });

  test('requests that pathFilter excludes reach the next handler', async () => {
    const { native, ours } = await both({ pathFilter: '/other' }, GET);
    expect([native.response.status, ours.response.status]).toEqual([404, 404]);
  });

  test('X-Forwarded-Port is the default port when Host is an IPv6 address without a port', async () => {
    const { ours } = await both({ xfwd: true }, GET.replace('gw.example:81', '[::1]'));
    expect(ours.request?.field('x-forwarded-port')).toBe('80');
  });

  test('hop-by-hop headers are not forwarded', async () => {
    const request = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Gone\r\nX-Gone: 1\r\nTE: trailers\r\nX-Stay: 1\r\n\r\n';
    const { ours } = await both({}, request);
    const names = ours.request?.fields.map(([name]) => name);
    expect(names).toContain('x-stay');
    expect(names).not.toContain('x-gone');
    expect(names).not.toContain('te');
  });
});

test('undiciTransport() ignores headers of the connection and of the framing in the option headers', async () => {
  const backend = cleanup.add(await RecorderBackend.start(answerOk));
  const headers = { 'Keep-Alive': 'timeout=9', 'Transfer-Encoding': 'chunked', 'Content-Length': '9', Expect: 'x' };
  const app = express();
  app.use(createProxyMiddleware({ target: backend.url, headers, plugins: [undiciTransport()] }));
  const { port } = cleanup.add(await listen(app));
  const response = await rawRequest(port, 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok');
  const values = Object.keys(headers).flatMap((name) => backend.requests[0]?.all(name.toLowerCase()) ?? []);
  expect([response.status, values]).toEqual([200, ['2']]);
});

const setEncoding: RequestListener = (req) => void req.setEncoding('utf8');

test('undiciTransport() forwards a request without a body after req.setEncoding()', async () => {
  const backend = cleanup.add(await RecorderBackend.start(answerOk));
  const proxy = createProxyMiddleware({ target: backend.url, plugins: [undiciTransport()] });
  const { port } = cleanup.add(
    await listen((req, res) => {
      setEncoding(req, res);
      void proxy(req, res);
    }),
  );
  expect((await rawRequest(port, GET)).status).toBe(200);
});

/** `writeHead()` throws once, as with a listener of the package on-headers. */
const throwOnce: RequestListener = (_req, res) => {
  res.writeHead = () => {
    Reflect.deleteProperty(res, 'writeHead');
    throw new Error('thrown by the app');
  };
};

describe('undiciTransport() resolves the promise of the middleware', () => {
  const NOTHING: RequestListener = () => {};
  test.each<[string, RequestListener, number, Script?]>([
    ['when the response has ended', NOTHING, 200],
    ['when the backend has failed', NOTHING, 504, (socket) => void socket.destroy()],
    ['for a body that cannot be forwarded', setEncoding, 500],
    ['when code of the app throws before the head of the response is sent', throwOnce, 500],
  ])('%s', async (_when, before, status, script = answerOk) => {
    const backend = cleanup.add(await RecorderBackend.start(script));
    const logger = { info() {}, warn() {}, error() {} };
    const proxy = createProxyMiddleware({ target: backend.url, logger, plugins: [undiciTransport()] });
    let isOver = false;
    const { port } = cleanup.add(
      await listen(async (req, res) => {
        before(req, res);
        await proxy(req, res);
        isOver = true;
      }),
    );
    expect((await rawRequest(port, 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok')).status).toBe(status);
    await eventually('the promise is resolved', () => isOver);
  });
});

describe('failures with undiciTransport()', () => {
  test("a refused connection reaches the user's error handler, once", async () => {
    const app = express();
    const seen: unknown[] = [];
    app.use(
      createProxyMiddleware({
        target: `http://127.0.0.1:${await closedPort()}`,
        plugins: [undiciTransport()],
        on: {
          error: (error, _req, res) => {
            seen.push((error as NodeJS.ErrnoException).code);
            if ('writeHead' in res) res.writeHead(502).end('mine');
          },
        },
      }),
    );
    const { url } = cleanup.add(await listen(app));
    const response = await fetch(url);
    expect([response.status, await response.text(), seen]).toEqual([502, 'mine', ['ECONNREFUSED']]);
  });

  test('without an error handler the default one of http-proxy-middleware responds', async () => {
    const app = express();
    app.use(createProxyMiddleware({ target: `http://127.0.0.1:${await closedPort()}`, plugins: [undiciTransport()] }));
    const { url } = cleanup.add(await listen(app));
    expect((await fetch(url)).status).toBe(504);
  });

  test('proxyTimeout bounds the wait for a response head, and a truncated response looks truncated', async () => {
    const { ours } = await both({ proxyTimeout: 200 }, GET, () => {});
    expect(ours.response.status).toBe(504);
    const cut = await both({}, GET, (socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf', () => afterRead(() => socket.destroy()));
    });
    expect([cut.ours.response.status, cut.ours.response.framingComplete]).toEqual([200, false]);
  });

  test('proxyTimeout ends a request whose client stops sending its body, as in the native transport', async () => {
    const errors: unknown[] = [];
    const error = (given: NodeJS.ErrnoException, _req: unknown, res: unknown) => {
      errors.push(`${given.code} ${given.message}`);
      (res as ServerResponse).writeHead(504).end();
    };
    const half = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf';
    const { native, ours } = await both({ proxyTimeout: 200, on: { error } }, half, () => {});
    expect([native.response.status, ours.response.status]).toEqual([504, 504]);
    expect(errors).toEqual(['ECONNRESET socket hang up', 'ECONNRESET socket hang up']);
  });

  test.each([
    ['before its head is an error for the next handler', '', 1],
    ['after its head is not: the client has the head', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf', 0],
  ])('without any error listener, a response that breaks off %s', async (_when, bytes, count) => {
    const backend = cleanup.add(
      await RecorderBackend.start((socket) => void socket.write(bytes, () => afterRead(() => socket.destroy()))),
    );
    const errors: unknown[] = [];
    const app = express();
    app.use(createProxyMiddleware({ target: backend.url, ejectPlugins: true, plugins: [undiciTransport()] }));
    app.use(((error, _req, res, _next) => {
      errors.push(error);
      res.end();
    }) satisfies express.ErrorRequestHandler);
    const { port } = cleanup.add(await listen(app));
    await rawRequest(port, GET);
    expect(errors).toHaveLength(count);
  });
});

describe('options that need the native transport keep it', () => {
  const marker = { 'x-hook': 'ran' };
  test.each<[string, Options, (seen: Seen) => void]>([
    [
      'on.proxyReq',
      { on: { proxyReq: (proxyReq) => void proxyReq.setHeader('x-hook', 'ran') } },
      ({ request }) => expect(request?.field('x-hook')).toBe('ran'),
    ],
    [
      'on.proxyRes',
      { on: { proxyRes: (proxyRes) => void Object.assign(proxyRes.headers, marker) } },
      ({ response }) => expect(response.field('x-hook')).toBe('ran'),
    ],
    [
      'a plugin that listens to proxyRes',
      { plugins: [(server) => void server.on('proxyRes', (proxyRes) => Object.assign(proxyRes.headers, marker))] },
      ({ response }) => expect(response.field('x-hook')).toBe('ran'),
    ],
    [
      'selfHandleResponse',
      {
        selfHandleResponse: true,
        on: {
          proxyRes: (proxyRes, _req, res) => {
            proxyRes.resume();
            res.setHeader('x-hook', 'ran');
            res.end('own');
          },
        },
      },
      ({ response }) => expect([response.field('x-hook'), response.content.toString()]).toEqual(['ran', 'own']),
    ],
    [
      'cookieDomainRewrite',
      { cookieDomainRewrite: 'new.example' },
      ({ response }) => expect(response.field('set-cookie')).toBe('a=1; Domain=new.example'),
    ],
    ['auth', { auth: 'u:p' }, ({ request }) => expect(request?.field('authorization')).toBe('Basic dTpw')],
    ['followRedirects', { followRedirects: true }, ({ response }) => expect(response.status).toBe(200)],
  ])('%s', async (_name, options, check) => {
    const script: Script = (socket, request, index) => {
      if (options.followRedirects && request.target !== '/there') {
        answer('HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n')(socket, request, index);
      } else {
        const cookie = 'Set-Cookie: a=1; Domain=old.example\r\n';
        answer(`HTTP/1.1 200 OK\r\n${cookie}Content-Length: 2\r\n\r\nok`)(socket, request, index);
      }
    };
    const { native, ours } = await both(options, GET, script);
    check(native);
    check(ours);
  });
});

test('bad options throw at construction of the middleware, all in one error', () => {
  const make = () =>
    createProxyMiddleware({
      target: 'http://a',
      plugins: [undiciTransport({ connectTimeoutMs: -1, nope: 1 } as never)],
    });
  expect(make).toThrow(/nope.*connectTimeoutMs/);
});
