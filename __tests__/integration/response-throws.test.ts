import type { EventEmitter } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import express from 'express';
import {
  accessLog,
  circuitBreaker,
  hardenServer,
  ipRateLimit,
  observability,
  type RoundRobinProxyOptions,
  roundRobinProxy,
  serviceRouter,
  undiciTransport,
} from 'expressway';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { Cleanup } from '../support/gateway.ts';
import { afterRead } from '../support/pause.ts';
import { RawClient } from '../support/raw-client.ts';
import { type RecordedRequest, RecorderBackend } from '../support/recorder-backend.ts';
import { closedPort, eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
let warned: jest.SpiedFunction<typeof process.emitWarning>;
beforeEach(() => {
  hasThrown = false;
  warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
});
afterEach(async () => {
  await cleanup.run();
  warned.mockRestore();
});

let hasThrown = false;
const boom = () => {
  hasThrown = true;
  throw new Error('thrown by the app');
};

type Plant = (req: IncomingMessage, res: ServerResponse) => void;

const method =
  (name: string): Plant =>
  (_req, res) =>
    Object.assign(res, { [name]: boom });

/** As the package on-headers does it: the listener is called once, before the head goes out. */
const onHeaders: Plant = (_req, res) => {
  const { writeHead } = res;
  let hasFired = false;
  res.writeHead = function (this: ServerResponse, ...args: unknown[]) {
    if (!hasFired) {
      hasFired = true;
      boom();
    }
    return (writeHead as (...all: unknown[]) => ServerResponse).apply(this, args);
  } as never;
};

/** The second part of a body, when the head is out. */
const secondWrite: Plant = (_req, res) => {
  const { write } = res;
  let count = 0;
  res.write = function (this: ServerResponse, ...args: unknown[]) {
    count += 1;
    if (count > 1) boom();
    return (write as (...all: unknown[]) => boolean).apply(this, args);
  } as never;
};

const listener =
  (of: 'req' | 'res', name: string): Plant =>
  (req, res) =>
    void (of === 'req' ? (req as EventEmitter) : (res as EventEmitter)).on(name, boom);

/** How the backend answers each path. */
function answer(socket: import('node:net').Socket, { target }: RecordedRequest): void {
  switch (target) {
    case '/small':
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      break;
    case '/empty':
      socket.write('HTTP/1.1 204 No Content\r\n\r\n');
      break;
    case '/events':
      socket.write(
        'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n',
      );
      afterRead(() => socket.write('2\r\nok\r\n0\r\n\r\n'));
      break;
    case '/stream':
      socket.write(
        'HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nSet-Cookie: a=1\r\nTransfer-Encoding: chunked\r\n\r\n',
      );
      afterRead(() => {
        socket.write('2\r\nok\r\n');
        afterRead(() => socket.write('2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n'));
      });
      break;
    case '/open':
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n');
      break;
    case '/large':
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n');
      socket.write(Buffer.alloc(9_000_000));
      break;
    case '/hints':
      socket.write('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      break;
    case '/reset':
      socket.resetAndDestroy();
      break;
    case '/invalid':
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok');
      break;
    default:
  }
}

type Moment = readonly [path: string, plant: Plant];

/** Moments of an exchange at which code of the app runs, and the response that takes it there. */
const MOMENTS: Readonly<Record<string, Moment>> = {
  'the headers are set': ['/small', method('setHeader')],
  'a header is added': ['/stream', method('appendHeader')],
  'on-headers, a small response': ['/small', onHeaders],
  'on-headers, a response without a body': ['/empty', onHeaders],
  'on-headers, a streamed response': ['/stream', onHeaders],
  'on-headers, an event stream': ['/events', onHeaders],
  'on-headers, a large response': ['/large', onHeaders],
  'writeHead(), each time': ['/small', method('writeHead')],
  'writeHead(), each time, of a streamed response': ['/stream', method('writeHead')],
  'writeHead(), each time, when the backend fails': ['/reset', method('writeHead')],
  'writeHead(), each time, when the backend is silent': ['/silent', method('writeHead')],
  'flushHeaders()': ['/stream', method('flushHeaders')],
  'write(), of the first part': ['/stream', method('write')],
  'write(), of the second part': ['/stream', secondWrite],
  'end(), of a small response': ['/small', method('end')],
  'end(), of a streamed response': ['/stream', method('end')],
  'end(), when the backend fails': ['/reset', method('end')],
  'end(), when the backend is silent': ['/silent', method('end')],
  'setHeader(), when the backend sent no valid response': ['/invalid', method('setHeader')],
  'setHeader(), when the backend is silent': ['/silent', method('setHeader')],
  'addTrailers()': ['/stream', method('addTrailers')],
  'flush(), as of compression()': ['/open', method('flush')],
  'an informational response is written': [
    '/hints',
    (_req, res) => Object.assign(res, { writeInformation: boom, _writeRaw: boom }),
  ],
  'a listener of finish': ['/small', listener('res', 'finish')],
  'a listener of close': ['/small', listener('res', 'close')],
  'a listener of prefinish': ['/stream', listener('res', 'prefinish')],
  'a listener of drain': ['/large', listener('res', 'drain')],
  'a listener of the end of the request': ['/small', listener('req', 'end')],
  'a listener of close of the request': ['/small', listener('req', 'close')],
};

type Transport = 'roundRobinProxy()' | 'undiciTransport()';

async function open(transport: Transport, plant: Plant, options: Partial<RoundRobinProxyOptions> = {}) {
  const backend = cleanup.add(await RecorderBackend.start(answer));
  const proxy = cleanup.add(
    roundRobinProxy({
      backends: [backend.url],
      maxInFlight: 1,
      responseTimeoutMs: 200,
      idleTimeoutMs: 2_000,
      retry: { attempts: 0 },
      ...options,
    }),
  );
  const app = express();
  app.use((req, res, next) => {
    if (req.headers['x-plant'] !== undefined) plant(req, res);
    next();
  });
  app.use(
    transport === 'roundRobinProxy()'
      ? proxy
      : createProxyMiddleware({ target: backend.url, proxyTimeout: 200, plugins: [undiciTransport()] }),
  );
  app.use((_error: unknown, _req: unknown, res: express.Response, _next: unknown) => {
    res.status(500).type('text').end('broken');
  });
  const { port } = cleanup.add(await listen(app));
  return { port, proxy, backend };
}

const requestFor = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n${more}\r\n`;

/** What the client got: a whole response, or a connection that was cut. */
async function got(port: number, path: string): Promise<'whole' | 'cut' | number> {
  const client = cleanup.add(await RawClient.connect(port));
  client.send(requestFor(path, 'X-Plant: 1\r\n'));
  try {
    let response = await client.response();
    if (response.status === 103) response = await client.response();
    if (!response.framingComplete) return 'cut';
    return response.status < 300 ? 'whole' : response.status;
  } catch {
    return 'cut';
  }
}

const codes = () => new Set(warned.mock.calls.map(([, options]) => (options as { code?: string } | undefined)?.code));

/** Nothing is held any more, the backend is not blamed, and the next client gets its response. */
async function expectUnharmed(
  port: number,
  proxy: { status(): readonly { inFlight: number; circuit: string }[]; load(): { inFlight: number } },
) {
  await eventually('everything is released', () => proxy.load().inFlight === 0 && proxy.status()[0]?.inFlight === 0);
  expect(proxy.status()[0]?.circuit).toBe('closed');
  const client = cleanup.add(await RawClient.connect(port));
  client.send(requestFor('/small'));
  expect((await client.response()).status).toBe(200);
}

describe.each(['roundRobinProxy()', 'undiciTransport()'] as const)('%s: when code of the app throws', (transport) => {
  test.each(Object.keys(MOMENTS))(
    '%s: one response is lost, a warning is emitted, and the next request is served',
    async (name) => {
      const [path, plant] = MOMENTS[name] as Moment;
      const { port, proxy } = await open(transport, plant, { circuit: { consecutiveFailures: 2 } });
      for (let n = 0; n < 3; n += 1) {
        const result = await got(port, path);
        const isFailure = path === '/reset' || path === '/silent' || path === '/invalid';
        // After the response was complete, a listener can harm it no more; where nothing was sent yet, a whole 500 is possible.
        const allowed = /^(?:a listener of (?:finish|close|prefinish|the end|close of))/.test(name)
          ? ['whole', 'cut']
          : ['cut', 500];
        if (name.startsWith('an informational')) allowed.push(502);
        if (!(transport === 'undiciTransport()' && isFailure)) expect(allowed).toContain(result);
        if (isFailure) break;
      }
      // http-proxy-middleware answers for a backend that fails, and has no need of some methods.
      if (transport === 'roundRobinProxy()') expect(hasThrown).toBe(true);
      if (hasThrown) expect(codes()).toContain('WARN_EXPRESSWAY_LISTENER');
      await expectUnharmed(port, proxy);
    },
  );
});

describe('when code of the app throws beside roundRobinProxy()', () => {
  const OK = { finished: () => {} };

  test.each(['started', 'attempt', 'limiterDecided', 'finished'])(
    '%s() of a metrics sink: the response is complete, and other sinks are called',
    async (name) => {
      const backend = cleanup.add(await RecorderBackend.start(answer));
      const app = express();
      let told = 0;
      const tell = () => {
        told += 1;
      };
      const other = { ...OK, [name]: tell };
      app.use(observability({ metrics: { ...OK, [name]: boom } as never, accessLog: other }));
      app.use(cleanup.add(ipRateLimit({ limit: 100 })));
      const proxy = cleanup.add(roundRobinProxy({ backends: [backend.url] }));
      app.use(proxy);
      const { port } = cleanup.add(await listen(app));
      expect(await got(port, '/small')).toBe('whole');
      await eventually('the other sink is told', () => told === 1);
      expect(codes()).toContain('WARN_EXPRESSWAY_LISTENER');
      // A client that leaves in the middle.
      const client = cleanup.add(await RawClient.connect(port));
      client.send(requestFor('/events'));
      await client.until((bytes) => bytes.includes('ok'));
      client.close();
      await eventually('the other sink is told', () => told === 2);
      await expectUnharmed(port, proxy);
    },
  );

  test('the stream of the access log: only log lines are lost', async () => {
    const backend = cleanup.add(await RecorderBackend.start(answer));
    const proxy = cleanup.add(roundRobinProxy({ backends: [backend.url] }));
    const app = express();
    app.use(observability({ accessLog: accessLog({ to: { write: boom } }) }), proxy);
    const { port } = cleanup.add(await listen(app));
    expect(await got(port, '/small')).toBe('whole');
    await eventually('a warning', () => codes().has('WARN_EXPRESSWAY_LISTENER'));
    await expectUnharmed(port, proxy);
  });

  /** A timer or the connection itself ends the request. Outside of any call of the app, an error would end the process. */
  const ENDINGS: Readonly<Record<string, readonly [before: (url: string) => express.RequestHandler, body: string]>> = {
    'timeoutMs of circuitBreaker()': [() => circuitBreaker({ timeoutMs: 50 }), ''],
    'requestTimeoutMs of a route': [(url) => router(url), ''],
    'a body that is malformed': [() => pass, 'zz\r\n'],
    'a body that comes too slowly': [() => pass, '1\r\na\r\n'],
    'too many chunk extensions': [() => pass, `1;${'a'.repeat(9_000)}\r\na\r\n`.repeat(3)],
  };
  const pass: express.RequestHandler = (_req, _res, next) => next();
  const router = (url: string) =>
    cleanup.add(
      serviceRouter({ services: { a: { backends: [url] } }, routes: [{ service: 'a', requestTimeoutMs: 50 }] }),
    );

  test.each(
    Object.keys(ENDINGS).flatMap((name) =>
      (['/proxy', '/handler'] as const).flatMap((path) =>
        Object.entries({ onHeaders, writeHead: method('writeHead'), setHeader: method('setHeader') }).map(
          ([how, plant]) => [name, path, how, plant] as const,
        ),
      ),
    ),
  )('in the response to %s, %s (%s): the connection is cut', async (name, path, _how, plant) => {
    const [before, body] = ENDINGS[name] as (typeof ENDINGS)[string];
    const backend = cleanup.add(await RecorderBackend.start(answer));
    const app = express();
    const ending = before(backend.url);
    // The next request has all the time that it needs on a busy machine.
    app.use((req, res, next) => {
      if (req.headers['x-plant'] === undefined) return next();
      plant(req, res);
      return ending(req, res, next);
    });
    app.use('/handler', (req) => void req.resume());
    app.use(cleanup.add(roundRobinProxy({ backends: [backend.url] })));
    const bounds = { minReceiveBytesPerSecond: 1_000, receiveGraceMs: 20, checkIntervalMs: 10 };
    const { port } = cleanup.add(await listen(app, hardenServer(createServer(app), bounds)));
    const client = cleanup.add(await RawClient.connect(port));
    client.send(`POST ${path} HTTP/1.1\r\nHost: a\r\nX-Plant: 1\r\nTransfer-Encoding: chunked\r\n\r\n${body}`);
    await client.closed();
    expect(client.pending.length).toBe(0);
    expect(codes()).toContain('WARN_EXPRESSWAY_LISTENER');
    const next = cleanup.add(await RawClient.connect(port));
    next.send(requestFor('/small'));
    expect((await next.response()).status).toBe(200);
  });

  test.each<[string, Partial<RoundRobinProxyOptions>]>([
    ['the time in the queue is over', { maxInFlight: 0, maxRequests: 1, queue: { size: 5, timeoutMs: 30 } }],
    ['too many requests are in progress', {}],
  ])('when %s', async (_name, options) => {
    const { port, proxy } = await open('roundRobinProxy()', method('end'), options);
    const first = cleanup.add(await RawClient.connect(port));
    first.send(requestFor('/silent'));
    await eventually('the place is taken', () => proxy.status()[0]?.inFlight === 1);
    expect(['cut', 500]).toContain(await got(port, '/small'));
    expect((await first.response()).status).toBe(504);
    await expectUnharmed(port, proxy);
  });

  test('when the response is complete: its connection stays open, and emit() of another library stays in place', async () => {
    const seen: unknown[] = [];
    const { port, proxy } = await open('roundRobinProxy()', (_req, res) => {
      const { emit } = res;
      res.emit = function (this: ServerResponse, ...args: Parameters<typeof emit>) {
        seen.push(args[0]);
        return Reflect.apply(emit, this, args);
      } as typeof emit;
      res.on('finish', boom);
    });
    const client = cleanup.add(await RawClient.connect(port));
    client.send(requestFor('/small', 'X-Plant: 1\r\n'));
    expect((await client.response()).status).toBe(200);
    await eventually('it has thrown', () => hasThrown);
    client.send(requestFor('/small'));
    expect((await client.response()).status).toBe(200);
    expect(seen).toContain('finish');
    expect(String(warned.mock.calls[0]?.[0])).toContain('A listener of "finish" on a request or response threw');
    await expectUnharmed(port, proxy);
  });

  test('after some headers of the backend are set: none of them is in the response of the app', async () => {
    const { port, backend } = await open('roundRobinProxy()', (_req, res) => {
      const { setHeader } = res;
      res.setHeader = function (this: ServerResponse, ...args: Parameters<typeof setHeader>) {
        if (args[0].toLowerCase() === 'x-b') boom();
        return Reflect.apply(setHeader, this, args);
      } as typeof setHeader;
    });
    backend.script = (socket) => socket.write('HTTP/1.1 200 OK\r\nX-A: 1\r\nX-B: 1\r\nContent-Length: 2\r\n\r\nok');
    const client = cleanup.add(await RawClient.connect(port));
    client.send(requestFor('/', 'X-Plant: 1\r\n'));
    const response = await client.response();
    expect([response.status, response.field('x-a'), response.content.toString()]).toEqual([500, undefined, 'broken']);
  });

  test('for each request: there is one warning for each server', async () => {
    for (let server = 1; server <= 2; server += 1) {
      const { port } = await open('roundRobinProxy()', onHeaders);
      for (let request = 0; request < 3; request += 1) expect(await got(port, '/large')).not.toBe('whole');
      const given = warned.mock.calls.filter((call) => JSON.stringify(call).includes('WARN_EXPRESSWAY_LISTENER'));
      expect(given).toHaveLength(server);
    }
  });

  test('after all retries have failed', async () => {
    const backends = [await closedPort(), await closedPort()].map((port) => `http://127.0.0.1:${port}`);
    const { port, proxy } = await open('roundRobinProxy()', method('writeHead'), { backends, retry: { attempts: 2 } });
    expect(await got(port, '/small')).toBe('cut');
    await eventually('everything is released', () => proxy.load().inFlight === 0);
    expect(proxy.status().map(({ inFlight }) => inFlight)).toEqual([0, 0]);
    expect(codes()).toContain('WARN_EXPRESSWAY_LISTENER');
  });
});
