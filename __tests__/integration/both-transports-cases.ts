import { Agent } from 'node:http';
import { Agent as TlsAgent } from 'node:https';
import type { Options } from 'http-proxy-middleware';
import { certificate } from '../support/certificate.ts';
import type { Case, Places } from '../support/transport-pair.ts';

type Cases = Readonly<Record<string, Case>>;
type Dimension<T> = Readonly<Record<string, T>>;
type Target = NonNullable<Options['target']>;

/** Every form that a target can take. */
const TARGETS: Dimension<(at: Places) => unknown> = {
  'a string': ({ port }) => `http://127.0.0.1:${port}`,
  'a string with a slash': ({ port }) => `http://127.0.0.1:${port}/`,
  'a string with a path': ({ port }) => `http://127.0.0.1:${port}/base`,
  'a string with a path and a slash': ({ port }) => `http://127.0.0.1:${port}/base/`,
  'a string with a query': ({ port }) => `http://127.0.0.1:${port}?k=v`,
  'a string with a path and a query': ({ port }) => `http://127.0.0.1:${port}/base?k=v`,
  'a string in capitals': ({ port }) => `HTTP://LOCALHOST:${port}`,
  'a string with credentials and a fragment': ({ port }) => `http://u:p@127.0.0.1:${port}/base#part`,
  'a string with ws:': ({ port }) => `ws://127.0.0.1:${port}/socket`,
  'a string with an IPv6 address': ({ port }) => `http://[::1]:${port}/base`,
  'a string with an IPv6 address and a query': ({ port }) => `http://[::1]:${port}/base?k=v`,
  'a URL': ({ port }) => new URL(`http://127.0.0.1:${port}`),
  'a URL with a path and a query': ({ port }) => new URL(`http://127.0.0.1:${port}/base/?k=v`),
  'a URL with ws:': ({ port }) => new URL(`ws://127.0.0.1:${port}`),
  'host and port': ({ port }) => ({ host: '127.0.0.1', port }),
  'host and port, a string': ({ port }) => ({ host: 'localhost', port: String(port) }),
  'hostname and port': ({ port }) => ({ hostname: '127.0.0.1', port }),
  'host with its port, hostname and port': ({ port }) => ({ host: `127.0.0.1:${port}`, hostname: '127.0.0.1', port }),
  'host with its port, and port': ({ port }) => ({ host: `127.0.0.1:${port}`, port }),
  'host with its port': ({ port }) => ({ host: `127.0.0.1:${port}` }),
  'an IPv6 host and port': ({ port }) => ({ host: '::1', port }),
  'an IPv6 hostname and port': ({ port }) => ({ hostname: '::1', port }),
  'port alone': ({ port }) => ({ port }),
  'protocol, host and port': ({ port }) => ({ protocol: 'http:', host: '127.0.0.1', port }),
  'protocol without a colon': ({ port }) => ({ protocol: 'http', host: '127.0.0.1', port }),
  'protocol ws:': ({ port }) => ({ protocol: 'ws:', host: '127.0.0.1', port }),
  'an empty protocol': ({ port }) => ({ protocol: '', host: '127.0.0.1', port }),
  'an unknown protocol': ({ port }) => ({ protocol: 'ftp:', host: '127.0.0.1', port }),
  'parts with a pathname': ({ port }) => ({ host: '127.0.0.1', port, pathname: '/base' }),
  'parts with a pathname without a slash': ({ port }) => ({ host: '127.0.0.1', port, pathname: 'base' }),
  'parts with a path and a search': ({ port }) => ({ host: '127.0.0.1', port, path: '/base', search: '?k=v' }),
  'parts of a URL': ({ port }) => {
    const {
      protocol,
      host,
      hostname,
      port: text,
      pathname,
      search,
      href,
    } = new URL(`http://127.0.0.1:${port}/base?k=v`);
    return { protocol, host, hostname, port: text, pathname, search, href };
  },
  'a Unix socket': ({ path }) => ({ socketPath: path }),
  'https: and its authority': ({ tls }) => ({ protocol: 'https:', host: 'localhost', port: tls, ca: certificate.cert }),
  'a string with https:': ({ tls }) => `https://localhost:${tls}/base`,
  'a string with wss:': ({ tls }) => `wss://127.0.0.1:${tls}`,
  'https: in parts': ({ tls }) => ({ protocol: 'https:', hostname: 'localhost', port: tls }),
  'https without a colon': ({ tls }) => ({ protocol: 'https', host: 'localhost', port: tls }),
  'a name without a scheme': ({ port }) => `localhost:${port}`,
  'no URL': () => '//nowhere',
  'where nothing listens': ({ dead }) => `http://127.0.0.1:${dead}/base`,
  'parts where nothing listens': ({ dead }) => ({ host: '127.0.0.1', port: dead }),
  'a port out of range': () => ({ host: '127.0.0.1', port: 70_000 }),
  'a server without TLS, over https:': ({ port }) => `https://127.0.0.1:${port}`,
};

