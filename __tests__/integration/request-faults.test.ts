import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { NextFunction, Request, Response } from 'express';
import express from 'express';
import { type GatewayError, type RoundRobinProxyOptions, roundRobinProxy, upgradeHandler } from 'expressway';
import { Backend } from '../../lib/backends/backend.ts';
import { BackendPool } from '../../lib/backends/backend-pool.ts';
import { Exchange } from '../../lib/core/exchange.ts';
import { BackendChoice } from '../../lib/proxy/backend-choice.ts';
import { InFlightCaps } from '../../lib/proxy/in-flight-caps.ts';
import { Via } from '../../lib/proxy/request/forwarding-headers.ts';
import { RequestBody } from '../../lib/proxy/request/request-body.ts';
import { RequestCaps } from '../../lib/proxy/request-caps.ts';
import { AllConnections } from '../../lib/proxy/transport/all-connections.ts';
import { BackendConnections } from '../../lib/proxy/transport/backend-connections.ts';
import { Tunnels } from '../../lib/proxy/tunnel/tunnels.ts';
import { Watchdog } from '../../lib/proxy/watchdog.ts';
import { Cleanup } from '../support/gateway.ts';
import { RawClient, rawRequest } from '../support/raw-client.ts';
import { answerOk, RecorderBackend } from '../support/recorder-backend.ts';
import { closedPort, eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(async () => {
  jest.restoreAllMocks();
  await cleanup.run();
});
beforeEach(() => {
  jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
});

/** One request at a time, of one tunnel: what is not released blocks the next. */
const TIGHT: Partial<RoundRobinProxyOptions> = {
  maxInFlight: 1,
  maxInFlightPerClient: 1,
  maxRequests: 1,
  tunnel: { max: 1, maxPerClient: 1 },
};

async function gateway(
  options: Partial<RoundRobinProxyOptions> & { backends: string[] },
  edit: (req: Request) => void = () => {},
) {
  const app = express().set('trust proxy', true);
  app.use((req, _res, next) => {
    edit(req);
    next();
  });
  const proxy = cleanup.add(roundRobinProxy({ ...TIGHT, ...options }));
  app.use(proxy);
  const errors: (Error & Partial<GatewayError>)[] = [];
  app.use((error: Error, _req: Request, res: Response, _next: NextFunction) => {
    errors.push(error);
    res.status(500).end('the app');
  });
  const running = cleanup.add(await listen(app));
  running.server.on('upgrade', upgradeHandler(app));
  return { ...running, proxy, errors };
}

const POST = 'POST / HTTP/1.1\r\nHost: gw\r\nVia: 1.1 a\r\nX-Forwarded-For: 192.0.2.1\r\nContent-Length: 2\r\n\r\nhi';
const UPGRADE = 'GET / HTTP/1.1\r\nHost: gw\r\nVia: 1.1 a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

type Point = readonly [of: object, method: string];

/** Whatever is called on the way from the middleware to the transport. */
const POINTS: readonly Point[] = [
  [Via.prototype, 'isIn'],
  [Via.prototype, 'after'],
  [RequestCaps.prototype, 'enter'],
  [InFlightCaps.prototype, 'enter'],
  [BackendPool.prototype, 'select'],
  [Backend.prototype, 'acquire'],
  [BackendChoice.prototype, 'take'],
  [AllConnections.prototype, 'to'],
  [BackendConnections.prototype, 'dispatch'],
  [Watchdog.prototype, 'watch'],
];
const POSTED: readonly Point[] = [...POINTS, [RequestBody.prototype, 'reader']];
const UPGRADED: readonly Point[] = [...POINTS, [Tunnels.prototype, 'enter']];
/** Those that are passed again by a second attempt. */
const RETRIED = POSTED.filter(([, method]) => !['isIn', 'enter'].includes(method));

const titled = (points: readonly Point[]) =>
  points.map(([of, method]) => ({ title: `${of.constructor.name}.${method}()`, of, method }));

/** Has a method throw at its call number `at`, counted from 1, and work before and after. */
function breakAt(of: object, method: string, at: number): void {
  const whole = (of as Record<string, (...args: unknown[]) => unknown>)[method] as (...args: unknown[]) => unknown;
  let calls = 0;
  jest.spyOn(of as Record<string, () => void>, method).mockImplementation(function (this: unknown, ...args: unknown[]) {
    calls += 1;
    if (calls === at) throw new Error('injected');
    return Reflect.apply(whole, this, args);
  } as never);
}

const idle = ({ proxy }: Awaited<ReturnType<typeof gateway>>) => ({
  ...proxy.load(),
  backends: proxy.status().map(({ inFlight }) => inFlight),
});

async function expectReleased(made: Awaited<ReturnType<typeof gateway>>, retriesLeft: number): Promise<void> {
  await eventually('everything is released', () => {
    const { inFlight, waiting, backends } = idle(made);
    return inFlight + waiting + backends.reduce((sum, one) => sum + one, 0) === 0;
  });
  expect(made.proxy.load().retriesLeft).toBe(retriesLeft);
  // The backend's place, the proxy's and the client's are free.
  expect((await rawRequest(made.port, POST)).status).toBe(200);
}

describe('an exception during a request frees its resources, and reaches the error handlers', () => {
  test.each(titled(POSTED))('$title, with a body', async ({ of, method }) => {
    const backend = cleanup.add(await RecorderBackend.start());
    const made = await gateway({ backends: [backend.url] });
    const { retriesLeft } = made.proxy.load();
    breakAt(of, method, 1);
    const response = await rawRequest(made.port, POST);
    expect([response.status, made.errors.map(String)]).toEqual([500, ['Error: injected']]);
    await expectReleased(made, retriesLeft);
  });

  test.each(titled(UPGRADED))('$title, of an upgrade', async ({ of, method }) => {
    const backend = cleanup.add(
      await RecorderBackend.start((socket, request) => {
        if (request.field('upgrade') === undefined) answerOk(socket, request, 0);
        else socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
      }),
    );
    const made = await gateway({ backends: [backend.url] });
    const { retriesLeft } = made.proxy.load();
    breakAt(of, method, 1);
    expect((await rawRequest(made.port, UPGRADE)).status).toBe(500);
    expect(made.errors.map(String)).toEqual(['Error: injected']);
    expect((await rawRequest(made.port, UPGRADE)).status).toBe(101);
    await expectReleased(made, retriesLeft);
  });

  test.each(titled(RETRIED))('$title, at the second attempt', async ({ of, method }) => {
    const backend = cleanup.add(await RecorderBackend.start());
    const dead = `http://127.0.0.1:${await closedPort()}`;
    const made = await gateway({ backends: [dead, backend.url], circuit: { consecutiveFailures: 0 } as never });
    const { retriesLeft } = made.proxy.load();
    breakAt(of, method, 2);
    expect((await rawRequest(made.port, POST)).status).toBe(500);
    expect(made.errors.map(String)).toEqual(['Error: injected']);
    await expectReleased(made, retriesLeft);
  });

  test.each(titled(RETRIED.filter(([, method]) => method !== 'after')))(
    '$title, after a wait in the queue',
    async ({ of, method }) => {
      let first: (() => void) | undefined;
      const backend = cleanup.add(
        await RecorderBackend.start((socket, request, index) => {
          if (index > 0) answerOk(socket, request, index);
          else first = () => answerOk(socket, request, index);
        }),
      );
      const made = await gateway({
        backends: [backend.url],
        maxInFlight: 2,
        maxInFlightPerClient: 2,
        queue: { size: 1, timeoutMs: 10_000 },
      });
      const { retriesLeft } = made.proxy.load();
      const [one, two] = [
        cleanup.add(await RawClient.connect(made.port)),
        cleanup.add(await RawClient.connect(made.port)),
      ];
      one.send(POST);
      await eventually('the first request has the place', () => first !== undefined);
      two.send(POST);
      await eventually('the second one waits', () => made.proxy.load().waiting === 1);
      breakAt(of, method, 1);
      first?.();
      expect((await one.response()).status).toBe(200);
      expect([(await two.response()).status, made.errors.map(String)]).toEqual([500, ['Error: injected']]);
      await expectReleased(made, retriesLeft);
    },
  );

  test('a policy on a plain server without next(): 500, and the event has the error', async () => {
    const backend = cleanup.add(await RecorderBackend.start());
    const proxy = cleanup.add(roundRobinProxy({ ...TIGHT, backends: [backend.url] }));
    breakAt(BackendPool.prototype, 'select', 1);
    const outcomes: unknown[] = [];
    proxy.events.on('rejected', ({ outcome }) => outcomes.push(outcome));
    const { port } = cleanup.add(await listen(proxy as never));
    expect((await rawRequest(port, POST)).status).toBe(500);
    expect(outcomes).toMatchObject([{ cause: 'handler_error', error: new Error('injected') }]);
    expect(proxy.load().inFlight).toBe(0);
  });

  test('an observer of the exchange while the gateway rejects the request', async () => {
    const backend = cleanup.add(await RecorderBackend.start());
    const made = await gateway({ backends: [backend.url] });
    const { retriesLeft } = made.proxy.load();
    made.proxy.drain(backend.url);
    breakAt(Exchange.prototype, 'settle', 1);
    expect((await rawRequest(made.port, POST)).status).toBe(500);
    made.proxy.restore(backend.url);
    await expectReleased(made, retriesLeft);
  });

  test.each<[string, Partial<RoundRobinProxyOptions>, (req: Request) => void]>([
    ['a `trust proxy` function', {}, ({ app }) => app.set('trust proxy', () => fail())],
    ['a getter of req.ip', {}, (req) => Object.defineProperty(req, 'ip', { get: fail })],
    ['a policy', { loadBalancing: { select: fail } }, () => {}],
  ])('%s of the app', async (_title, options, edit) => {
    const backend = cleanup.add(await RecorderBackend.start());
    const made = await gateway({ ...options, backends: [backend.url] }, edit);
    for (let i = 0; i < 3; i += 1) {
      const { status } = await rawRequest(made.port, POST);
      expect([200, 500]).toContain(status);
    }
    await eventually('nothing is in flight', () => made.proxy.load().inFlight === 0);
    expect(idle(made)).toMatchObject({ inFlight: 0, waiting: 0, backends: [0] });
  });
});

function fail(): never {
  throw new Error('injected');
}

describe('a header that a middleware sets in req.headers', () => {
  const ask = async (value: unknown, name = 'x-user') => {
    const backend = cleanup.add(await RecorderBackend.start());
    const made = await gateway({ backends: [backend.url] }, (req: IncomingMessage) => {
      if (req.method === 'POST' && req.headers['x-fine'] === undefined) Object.assign(req.headers, { [name]: value });
    });
    const { retriesLeft } = made.proxy.load();
    const answers = [await rawRequest(made.port, POST), await rawRequest(made.port, POST)];
    return { made, backend, retriesLeft, statuses: answers.map(({ status }) => status) };
  };

  test.each<[unknown, string[]]>([
    [5, ['5']],
    [0, ['0']],
    [true, ['true']],
    [false, ['false']],
    [12n, ['12']],
    ['', ['']],
    [undefined, []],
    [
      ['a', 'b'],
      ['a', 'b'],
    ],
    [
      ['a', 2, true],
      ['a', '2', 'true'],
    ],
    [[], []],
  ])('to %p is sent as %j', async (value, expected) => {
    const { statuses, backend } = await ask(value);
    expect([statuses, backend.requests[0]?.all('x-user')]).toEqual([[200, 200], expected]);
  });

  test.each<[string, unknown, string?, string?]>([
    ['null', null, 'x-user', 'of type null'],
    ['an object', { name: 'alice' }, 'x-user', 'of type object'],
    ['a date', new Date(0)],
    ['a symbol', Symbol('alice')],
    ['a function', () => 'alice'],
    ['a list with null in it', ['alice', null]],
    ['a list in a list', [['alice']]],
    ['text outside Latin-1', 'Алиса'],
    ['a line break', 'alice\r\nx-admin: 1'],
    ['a control character', 'ali\x01ce'],
    ['a name with a space', 'alice', 'x user'],
    ['a name without a character', 'alice', ''],
    ['null as Host', null, 'host'],
    ['an object as Via', {}, 'via'],
  ])(
    'to %s is an error of the app that names the header, and frees its place',
    async (_title, value, name = 'x-user', why = JSON.stringify(name)) => {
      const { made, statuses, backend, retriesLeft } = await ask(value, name);
      expect([statuses, backend.requests]).toEqual([[500, 500], []]);
      const wanted = { code: 'ERR_EXPRESSWAY_REQUEST_HEAD', message: expect.stringContaining(JSON.stringify(name)) };
      expect(made.errors).toMatchObject([wanted, wanted]);
      expect(made.errors).toMatchObject([{ message: expect.stringContaining(why) }, {}]);
      await eventually('nothing is in flight', () => made.proxy.load().inFlight === 0);
      expect(made.proxy.load()).toEqual({ inFlight: 0, waiting: 0, retriesLeft });
      const client = await RawClient.connect(made.port);
      client.send(POST.replace('Via', 'X-Fine: 1\r\nVia'));
      expect((await client.response()).status).toBe(200);
      client.close();
      await once(client.socket, 'close');
    },
  );
});
