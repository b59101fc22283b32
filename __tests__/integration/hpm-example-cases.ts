import { Agent, type RequestListener, type ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import express, { type RequestHandler } from 'express';
import { fixRequestBody, type Options, responseInterceptor } from 'http-proxy-middleware';
import { pause } from '../support/pause.ts';

// After the public examples and recipes of http-proxy-middleware: what they show, in our own words.

/** Says who it is, what it was asked for, and what it got. */
export const backend =
  (name: string): RequestListener =>
  async (req, res) => {
    const chunks: Buffer[] = [];
    for await (const chunk of req) chunks.push(chunk);
    const added = req.headers['x-added'] ?? req.headers.host?.replace(/:\d+$/, '');
    res.setHeader('x-removed', '1').setHeader('set-cookie', 'a=1; Domain=old.example; Path=/old; Secure');
    if (req.url === '/gzip') return void res.setHeader('content-encoding', 'gzip').end(gzipSync('Hello'));
    res.end([name, req.method, req.url, added, Buffer.concat(chunks)].join(' ').trim());
  };

export interface Backends {
  readonly a: string;
  readonly b: string;
  readonly c: string;
  readonly tls: string;
  readonly gone: string;
}

export interface Example {
  readonly transport: 'undici' | 'native';
  readonly options: (at: Backends) => Options;
  /** Path, Host and JSON of each request: `GET` where there is none, else `POST`. */
  readonly asked: readonly (readonly [path: string, host?: string, json?: string])[];
  /** What clients get: the status, and what the backend says. */
  readonly got: readonly string[];
  /** A field of the last answer. */
  readonly field?: readonly [name: string, value: string | undefined];
  readonly before?: RequestHandler;
}

const to = (options: Options) => (at: Backends) => ({ target: at.a, ...options });
const rewrite = (pathRewrite: NonNullable<Options['pathRewrite']>) => to({ pathRewrite, changeOrigin: true });
const filter = (pathFilter: NonNullable<Options['pathFilter']>) => to({ pathFilter });
const intercept = (change: (text: string, res: ServerResponse) => string): Options => ({
  selfHandleResponse: true,
  on: { proxyRes: responseInterceptor(async (content, _from, _req, res) => change(content.toString(), res)) },
});

export const EXAMPLES: Readonly<Record<string, Example>> = {
  'basic, express, virtual hosts': {
    transport: 'undici',
    options: to({ pathFilter: '/api', changeOrigin: true }),
    asked: [['/api/1'], ['/other']],
    got: ['200 a GET /api/1 127.0.0.1', '404'],
  },
  'pathFilter: several paths': {
    transport: 'undici',
    options: filter(['/api', '/rest']),
    asked: [['/api/1'], ['/rest/2'], ['/other']],
    got: ['200 a GET /api/1 gw.example', '200 a GET /rest/2 gw.example', '404'],
  },
  'pathFilter: wildcards and exclusion': {
    transport: 'undici',
    options: filter(['/api/**/*.json', '!/api/secret/**']),
    asked: [['/api/a/b.json'], ['/api/a/b.html'], ['/api/secret/b.json']],
    got: ['200 a GET /api/a/b.json gw.example', '404', '404'],
  },
  'pathFilter: a function': {
    transport: 'undici',
    options: filter((path, req) => path.startsWith('/api') && req.method === 'GET'),
    asked: [['/api/1'], ['/api/1', 'gw.example', '{}']],
    got: ['200 a GET /api/1 gw.example', '404'],
  },
  'pathRewrite: rewrite, remove and add': {
    transport: 'undici',
    options: rewrite({ '^/old/api': '/new/api', '^/remove/': '/', '^/$': '/extra/' }),
    asked: [['/old/api/1?a=b'], ['/remove/2'], ['/']],
    got: ['200 a GET /new/api/1?a=b 127.0.0.1', '200 a GET /2 127.0.0.1', '200 a GET /extra/ 127.0.0.1'],
  },
  'pathRewrite: a function, and a promise': {
    transport: 'undici',
    options: rewrite(async (path) => path.replace('/api/foo', '/api/bar')),
    asked: [['/api/foo/1']],
    got: ['200 a GET /api/bar/1 127.0.0.1'],
  },
  'router: a function': {
    transport: 'undici',
    options: (at) => ({ target: at.a, router: (req) => (req.headers.host === 'b.example' ? at.b : at.a) }),
    asked: [['/1'], ['/1', 'b.example']],
    got: ['200 a GET /1 gw.example', '200 b GET /1 b.example'],
  },
  'router: a table of hosts and paths': {
    transport: 'undici',
    options: (at) => ({ target: at.a, router: { 'b.example': at.b, 'gw.example/api': at.c, '/rest': at.c } }),
    asked: [['/1'], ['/1', 'b.example'], ['/api/1'], ['/rest/1', 'other.example']],
    got: [
      '200 a GET /1 gw.example',
      '200 b GET /1 b.example',
      '200 c GET /api/1 gw.example',
      '200 c GET /rest/1 other.example',
    ],
  },
  logger: {
    transport: 'undici',
    options: to({ logger: { info() {}, warn() {}, error() {} } }),
    asked: [['/1']],
    got: ['200 a GET /1 gw.example'],
  },
  'https, a basic server': {
    transport: 'undici',
    options: (at) => ({ target: at.tls, changeOrigin: true }),
    asked: [['/1']],
    got: ['200 tls GET /1 localhost'],
  },
  delay: {
    transport: 'undici',
    options: to({}),
    before: (_req, res, next) => {
      const end = res.end.bind(res);
      res.end = ((...args: []) => void setTimeout(() => end(...args), 20)) as unknown as typeof res.end;
      setTimeout(next, 20);
    },
    asked: [['/1']],
    got: ['200 a GET /1 gw.example'],
  },
  'on.error': {
    transport: 'undici',
    options: (at) => ({
      target: at.gone,
      on: { error: (_error, _req, res) => void (res as ServerResponse).writeHead(500).end('something went wrong') },
    }),
    asked: [['/1']],
    got: ['500 something went wrong'],
  },
  'on.proxyReq: a new field': {
    transport: 'native',
    options: to({ on: { proxyReq: (request) => void request.setHeader('x-added', 'foobar') } }),
    asked: [['/1']],
    got: ['200 a GET /1 foobar'],
  },
  'on.proxyRes: headers of the response': {
    transport: 'native',
    options: to({
      on: {
        proxyRes: (answered) => {
          answered.headers['x-added'] = 'foobar';
          delete answered.headers['x-removed'];
        },
      },
    }),
    asked: [['/1']],
    got: ['200 a GET /1 gw.example'],
    field: ['x-removed', undefined],
  },
  'a body parser and fixRequestBody': {
    transport: 'native',
    before: express.json(),
    options: to({ on: { proxyReq: fixRequestBody } }),
    asked: [['/1', 'gw.example', '{"a":1}']],
    got: ['200 a POST /1 gw.example {"a":1}'],
  },
  'modify-post': {
    transport: 'native',
    before: express.json(),
    options: to({
      on: {
        proxyReq: (request) => {
          const content = new URLSearchParams({ filename: 'summary.pdf', routeid: '12' }).toString();
          request.setHeader('content-type', 'application/x-www-form-urlencoded');
          request.setHeader('content-length', content.length);
          request.end(content);
        },
      },
    }),
    asked: [['/docs', 'gw.example', '{"a":1}']],
    got: ['200 a POST /docs gw.example filename=summary.pdf&routeid=12'],
  },
  'response-interceptor: another text and status': {
    transport: 'native',
    options: to(
      intercept((text, res) => {
        res.statusCode = 418;
        return text.replace('a GET', 'teapot');
      }),
    ),
    asked: [['/1']],
    got: ['418 teapot /1 gw.example'],
  },
  'response-interceptor: compressed responses': {
    transport: 'native',
    options: to(intercept((text) => text.replace('Hello', 'Teapot'))),
    asked: [['/gzip']],
    got: ['200 Teapot'],
    field: ['content-encoding', undefined],
  },
  'async-response': {
    transport: 'native',
    options: to({
      selfHandleResponse: true,
      on: {
        proxyRes: async (answered, _req, res) => {
          await pause('the handler is asynchronous', 10);
          res.setHeader('x-later', 'yes');
          answered.pipe(res);
        },
      },
    }),
    asked: [['/1']],
    got: ['200 a GET /1 gw.example'],
    field: ['x-later', 'yes'],
  },
  'modify-or-save-responses: cookies without Secure': {
    transport: 'native',
    options: to({
      on: {
        proxyRes: (answered) => {
          answered.headers['set-cookie'] =
            answered.headers['set-cookie']?.map((one) => one.replace('; Secure', '')) ?? [];
        },
      },
    }),
    asked: [['/1']],
    got: ['200 a GET /1 gw.example'],
    field: ['set-cookie', 'a=1; Domain=old.example; Path=/old'],
  },
  cookieDomainRewrite: {
    transport: 'native',
    options: to({ cookieDomainRewrite: { 'old.example': 'new.example' } }),
    asked: [['/1']],
    got: ['200 a GET /1 gw.example'],
    field: ['set-cookie', 'a=1; Domain=new.example; Path=/old; Secure'],
  },
  'corporate-proxy: an agent': {
    transport: 'native',
    options: to({ agent: new Agent() }),
    asked: [['/1']],
    got: ['200 a GET /1 gw.example'],
  },
};
