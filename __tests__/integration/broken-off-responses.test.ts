import { once } from 'node:events';
import { get, request } from 'node:https';
import { PassThrough, pipeline, Readable } from 'node:stream';
import { afterEach, describe, expect, test } from '@jest/globals';
import type { NextFunction, Request, Response } from 'express';
import { accessLog, circuitBreaker, gracefulShutdown, hardenServer, observability, roundRobinProxy } from 'expressway';
import { certificate } from '../support/certificate.ts';
import { EXPRESS_VERSIONS } from '../support/express-versions.ts';
import { Cleanup } from '../support/gateway.ts';
import { http2ServerOf } from '../support/http2.ts';
import { PROTOCOLS, WITH_TLS } from '../support/protocols.ts';
import { RecorderBackend } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';

type Handler = (req: Request, res: Response, next: NextFunction) => unknown;
type Create = (typeof EXPRESS_VERSIONS)[number][1];

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const [[, express5]] = EXPRESS_VERSIONS as [(typeof EXPRESS_VERSIONS)[number]];
const [HTTP_1] = PROTOCOLS as [(typeof PROTOCOLS)[number]];

const { serverOf: http1, connect } = HTTP_1;
const SERVERS = [...WITH_TLS, { ...HTTP_1, name: 'HTTP/1.1 with bounds', serverOf: HTTP_1.hardened({}) }];

/** An app whose circuit opens on the first failure. */
async function guarded(handler: Handler, create: Create = express5, serverOf = http1) {
  const log: { status: number; cause: string | undefined }[] = [];
  const to = { write: (line: string) => log.push(JSON.parse(line)) > 0 };
  const breaker = circuitBreaker({ minimumRequests: 1 });
  const responses: Response[] = [];
  const app = create();
  // It would print the errors.
  app.set('env', 'test');
  app.use(observability({ accessLog: accessLog({ to }) }), breaker, (req, res, next) => {
    responses.push(res as Response);
    return handler(req as Request, res as Response, next);
  });
  const running = cleanup.add(await listen(app, serverOf(app)));
  const ended = async () => {
    await eventually('the request is over', () => log.length > 0);
    const [{ status, cause } = {}] = log;
    return { status, cause, circuit: breaker.state };
  };
  return { ...running, ended, responses, log };
}

const FAILED = { status: 500, cause: 'handler_error', circuit: 'open' };
const LEFT = { status: 499, cause: 'client_abort', circuit: 'closed' };

/** The error of a hand-written proxy whose own backend broke off. */
const RESET = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET', errno: -104, syscall: 'read' });

const source = (error: Error) => {
  const from = new Readable({ read() {} });
  from.push('a');
  setImmediate(() => setImmediate(() => from.destroy(error)));
  return from;
};
const begin = (res: Response, type = 'text/plain') => {
  res.setHeader('content-type', type);
  res.write('a');
};

const BREAKS: readonly (readonly [title: string, head: string, Handler])[] = [
  ['pipeline()', 'GET / HTTP/1.1', (_req, res) => void pipeline(source(new Error('gone')), res, () => {})],
  ['pipeline(), ECONNRESET', 'GET / HTTP/1.1', (_req, res) => void pipeline(source(RESET), res, () => {})],
  ['pipeline(), HTTP/1.0', 'GET / HTTP/1.0', (_req, res) => void pipeline(source(RESET), res, () => {})],
  [
    'pipeline() with a length',
    'GET / HTTP/1.1',
    (_req, res) => {
      res.setHeader('content-length', 9);
      pipeline(source(new Error('gone')), res, () => {});
    },
  ],
  [
    'pipeline() of an event stream',
    'GET / HTTP/1.1',
    (_req, res) => {
      res.setHeader('content-type', 'text/event-stream');
      pipeline(source(new Error('gone')), res, () => {});
    },
  ],
  ['destroy(error) before the head', 'GET / HTTP/1.1', (_req, res) => void res.destroy(new Error('gone'))],
  ['destroy() before the head', 'GET / HTTP/1.1', (_req, res) => void res.destroy()],
  [
    'destroy() later',
    'GET / HTTP/1.1',
    (_req, res) => {
      begin(res);
      setImmediate(() => res.destroy());
    },
  ],
  [
    'destroy(error) at once',
    'GET / HTTP/1.1',
    (_req, res) => {
      begin(res);
      res.destroy(RESET);
    },
  ],
  [
    'destroy() of HEAD',
    'HEAD / HTTP/1.1',
    (_req, res) => {
      res.flushHeaders();
      setImmediate(() => res.destroy(new Error('gone')));
    },
  ],
  [
    'destroy() of the request',
    'GET / HTTP/1.1',
    (req, res) => {
      begin(res);
      req.destroy(new Error('gone'));
    },
  ],
  [
    'destroy() of the socket',
    'GET / HTTP/1.1',
    (req, res) => {
      begin(res);
      req.socket.destroy();
    },
  ],
  [
    'next(error) after the head',
    'GET / HTTP/1.1',
    (_req, res, next) => {
      begin(res);
      setImmediate(() => next(new Error('gone')));
    },
  ],
  [
    'a throw after the head',
    'GET / HTTP/1.1',
    (_req, res) => {
      begin(res);
      throw new Error('gone');
    },
  ],
];