/** What else says where a request goes and what it carries. */
const OPTIONS: Dimension<Options> = {
  'nothing else': {},
  changeOrigin: { changeOrigin: true },
  ignorePath: { ignorePath: true },
  'prependPath: false': { prependPath: false },
  pathRewrite: { pathRewrite: { '^/api': '/v2' } },
  'pathRewrite to nothing': { pathRewrite: () => '' },
  'pathRewrite to a query': { pathRewrite: () => '?only=query' },
  'xfwd and changeOrigin': { xfwd: true, changeOrigin: true },
};

export const targetCases: Cases = cross(TARGETS, OPTIONS, (target, options) => ({
  options: (at) => ({ ...options, target: target(at) as Target }),
}));

/** Requests of every kind, as lines; `Host` and the rest of the framing are added. */
const REQUESTS: Dimension<string> = {
  'GET of the root': head('GET / HTTP/1.1'),
  'GET with an empty query': head('GET /api/x? HTTP/1.1'),
  'GET with two question marks': head('GET /api/x?a=?b HTTP/1.1'),
  'GET with an encoded path': head('GET /api/%2e%2e/%41?%00 HTTP/1.1'),
  'GET with two slashes': head('GET //api//x HTTP/1.1'),
  'GET with dot segments': head('GET /api/../x HTTP/1.1'),
  'GET in absolute form': head('GET http://other.example/api/x HTTP/1.1'),
  'GET over HTTP/1.0 without Host': 'GET /api/x HTTP/1.0\r\n\r\n',
  'GET with content': `${head('GET /api/x HTTP/1.1', 'Content-Length: 5')}hello`,
  HEAD: head('HEAD /api/x HTTP/1.1'),
  'POST with a length': `${head('POST /api/x HTTP/1.1', 'Content-Length: 5', 'Content-Type: text/plain')}hello`,
  'POST in chunks': `${head('POST /api/x HTTP/1.1', 'Transfer-Encoding: chunked')}2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n`,
  'POST without content': head('POST /api/x HTTP/1.1', 'Content-Length: 0'),
  'POST without a length': head('POST /api/x HTTP/1.1'),
  PUT: `${head('PUT /api/x HTTP/1.1', 'Content-Length: 2')}ab`,
  'PATCH in chunks': `${head('PATCH /api/x HTTP/1.1', 'Transfer-Encoding: chunked')}0\r\n\r\n`,
  DELETE: head('DELETE /api/x HTTP/1.1'),
  'DELETE with content': `${head('DELETE /api/x HTTP/1.1', 'Content-Length: 2')}ab`,
  OPTIONS: head('OPTIONS /api/x HTTP/1.1'),
  'OPTIONS of the server': head('OPTIONS * HTTP/1.1'),
  PROPFIND: head('PROPFIND /api/x HTTP/1.1', 'Depth: 1'),
  'repeated headers': head(
    'GET /api/x HTTP/1.1',
    'X-List: a',
    'X-List: b',
    'Cookie: c=1',
    'Cookie: d=2',
    'Accept: a',
    'Accept: b',
  ),
  'repeated headers of which one counts': head(
    'GET /api/x HTTP/1.1',
    'User-Agent: a',
    'User-Agent: b',
    'Referer: a',
    'Referer: b',
  ),
  'empty and Latin-1 headers': head('GET /api/x HTTP/1.1', 'X-Empty:', 'X-Latin: \xe9\xff'),
  'headers of a proxy before': head(
    'GET /api/x HTTP/1.1',
    'X-Forwarded-For: 1.2.3.4',
    'X-Forwarded-Proto: https',
    'Via: 1.1 front',
  ),
  'headers for one connection': head(
    'GET /api/x HTTP/1.1',
    'TE: trailers',
    'Keep-Alive: timeout=9',
    'Proxy-Authorization: Basic dTpw',
  ),
  'headers that Connection names': head('GET /api/x HTTP/1.1', 'Connection: X-Gone', 'X-Gone: 1'),
  'Expect: 100-continue': `${head('POST /api/x HTTP/1.1', 'Expect: 100-continue', 'Content-Length: 5')}hello`,
};

