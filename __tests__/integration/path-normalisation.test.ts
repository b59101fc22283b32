import { createServer } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import express from 'express';
import { GatewayEvents, hardenServer, ipRateLimit, requestGuard, roundRobinProxy, upgradeHandler } from 'expressway';
import fc from 'fast-check';
import { EXPRESS_VERSIONS } from '../support/express-versions.ts';
import { Cleanup } from '../support/gateway.ts';
import { RawClient, rawRequest } from '../support/raw-client.ts';
import { RecorderBackend } from '../support/recorder-backend.ts';
import { listen } from '../support/servers.ts';

const get = (target: string, fields = '') => `GET ${target} HTTP/1.1\r\nHost: gw.example\r\n${fields}\r\n`;

/** Tells in its answer which target it has got. */
const echo: RecorderBackend['script'] = (connection, { target }) => {
  connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${target.length}\r\n\r\n${target}`);
};

/** The path that Express matches, without what it is mounted at; and the name of a mount that a request came through. */
const tellRoute =
  (name: string): express.RequestHandler =>
  (req, res, next) => {
    res.append('X-Mount', name).set('X-Path', Buffer.from(req.path).toString('hex'));
    next();
  };

async function start(create: typeof express, cleanup: Cleanup, mergeSlashes = true): Promise<number> {
  const backend = cleanup.add(await RecorderBackend.start(echo));
  const proxy = cleanup.add(roundRobinProxy({ backends: [backend.url] }));
  const limiter = cleanup.add(ipRateLimit({ limit: 1, windowMs: 3_600_000 }));
  const app = create();
  app.use(requestGuard({ mergeSlashes }));
  app.use('/admin', (_req, res) => void res.status(403).end());
  app.use('/login', limiter as never);
  app.use(tellRoute('root'));
  app.use('/tenants/:tenant', tellRoute('tenant'), proxy as never);
  app.use(proxy as never);
  const { port, server } = cleanup.add(await listen(app, hardenServer(createServer(app))));
  server.on('upgrade', upgradeHandler(app));
  return port;
}

async function ask(port: number, target: string) {
  const response = await rawRequest(port, get(target));
  const path = response.field('x-path');
  return {
    status: response.status,
    mounts: response.all('x-mount').join(),
    routed: path === undefined ? undefined : Buffer.from(path, 'hex').toString(),
    forwarded: response.content.toString(),
  };
}

const UNRESERVED = [...'abYZ019-._~'];
const RESERVED = [..."!$&'()*+,;=:@"];
const hex = (character: string) => `%${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
/** A character of a path in its normal form, and as somebody may write it as well. */
const character = fc.oneof(
  fc.record({ normal: fc.constantFrom(...UNRESERVED), spelling: fc.constantFrom('as it is', 'encoded', 'ENCODED') }),
  fc.record({ normal: fc.constantFrom(...RESERVED), spelling: fc.constant('as it is') }),
  fc.record({
    normal: fc.constantFrom('%C3%A9', ...[...RESERVED, ...' "<>^`{|}[]?#%'].map((one) => hex(one).toUpperCase())),
    spelling: fc.constantFrom('as it is', 'in small letters'),
  }),
);
const segment = fc
  .array(character, { minLength: 1, maxLength: 5 })
  .filter((characters) => !/^\.{1,2}(?:;|$)/.test(characters.map(({ normal }) => normal).join('')));
const word = (text: string) =>
  fc.tuple(
    ...[...text].map((normal) =>
      fc.record({ normal: fc.constant(normal), spelling: fc.constantFrom('as it is', 'encoded', 'ENCODED') }),
    ),
  );
const paths = fc.record({
  segments: fc.array(fc.oneof(segment, word('admin'), word('tenants')), { minLength: 1, maxLength: 4 }),
  slashes: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 4, maxLength: 4 }),
  query: fc.constantFrom('', '?', '?a=%zz//%2e%2F..', '?//admin'),
  authority: fc.constantFrom('', 'http://gw.example', 'HTTP://gw.example:80'),
});

function spelled({ normal, spelling }: { normal: string; spelling: string }): string {
  if (spelling === 'encoded') return hex(normal);
  if (spelling === 'ENCODED') return hex(normal).toUpperCase();
  return spelling === 'in small letters' ? normal.toLowerCase() : normal;
}