const leaving = (...react: ((req: Request, res: Response) => void)[]): Handler => {
  return (req, res) => {
    for (const one of react) one(req, res);
  };
};

const LEAVES: readonly (readonly [title: string, Handler])[] = [
  ['before the head', () => {}],
  ['after the head', (_req, res) => begin(res)],
  [
    'and the app destroys the response of an aborted request',
    leaving((req, res) => {
      begin(res);
      req.on('aborted', () => res.destroy(new Error('aborted')));
      req.on('error', (error) => res.destroy(error));
    }),
  ],
  [
    'and pipeline() ends',
    leaving(
      (_req, res) =>
        void pipeline(
          new PassThrough().on('error', () => {}),
          res,
          () => res.destroy(),
        ),
    ),
  ],
  [
    'and the app passes the error on',
    (req, res, next) => {
      begin(res);
      req.on('error', next);
    },
  ],
];

describe.each(EXPRESS_VERSIONS)('%s', (_version, create) => {
  describe.each(SERVERS)('$name', ({ name, serverOf, ...protocol }) => {
    // There is no HTTP/1.0 in HTTP/2.
    const breaks = BREAKS.filter(([, head]) => name !== 'HTTP/2' || !head.endsWith('1.0'));
    test.each(breaks)('a response that the app breaks off is its failure: %s', async (_title, head, handler) => {
      const { port, ended } = await guarded(handler, create, serverOf);
      const client = cleanup.add(await protocol.connect(port));
      client.send(`${head}\r\nHost: a\r\n\r\n`);
      expect(await ended()).toEqual(FAILED);
    });

    const ways = [['resets', 'abort'] as const, ['closes', 'close'] as const];
    test.each(LEAVES.flatMap(([title, handler]) => ways.map((way) => [...way, title, handler] as const)))(
      'a client that %s (%s) has left: %s',
      async (_verb, way, _title, handler) => {
        const { port, ended, responses } = await guarded(handler, create, serverOf);
        const client = cleanup.add(await protocol.connect(port));
        // Bounds refuse a body that is not whole.
        const length = name.endsWith('bounds') ? 1 : 9;
        client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${length}\r\n\r\na`);
        await eventually('the handler has it', () => responses.length > 0);
        client[way]();
        expect(await ended()).toEqual(LEFT);
      },
    );
  });
});

describe('HTTP/1.1 over TLS', () => {
  test('a client that leaves, and a response that the app breaks off, are different', async () => {
    const left = await guarded((_req, res) => begin(res), express5, http2ServerOf());
    const client = request({ port: left.port, ca: certificate.cert, agent: false }).on('error', () => {});
    client.end();
    await once(client, 'response');
    client.destroy();
    expect(await left.ended()).toEqual(LEFT);

    const broken = await guarded(
      (_req, res) => {
        begin(res);
        res.destroy(RESET);
      },
      express5,
      http2ServerOf(),
    );
    get({ port: broken.port, ca: certificate.cert, agent: false }).on('error', () => {});
    expect(await broken.ended()).toEqual(FAILED);
  });
});

describe('a response that the server itself ends is not the failure of the app', () => {
  test('because it stops', async () => {
    const { server, port, ended, responses } = await guarded((_req, res) => begin(res));
    const shutdown = gracefulShutdown(server, { timeoutMs: 10, signals: [] });
    const client = cleanup.add(await connect(port));
    client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await eventually('the handler has it', () => responses.length > 0);
    await shutdown.close();
    expect(await ended()).toEqual({ ...LEFT, status: 503, cause: 'gateway_shutdown' });
  });

  test('because of its timeout', async () => {
    const { port, ended } = await guarded(
      (_req, res) => begin(res),
      express5,
      (app) => {
        const server = hardenServer(http1(app));
        server.timeout = 50;
        return server;
      },
    );
    const client = cleanup.add(await connect(port));
    client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(await ended()).toEqual(LEFT);
  });
});

test('a response of a backend that the app breaks off is the failure of the app, not of the backend', async () => {
  const backend = cleanup.add(
    await RecorderBackend.start((socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na')),
  );
  const circuit = { minimumRequests: 1, failureRatio: 0.01 };
  const proxy = cleanup.add(roundRobinProxy({ backends: [backend.url], circuit }));
  const { port, ended } = await guarded((req, res, next) => {
    const { write } = res;
    res.write = function breakOff(this: Response, ...args: unknown[]) {
      setImmediate(() => this.destroy(new Error('gone')));
      return Reflect.apply(write, this, args);
    };
    proxy(req, res, next);
  });
  const client = cleanup.add(await connect(port));
  client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  expect(await ended()).toEqual(FAILED);
  await eventually('the attempt is over', () => proxy.status()[0]?.inFlight === 0);
  expect(proxy.status()[0]?.circuit).toBe('closed');
});

test('a response that the app breaks off is its failure on a connection that carried other requests, too', async () => {
  const { port, ended, log } = await guarded((req, res) => void (req.url === '/' ? res.end() : res.destroy()));
  const client = cleanup.add(await connect(port));
  client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  expect((await client.response()).status).toBe(200);
  log.length = 0;
  client.send('GET /broken HTTP/1.1\r\nHost: a\r\n\r\n');
  expect(await ended()).toMatchObject({ status: 500, cause: 'handler_error' });
});
