import { readFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from '@jest/globals';
import express, { type RequestHandler } from 'express';
import { undiciTransport } from 'expressway';
import {
  createProxyMiddleware,
  fixRequestBody,
  type Options,
  type Plugin,
  responseInterceptor,
} from 'http-proxy-middleware';
import { Cleanup } from '../support/gateway.ts';
import { rawRequest } from '../support/raw-client.ts';
import { answer, RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { closedPort, listen } from '../support/servers.ts';
import { expectWarnings } from '../support/warnings.ts';

expectWarnings('WARN_EXPRESSWAY_PATH_FILTER');

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const GET = 'GET /api/x?q=1 HTTP/1.1\r\nHost: gw.example:81\r\nX-A: 1\r\nConnection: close\r\n\r\n';
const JSON_POST = GET.replace('GET', 'POST').replace(
  'X-A: 1\r\n',
  'Content-Type: application/json\r\nContent-Length: 7\r\n',
);

type Make = (port: number, log: string[]) => Options;

interface Case {
  readonly options: Make;
  readonly request?: string;
  readonly before?: RequestHandler;
  /** Where nothing listens. */
  readonly dead?: boolean;
}

/** Redirects back to itself, sets cookies, and names its own origin. */
const backendAnswer: Script = (socket, request, index) => {
  const location = `Location: http://127.0.0.1:${socket.localPort}/there\r\n`;
  const cookie = 'Set-Cookie: a=1; Domain=old.example; Path=/old\r\nX-MiXed: c\r\n';
  const status = request.target === '/there' ? '200 OK' : '302 Found';
  answer(`HTTP/1.1 ${status}\r\n${location}${cookie}Content-Length: 5\r\n\r\nhello`)(socket, request, index);
};

async function run({ options, request = GET, before, dead }: Case, plugins: Plugin[]) {
  const backend = cleanup.add(await RecorderBackend.start(backendAnswer));
  const port = dead ? await closedPort() : backend.port;
  const log: string[] = [];
  const made = options(port, log);
  const app = express();
  if (before !== undefined) app.use(before);
  const base: Options = { target: `http://127.0.0.1:${port}`, ...made };
  app.use(createProxyMiddleware({ ...base, plugins: [...(made.plugins ?? []), ...plugins] }) as RequestHandler);
  const gateway = cleanup.add(await listen(app));
  const response = await rawRequest(gateway.port, request);
  const plain = (text: string) => text.replaceAll(String(port), 'PORT').replaceAll(String(gateway.port), 'GATEWAY');
  const sorted = (fields: readonly (readonly [string, string])[]) =>
    fields
      .filter(([name]) => !['connection', 'keep-alive', 'date', 'x-powered-by'].includes(name))
      .map(([name, value]) => plain(`${name}: ${value}`))
      .sort();
  return {
    status: response.status,
    fields: sorted(response.fields),
    content: plain(response.content.toString()),
    requests: backend.requests.map(({ line, fields }) => [plain(line), ...sorted(fields)]),
    log,
  };
}

const plain = (options: Options): Case => ({ options: () => options });
const logging = (event: string): Case => ({
  options: (_port, log) => ({ on: { [event]: () => void log.push(event) } }) as Options,
});

const CASES: Readonly<Record<string, Case>> = {
  target: { options: (port) => ({ target: `http://127.0.0.1:${port}/base?k=v` }) },
  pathFilter: plain({ pathFilter: '/other' }),
  pathRewrite: plain({ pathRewrite: { '^/api': '/v2' } }),
  router: {
    options: (port) => ({ target: 'http://nowhere.invalid', router: () => `http://127.0.0.1:${port}/routed` }),
  },
  plugins: {
    options: (_port, log) => ({ plugins: [(server) => void server.on('proxyRes', () => log.push('plugin'))] }),
  },
  ejectPlugins: plain({ ejectPlugins: true, on: { error: () => {} } }),
  logger: {
    options: (_port, log) => ({ logger: { info() {}, warn() {}, error: () => void log.push('error') } }),
    dead: true,
  },
  changeOrigin: plain({ changeOrigin: true }),
  headers: plain({ headers: { 'x-a': '2', 'x-new': 'n' } }),
  xfwd: plain({ xfwd: true }),
  ignorePath: plain({ ignorePath: true }),
  prependPath: { options: (port) => ({ target: `http://127.0.0.1:${port}/base`, prependPath: false }) },
  proxyTimeout: plain({ proxyTimeout: 5_000 }),
  followRedirects: plain({ followRedirects: true }),
  selfHandleResponse: plain({
    selfHandleResponse: true,
    on: { proxyRes: responseInterceptor(async (buffer) => `${buffer.toString()} intercepted`) },
  }),
  forward: { options: (port) => ({ forward: `http://127.0.0.1:${port}` }) },
  agent: plain({ agent: new Agent() }),
  ssl: plain({ ssl: { rejectUnauthorized: false } }),
  secure: plain({ secure: false }),
  localAddress: plain({ localAddress: '127.0.0.1' }),
  timeout: plain({ timeout: 5_000 }),
  auth: plain({ auth: 'u:p' }),
  toProxy: plain({ toProxy: true }),
  hostRewrite: plain({ hostRewrite: 'new.example' }),
  autoRewrite: plain({ autoRewrite: true }),
  protocolRewrite: plain({ protocolRewrite: 'https' }),
  cookieDomainRewrite: plain({ cookieDomainRewrite: { 'old.example': 'new.example' } }),
  cookiePathRewrite: plain({ cookiePathRewrite: '/new' }),
  preserveHeaderKeyCase: plain({ preserveHeaderKeyCase: true }),
  'on.error': {
    options: (_port, log) => ({
      on: {
        error: (error, _req, res) => {
          log.push((error as NodeJS.ErrnoException).code ?? '');
          if ('writeHead' in res) res.writeHead(502).end('mine');
        },
      },
    }),
    dead: true,
  },
  'on.proxyReq': {
    options: () => ({ on: { proxyReq: fixRequestBody } }),
    request: JSON_POST.replace('\r\n\r\n', '\r\n\r\n{"a":1}'),
    before: express.json(),
  },
  'on.proxyRes': logging('proxyRes'),
  'on.start': logging('start'),
  'on.end': logging('end'),
  'on.econnreset': logging('econnreset'),
};

describe('the options of http-proxy-middleware work alike with and without undiciTransport()', () => {
  test.each(Object.keys(CASES))('%s', async (name) => {
    const it = CASES[name] as Case;
    expect(await run(it, [undiciTransport()])).toEqual(await run(it, []));
  });
});

describe('undiciTransport() leaves a request to the native transport', () => {
  const OPTIONS: readonly object[] = [
    { selfHandleResponse: true },
    { followRedirects: true },
    { forward: 'http://127.0.0.1:1' },
    { buffer: {} },
    { ssl: {} },
    { localAddress: '127.0.0.1' },
    { timeout: 5_000 },
    { auth: 'u:p' },
    { toProxy: true },
    { hostRewrite: 'a' },
    { autoRewrite: true },
    { protocolRewrite: 'https' },
    { cookieDomainRewrite: 'a' },
    { cookiePathRewrite: '/' },
    { preserveHeaderKeyCase: true },
    { method: 'PUT' },
    { ca: 'x' },
    { secure: false },
    { agent: new Agent() },
  ];

  async function isNative(options: object, before?: RequestHandler): Promise<boolean> {
    const native: Plugin = (proxyServer) => {
      proxyServer.web = async (_req, res) => void res.end('native');
    };
    const { content } = await run({ options: () => options, ...(before && { before }) }, [native, undiciTransport()]);
    return content === 'native';
  }

  test.each(OPTIONS.map((options) => [Object.keys(options)[0], options]))(
    'with the option %s',
    async (_name, options) => {
      expect(await isNative(options as object)).toBe(true);
    },
  );

  test('over HTTP/2, and no other', async () => {
    const overHttp2: RequestHandler = (req, _res, next) => {
      req.httpVersionMajor = 2;
      next();
    };
    expect([await isNative({}), await isNative({}, overHttp2)]).toEqual([false, true]);
  });
});

describe('docs/http-proxy-middleware.md', () => {
  const here = dirname(fileURLToPath(import.meta.url));
  const [, table = ''] = readFileSync(join(here, '../../docs/http-proxy-middleware.md'), 'utf8').split(
    '## Option by option',
  );
  const listed = [...table.matchAll(/^\| `([\w.]+)` \| (\w+)/gm)].map(([, name]) => name as string);

  /** The members of an interface, as a declaration file writes them. */
  function members(text: string, name: string): string[] {
    const start = text.search(new RegExp(`interface ${name}\\b`));
    const body = text.slice(text.indexOf('{\n', start), text.indexOf('\n}', start));
    return [...body.matchAll(/^(?:\t| {2,4})(\w+)\?:/gm)].map(([, member]) => member as string);
  }

  const require = createRequire(import.meta.url);
  const hpm = join(here, '../../node_modules/http-proxy-middleware/dist/types.d.ts');
  const httpxy = require.resolve('httpxy', { paths: [dirname(hpm)] }).replace(/index\.\w+$/, 'index.d.mts');

  test('lists every option and event of http-proxy-middleware, each once', () => {
    const own = readFileSync(hpm, 'utf8');
    const options = [...members(own, 'Options'), ...members(readFileSync(httpxy, 'utf8'), 'ProxyServerOptions')];
    const events = members(own, 'OnProxyEvent').map((event) => `on.${event}`);
    expect(options.length).toBeGreaterThan(25);
    expect(events.length).toBeGreaterThan(7);
    const all = [...options.filter((option) => option !== 'on'), ...events];
    expect([...listed].sort()).toEqual(all.sort());
  });

  test('every option that concerns requests is compared', () => {
    const elsewhere = ['buffer', 'http2', 'ws', 'upgradeTimeout', 'on.proxyReqWs', 'on.open', 'on.close'];
    expect(listed.filter((name) => CASES[name] === undefined).sort()).toEqual(elsewhere.sort());
  });
});