export const requestCases: Cases = cross(
  REQUESTS,
  {
    'nothing else': {},
    'pathRewrite and changeOrigin': { pathRewrite: { '^/api': '/v2' }, changeOrigin: true },
    'xfwd and headers': { xfwd: true, headers: { 'x-list': 'c', 'X-New': 'n' } },
  } satisfies Dimension<Options>,
  (request, options) => ({
    request,
    options: ({ port }) => ({ target: `http://127.0.0.1:${port}/base?k=v`, ...options }),
  }),
);

const ROUTERS: Dimension<(at: Places) => unknown> = {
  'a function that gives a string': (at) => () => `http://127.0.0.1:${at.port}/routed`,
  'a function that gives a URL': (at) => () => new URL(`ws://127.0.0.1:${at.port}/routed?r=1`),
  'a function that gives parts': (at) => () => ({ host: '127.0.0.1', port: at.port }),
  'a function that gives a promise': (at) => async () => ({ hostname: 'localhost', port: at.port, protocol: 'http:' }),
  'a function that gives an IPv6 address': (at) => () => `http://[::1]:${at.port}`,
  'a function that gives nothing': () => () => undefined,
  'a function that gives no URL': () => () => 'nowhere',
  'a function that throws': () => () => {
    throw Object.assign(new Error('router'), { code: 'E_ROUTER' });
  },
  'a function that rejects': () => () => Promise.reject(Object.assign(new Error('router'), { code: 'E_ROUTER' })),
  'a table of hosts': (at) => ({ 'gw.example:81': `http://127.0.0.1:${at.port}/host` }),
  'a table of paths': (at) => ({ '/api': { host: '127.0.0.1', port: at.port } }),
  'a table of hosts and paths': (at) => ({ 'gw.example:81/api': new URL(`http://127.0.0.1:${at.port}/both/`) }),
  'a table without a match': (at) => ({ 'other.example': `http://127.0.0.1:${at.port}/other` }),
};

export const routerCases: Cases = cross(
  ROUTERS,
  {
    'with a target': { target: 'http://127.0.0.1:1/never' },
    'with a target and changeOrigin': { target: { host: 'localhost', port: 1 }, changeOrigin: true },
    'without a target': {},
  } satisfies Dimension<Options>,
  (router, options) => ({ options: (at) => ({ ...options, router: router(at) as NonNullable<Options['router']> }) }),
);

const HEADERS: Dimension<unknown> = {
  'a new one': { 'X-New': 'n' },
  'one that the client sent': { 'x-a': '2' },
  'one that the client sent, in capitals': { 'X-A': '2' },
  'Host, lower case': { host: 'other.example' },
  'Host, capital': { Host: 'other.example' },
  'a list': { 'x-list': ['a', 'b'] },
  'a number': { 'x-number': 7 },
  'an empty value': { 'x-empty': '' },
  'Latin-1': { 'x-latin': '\xe9' },
  'a value that cannot be sent': { 'x-bad': 'a\nb' },
  'a value beyond Latin-1': { 'x-bad': '\u0100' },
  'a name that cannot be sent': { 'x bad': 'a' },
  undefined: { 'x-undefined': undefined },
  'Connection: keep-alive': { Connection: 'keep-alive' },
  'Connection: close': { connection: 'close' },
  'Keep-Alive': { 'Keep-Alive': 'timeout=5' },
  authorization: { authorization: 'Bearer x' },
};