describe.each(EXPRESS_VERSIONS)('behind requestGuard() in %s', (_name, create) => {
  const cleanup = new Cleanup();
  let port = 0;
  beforeAll(async () => {
    port = await start(create, cleanup);
  });
  afterAll(() => cleanup.run());

  test.each([
    '/admin',
    '/%61dmin',
    '/a%64min/x',
    '/%61%64%6D%69%6e?x',
    '//admin',
    '///admin//x',
    'http://gw.example/%61dmin',
    'http://gw.example//admin',
    'HTTP://gw.example:80/admin',
  ])('a rule for /admin applies to %s', async (target) => {
    expect((await ask(port, target)).status).toBe(403);
    const upgrade = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n';
    expect((await rawRequest(port, get(target, upgrade))).status).toBe(403);
  });

  test('all spellings of /login share one rate limit', async () => {
    const statuses: number[] = [];
    for (const target of ['/login', '/l%6fgin', '//login', '/%6C%6f%67in?x', 'http://gw.example/logi%6E'])
      statuses.push((await ask(port, target)).status);
    expect(statuses).toEqual([200, 429, 429, 429, 429]);
  });

  test('the backend gets the path that Express matches, and each spelling of a path reaches the same route', async () => {
    await fc.assert(
      fc.asyncProperty(paths, async ({ segments, slashes, query, authority }) => {
        const path = (as: (one: { normal: string; spelling: string }) => string, slash: (index: number) => string) =>
          segments.map((one, index) => slash(index) + one.map(as).join('')).join('');
        const normal = path(
          (one) => one.normal,
          () => '/',
        );
        const other = path(spelled, (index) => '/'.repeat(slashes[index] as number));
        const one = await ask(port, normal + query);
        // In absolute form Express itself encodes an apostrophe, and so does the guard then.
        const two = await ask(port, authority + other + query);
        const same = (text: string | undefined) => text?.replaceAll("'", '%27');
        expect([two.status, two.mounts, same(two.routed), same(two.forwarded)]).toEqual([
          one.status,
          one.mounts,
          same(one.routed),
          same(one.forwarded),
        ]);
        for (const { status, routed, forwarded } of [one, two]) {
          if (status === 200) expect(forwarded).toBe(`${routed}${query}`);
        }
        if (one.mounts === 'root') expect(one.forwarded).toBe(normal + query);
        if (segments[0]?.map(({ normal }) => normal).join('') === 'admin') expect(one.status).toBe(403);
      }),
      { numRuns: 150 },
    );
  });

  test.each([
    ['http://gw.example/tenants/a"b\'c/secret', '/secret'],
    ['http://gw.example/tenants/{|}/s|t', '/s%7Ct'],
    ['http://gw.example/tenants/a%2fb/c', '/c'],
    ['/tenants/{|}/s|t', '/s|t'],
  ])('a mount removes the matched path from %s', async (target, rest) => {
    expect(await ask(port, target)).toEqual({
      status: 200,
      mounts: 'root,tenant',
      routed: rest,
      forwarded: rest,
    });
  });
});

describe('requestGuard()', () => {
  const cleanup = new Cleanup();
  afterAll(() => cleanup.run());

  test('keeps empty segments with mergeSlashes: false, and normalises everything else', async () => {
    const port = await start(express, cleanup, false);
    expect((await ask(port, '//a//%62%2f?//')).forwarded).toBe('//a//b%2F?//');
    expect((await ask(port, '/%61dmin')).status).toBe(403);
  });

  test('normalises originalUrl as well', async () => {
    const app = express();
    app.use('/api', requestGuard(), (req, res) => void res.json([req.url, req.originalUrl]));
    const { port } = cleanup.add(await listen(app));
    expect(JSON.parse((await rawRequest(port, get('/api//%61?%61'))).content.toString())).toEqual([
      '/a?%61',
      '/api/a?%61',
    ]);
  });
});

/** All that Node's parser lets pass, and Express finds no path in, or another path than is there. */
const UNROUTABLE = [
  'http://',
  'https://',
  'HTTP://',
  'http://?x',
  'https://?',
  'http://:80',
  'http://@',
  'http://a@',
  'http://[',
  'http://%61/x',
  'http://:80/x',
  'http:///x',
  'ftp://',
  'ws://',
  'ftp://a/x',
  'file:///x',
  'http://a:0/',
  'http://a:65536/',
  'https://a:99999',
];

test.each(UNROUTABLE)(
  'hardenServer() rejects %s with 400 before the app, with the reason, and ignores what follows',
  async (target) => {
    const cleanup = new Cleanup();
    try {
      const told: unknown[] = [];
      const seen: string[] = [];
      const events = new GatewayEvents();
      events.on('clientRefused', ({ cause, detail, address }) => told.push({ cause, detail, address }));
      const app = express();
      app.use(requestGuard(), (req, res) => void res.end(seen.push(req.url)));
      const { port, server } = cleanup.add(
        await listen(app, hardenServer(createServer(), { events }).on('request', app)),
      );
      server.on('upgrade', upgradeHandler(app));
      for (const fields of ['', 'Expect: 100-continue\r\n', 'Connection: upgrade\r\nUpgrade: websocket\r\n']) {
        const client = cleanup.add(await RawClient.connect(port));
        client.send(get(target, fields) + get('/smuggled'));
        const { status, content } = await client.response();
        expect([status, JSON.parse(content.toString()).detail]).toEqual([
          400,
          expect.stringContaining('request target'),
        ]);
        client.socket.end();
        await client.closed();
        expect(client.pending.length).toBe(0);
      }
      const fact = { cause: 'bad_request', detail: expect.stringContaining('request target'), address: '127.0.0.1' };
      expect(told).toEqual([fact, fact, fact]);
      expect(seen).toEqual([]);
    } finally {
      await cleanup.run();
    }
  },
);