export const headerCases: Cases = cross(
  HEADERS,
  { 'nothing else': {}, changeOrigin: { changeOrigin: true }, xfwd: { xfwd: true } } satisfies Dimension<Options>,
  (headers, options) => ({
    options: ({ port }) => ({
      target: `http://127.0.0.1:${port}`,
      ...options,
      headers: headers as Record<string, string>,
    }),
    listens: true,
  }),
);

const TLS: Dimension<(at: Places) => Options> = {
  'a trusted certificate': (at) => ({ target: `https://localhost:${at.tls}` }),
  'a trusted certificate, by address': (at) => ({ target: `https://127.0.0.1:${at.tls}` }),
  'secure: true': (at) => ({ target: `https://localhost:${at.tls}`, secure: true }),
  'secure: false': (at) => ({ target: `https://localhost:${at.tls}`, secure: false }),
  'ssl with ca': (at) => ({ target: `https://localhost:${at.tls}`, ssl: { ca: certificate.cert } }),
  'ssl with another ca': (at) => ({ target: `https://localhost:${at.tls}`, ssl: { ca: [] } }),
  'ssl with a server name': (at) => ({ target: `https://localhost:${at.tls}`, ssl: { servername: 'api.test' } }),
  'an agent for TLS': (at) => ({
    target: `https://localhost:${at.tls}`,
    agent: new TlsAgent({ ca: certificate.cert }),
  }),
  'agent: false': (at) => ({ target: `https://localhost:${at.tls}`, agent: false }),
  'TLS to a server without': (at) => ({ target: `https://127.0.0.1:${at.port}` }),
  'no TLS to a server with': (at) => ({ target: `http://127.0.0.1:${at.tls}` }),
};

export const tlsCases: Cases = cross(
  TLS,
  {
    'nothing else': {},
    changeOrigin: { changeOrigin: true },
    'a Host for which there is a certificate': { headers: { host: 'api.test' } },
    'a Host for which there is none': { headers: { host: 'other.test' } },
  } satisfies Dimension<Options>,
  (options, more) => ({ options: (at) => ({ ...options(at), ...more }), listens: true }),
);

const NATIVE: Dimension<(at: Places) => Options> = {
  'agent: an agent': () => ({ agent: new Agent() }),
  'agent: false': () => ({ agent: false }),
  'agent: null': () => ({ agent: null }),
  'forward, beside a target': (at) => ({ forward: `http://127.0.0.1:${at.port}/copy` }),
  'forward, to parts': (at) => ({ forward: { host: '127.0.0.1', port: at.port } }),
  'method, which has no type': () => ({ method: 'PUT' }) as Options,
  'ca, which has no type': () => ({ ca: certificate.cert }) as Options,
  auth: () => ({ auth: 'u:p' }),
  toProxy: () => ({ toProxy: true }),
  localAddress: () => ({ localAddress: '127.0.0.1' }),
};

export const optionCases: Cases = cross(
  NATIVE,
  { 'nothing else': {}, changeOrigin: { changeOrigin: true } } satisfies Dimension<Options>,
  (options, more) => ({ options: (at) => ({ target: `http://127.0.0.1:${at.port}`, ...options(at), ...more }) }),
);

function head(line: string, ...fields: string[]): string {
  return [
    line,
    'Host: gw.example',
    ...fields,
    ...(fields.join().includes('Connection') ? [] : ['Connection: close']),
    '',
    '',
  ].join('\r\n');
}

function cross<A, B>(some: Dimension<A>, others: Dimension<B>, make: (a: A, b: B) => Case): Cases {
  const cases: Record<string, Case> = {};
  for (const [one, a] of Object.entries(some)) {
    for (const [other, b] of Object.entries(others)) cases[`${one}; ${other}`] = make(a, b);
  }
  return cases;
}
