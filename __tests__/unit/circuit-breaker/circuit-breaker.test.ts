import { EventEmitter, once } from 'node:events';
import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import { get } from 'node:http';
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import express from 'express';
import { type CircuitBreakerOptions, circuitBreaker } from '../../../lib/circuit-breaker/circuit-breaker.ts';
import type { CircuitStateChangeEvent, RejectedEvent } from '../../../lib/core/events.ts';
import { exchangeOf } from '../../../lib/core/exchange.ts';
import { GatewayEvents } from '../../../lib/core/gateway-events.ts';
import { OptionsError } from '../../../lib/core/options.ts';
import type { Outcome } from '../../../lib/core/outcome.ts';
import { EXPRESS_VERSIONS } from '../../support/express-versions.ts';
import { listen, type RunningServer } from '../../support/servers.ts';

type Handler = (req: IncomingMessage, res: ServerResponse) => unknown;

const running: RunningServer[] = [];

// Time moves only when a test moves it: the guard's clock and its timer, not those of Node's HTTP.
beforeEach(() => {
  const real = [
    'setImmediate',
    'clearImmediate',
    'setInterval',
    'clearInterval',
    'nextTick',
    'queueMicrotask',
  ] as const;
  jest.useFakeTimers({ doNotFake: [...real, 'performance', 'hrtime'] });
});

afterEach(async () => {
  jest.useRealTimers();
  jest.restoreAllMocks();
  await Promise.all(running.splice(0).map((server) => server.close()));
});

/** A guard with `handler` behind it in a real server; `calls` counts what reached the handler. */
async function guarded(options: CircuitBreakerOptions, handler: Handler, createApp: () => express.Express = express) {
  const guard = circuitBreaker(options);
  const app = createApp();
  const seen = { calls: 0 };
  app.use(guard, (req, res) => {
    seen.calls += 1;
    void handler(req, res);
  });
  const server = await listen(app);
  running.push(server);
  const status = async (path = '/200') => {
    const answer = await fetch(server.url + path);
    await answer.arrayBuffer();
    return answer.status;
  };
  const statuses = async (...paths: string[]) => {
    const all: number[] = [];
    for (const path of paths) all.push(await status(path));
    return all;
  };
  return { guard, seen, url: server.url, status, statuses };
}

/** Answers with the status in the path. */
const echoStatus: Handler = (req, res) => {
  res.statusCode = Number(req.url?.slice(1));
  res.end('content');
};

/** A handler that tells of each request and lets the test answer it. */
class Held {
  readonly #arrivals = new EventEmitter();
  readonly handler: Handler = (req, res) => {
    this.#arrivals.emit('arrival', { req, res });
  };

  async next(): Promise<{ req: IncomingMessage; res: ServerResponse }> {
    const [arrival] = await once(this.#arrivals, 'arrival');
    return arrival;
  }
}

const FIVE_FAILURES = ['/500', '/500', '/503', '/500', '/599'];

describe.each(EXPRESS_VERSIONS)('%s', (_version, createApp) => {
  test('opens on statuses of 500 and above; then the handler is not called and clients get a problem document', async () => {
    const { guard, seen, url, statuses } = await guarded({}, echoStatus, createApp);
    expect(await statuses(...FIVE_FAILURES)).toEqual([500, 500, 503, 500, 599]);
    expect(guard.state).toBe('open');
    const answer = await fetch(url);
    expect(answer.status).toBe(503);
    expect(answer.headers.get('content-type')).toBe('application/problem+json');
    expect(answer.headers.get('retry-after')).toBe('10');
    expect(answer.headers.get('proxy-status')).toBe('expressway; error=destination_unavailable');
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(await answer.json()).toEqual({
      type: 'about:blank',
      title: 'Service temporarily unavailable',
      status: 503,
      cause: 'circuit_open',
    });
    expect(seen.calls).toBe(5);
  });

  test('closes after three successful trials', async () => {
    const { guard, statuses } = await guarded({}, echoStatus, createApp);
    await statuses(...FIVE_FAILURES);
    jest.setSystemTime(Date.now() + 10_000);
    expect(await statuses('/200', '/404', '/302')).toEqual([200, 404, 302]);
    expect(guard.state).toBe('closed');
  });

  test('counts errors that the handler throws', async () => {
    const { guard, statuses } = await guarded(
      {},
      () => {
        throw new Error('thrown');
      },
      createApp,
    );
    expect(await statuses('/', '/', '/', '/', '/')).toEqual([500, 500, 500, 500, 500]);
    expect(guard.state).toBe('open');
  });
});

describe('failures', () => {
  test('4xx never count', async () => {
    const { guard, statuses } = await guarded({}, echoStatus);
    await statuses(...new Array(20).fill('/429'), ...new Array(20).fill('/404'));
    expect(guard.state).toBe('closed');
  });

  test('errors of async handlers and those given to next() count', async () => {
    const guard = circuitBreaker({ minimumRequests: 2, failureRatio: 1 });
    const app = express();
    app.use(guard);
    app.get('/async', async () => {
      throw new Error('rejected');
    });
    app.get('/next', (_req, _res, next) => next(new Error('given to next')));
    const server = await listen(app);
    running.push(server);
    await fetch(`${server.url}/async`);
    expect(guard.state).toBe('closed');
    await fetch(`${server.url}/next`);
    expect(guard.state).toBe('open');
  });

  test('an error with a 4xx status of its own does not count', async () => {
    const { guard, statuses } = await guarded({ minimumRequests: 1 }, () => {
      throw Object.assign(new Error('no'), { status: 422 });
    });
    expect(await statuses('/', '/')).toEqual([422, 422]);
    expect(guard.state).toBe('closed');
  });

  test('clients that leave do not count, but the next failure does', async () => {
    const clients = new Map<string, ClientRequest>();
    const left = new EventEmitter();
    let gone = 0;
    const { guard, seen, url, status } = await guarded({ minimumRequests: 1 }, (req, res) => {
      if (req.url !== '/hang') return echoStatus(req, res);
      res.once('close', () => {
        gone += 1;
        if (gone % 100 === 0) left.emit('hundred');
      });
      return clients.get(String(req.headers['x-id']))?.destroy();
    });
    for (let round = 0; round < 10; round += 1) {
      const hundred = once(left, 'hundred');
      for (let id = 0; id < 100; id += 1) {
        const client = get(`${url}/hang`, { headers: { 'x-id': String(id) }, agent: false });
        client.on('error', () => {});
        clients.set(String(id), client);
      }
      await hundred;
    }
    expect(seen.calls).toBe(1_000);
    expect(guard.state).toBe('closed');
    await status('/500');
    expect(guard.state).toBe('open');
  });

  test('a client that leaves during a 5xx response does not count either', async () => {
    const held = new Held();
    const { guard, url } = await guarded({ minimumRequests: 1 }, held.handler);
    const request = get(url, { agent: false });
    request.on('error', () => {});
    const { res } = await held.next();
    res.statusCode = 500;
    res.write('half');
    await once(request, 'response');
    request.destroy();
    await once(res, 'close');
    expect(guard.state).toBe('closed');
  });

  test('rejections by later middlewares do not count', async () => {
    const { guard, statuses } = await guarded({ minimumRequests: 1 }, (req, res) => {
      exchangeOf(req, res).settle({ kind: 'rejected', cause: 'no_backend' });
      res.statusCode = 503;
      res.end();
    });
    expect(await statuses('/', '/', '/')).toEqual([503, 503, 503]);
    expect(guard.state).toBe('closed');
  });

  test('failures that a later middleware reports count with every status', async () => {
    const error = new Error('cut');
    const { guard, status } = await guarded({ minimumRequests: 1 }, (req, res) => {
      const cause = 'http_response_incomplete';
      exchangeOf(req, res).settle({ kind: 'failed', cause, error, sent: true, headSent: true });
      res.end();
    });
    expect(await status()).toBe(200);
    expect(guard.state).toBe('open');
  });

  test('failureStatuses: other statuses are no failures, and an error still is one; isFailure goes before it', async () => {
    const rules = { minimumRequests: 2, failureRatio: 0.5, failureStatuses: [503] };
    const { guard, statuses } = await guarded(rules, echoStatus);
    await statuses('/500', '/500', '/502', '/200');
    expect(guard.state).toBe('closed');
    await statuses('/503', '/503', '/503', '/503');
    expect(guard.state).toBe('open');
    const broken = await guarded(rules, (_req, res) => res.destroy());
    for (const path of ['/1', '/2']) await expect(broken.status(path)).rejects.toThrow();
    expect(broken.guard.state).toBe('open');
    const { guard: own, statuses: others } = await guarded({ ...rules, isFailure: () => true }, echoStatus);
    await others('/200', '/200');
    expect(own.state).toBe('open');
  });

  test('isFailure replaces the rule, and is not called for rejections and clients that leave', async () => {
    const asked: Outcome[] = [];
    const isFailure = (outcome: Outcome) => {
      asked.push(outcome);
      return outcome.kind === 'completed' && outcome.status === 404;
    };
    const { guard, status } = await guarded({ minimumRequests: 1, isFailure }, (req, res) => {
      if (req.url === '/refused') exchangeOf(req, res).settle({ kind: 'rejected', cause: 'rate_limited' });
      if (req.url === '/gone') exchangeOf(req, res).settle({ kind: 'aborted' });
      return echoStatus({ url: '/404' } as IncomingMessage, res);
    });
    await status('/refused');
    await status('/gone');
    expect(asked).toEqual([]);
    expect(guard.state).toBe('closed');
    await status('/404');
    expect(asked).toEqual([{ kind: 'completed', status: 404 }]);
    expect(guard.state).toBe('open');
  });

  test('an isFailure that throws causes one warning, and the default rule applies', async () => {
    const warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const faulty = (bug: unknown) => () => {
      throw bug;
    };
    for (const bug of [new Error('a bug'), Symbol('odd'), Object.create(null)]) {
      warned.mockClear();
      const rules = { minimumRequests: 4, failureRatio: 0.5, isFailure: faulty(bug) };
      const { guard, statuses } = await guarded(rules, echoStatus);
      expect(await statuses('/200', '/200', '/500', '/500')).toEqual([200, 200, 500, 500]);
      expect(guard.state).toBe('open');
      expect(warned.mock.calls.map(([message]) => message)).toEqual([expect.stringContaining('isFailure threw')]);
      // Another function is another mistake.
      const { statuses: others } = await guarded({ ...rules, isFailure: faulty(bug) }, echoStatus);
      await others('/200', '/200');
      expect(warned).toHaveBeenCalledTimes(2);
    }
  });

  test('the warning about isFailure names its error and the place', async () => {
    const warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const isFailure = () => {
      throw new Error('a bug');
    };
    const { statuses } = await guarded({ isFailure }, echoStatus);
    await statuses('/200', '/200');
    expect(warned.mock.calls.map(([message]) => String(message))).toEqual([expect.stringContaining('a bug')]);
    expect(warned.mock.calls[0]?.[1]).toMatchObject({ detail: expect.stringContaining('circuit-breaker.test.ts') });
  });
});

describe('an open circuitBreaker()', () => {
  test('Retry-After counts down in whole seconds, rounded up', async () => {
    const { guard, url, statuses } = await guarded({}, echoStatus);
    await statuses(...FIVE_FAILURES);
    const openedAt = Date.now();
    const fields: (string | null)[] = [];
    for (const ms of [0, 1, 1_000, 1_001, 9_000, 9_999]) {
      jest.setSystemTime(openedAt + ms);
      fields.push((await fetch(url)).headers.get('retry-after'));
    }
    expect(fields).toEqual(['10', '10', '9', '9', '1', '1']);
    expect(guard.retryAfterMs()).toBe(1);
  });

  test('a rejection emits an event with its outcome, and does not count', async () => {
    const events = new GatewayEvents();
    const rejected: RejectedEvent[] = [];
    events.on('rejected', (event) => rejected.push(event));
    const { guard, status, statuses } = await guarded({ events }, echoStatus);
    await statuses(...FIVE_FAILURES);
    expect(await status()).toBe(503);
    expect(rejected).toHaveLength(1);
    expect(rejected[0]?.outcome).toEqual({ kind: 'rejected', cause: 'circuit_open', retryAfterMs: 10_000 });
    expect(rejected[0]?.exchange.outcome).toBe(rejected[0]?.outcome);
    expect(guard.retryAfterMs()).toBe(10_000);
  });
});

describe('a half-open circuitBreaker()', () => {
  const due = async (options: CircuitBreakerOptions, handler: Handler) => {
    const bench = await guarded(options, (req, res) =>
      guarding.open ? handler(req, res) : echoStatus({ url: '/500' } as IncomingMessage, res),
    );
    const guarding = { open: false };
    await bench.statuses('/', '/', '/', '/', '/');
    expect(bench.guard.state).toBe('open');
    guarding.open = true;
    jest.setSystemTime(Date.now() + 10_000);
    return bench;
  };

  test('while three trials hang, other requests get 503 at once', async () => {
    const held = new Held();
    const { guard, seen, status, url } = await due({}, held.handler);
    const trials: Promise<number>[] = [];
    const answers: ServerResponse[] = [];
    for (let trial = 0; trial < 3; trial += 1) {
      const arrival = held.next();
      trials.push(status());
      answers.push((await arrival).res);
    }
    const others = await Promise.all(Array.from({ length: 97 }, () => fetch(url)));
    expect(others.map((answer) => answer.status)).toEqual(new Array(97).fill(503));
    expect(others[0]?.headers.get('retry-after')).toBe('1');
    expect(seen.calls).toBe(5 + 3);
    for (const res of answers) res.end();
    expect(await Promise.all(trials)).toEqual([200, 200, 200]);
    expect(guard.state).toBe('closed');
  });

  test.each([
    ['an explicit head', (res: ServerResponse) => res.writeHead(200).write('first')],
    ['an implicit head', (res: ServerResponse) => res.write('first')],
    ['a flushed head', (res: ServerResponse) => res.flushHeaders()],
  ])('a trial is decided by %s, not by the end of a long download', async (_how, start) => {
    const held = new Held();
    const { guard, url } = await due({ halfOpenRequests: 1 }, held.handler);
    const arrival = held.next();
    const answer = fetch(url);
    const { res } = await arrival;
    expect(guard.state).toBe('half-open');
    start(res);
    await answer;
    expect(guard.state).toBe('closed');
    res.end();
  });

  test('a head of 500 opens it again', async () => {
    const held = new Held();
    const { guard, url } = await due({}, held.handler);
    const arrival = held.next();
    const answer = fetch(url);
    const { res } = await arrival;
    res.writeHead(500).flushHeaders();
    await answer;
    expect(guard.state).toBe('open');
    expect(guard.retryAfterMs()).toBe(10_000);
    res.end();
  });

  test('isFailure is called once for a trial', async () => {
    const asked: unknown[] = [];
    const isFailure = (outcome: Outcome) => {
      const status = outcome.kind === 'completed' ? outcome.status : 0;
      asked.push(status);
      return status === 500;
    };
    const { guard, status } = await due({ halfOpenRequests: 1, isFailure }, echoStatus);
    asked.length = 0;
    await status('/404');
    expect(guard.state).toBe('closed');
    expect(asked).toEqual([404]);
  });

  test('a client that leaves its trial frees the slot', async () => {
    const held = new Held();
    const { guard, status, url } = await due({ halfOpenRequests: 1 }, held.handler);
    const arrival = held.next();
    const request = get(url, { agent: false });
    request.on('error', () => {});
    const { res } = await arrival;
    expect(await status()).toBe(503);
    request.destroy();
    await once(res, 'close');
    expect(guard.state).toBe('half-open');
    const second = held.next();
    const answer = status();
    (await second).res.end();
    expect(await answer).toBe(200);
    expect(guard.state).toBe('closed');
  });

  test('a rejection by a later middleware decides nothing, although its status is 503', async () => {
    const { guard, status } = await due({ halfOpenRequests: 1 }, (req, res) => {
      if (req.url !== '/refused') return res.end();
      exchangeOf(req, res).settle({ kind: 'rejected', cause: 'no_backend' });
      return res.writeHead(503).end();
    });
    expect(await status('/refused')).toBe(503);
    expect(guard.state).toBe('half-open');
    expect(await status('/')).toBe(200);
    expect(guard.state).toBe('closed');
  });
});

describe('timeoutMs', () => {
  test('without a response in time the client gets 504, and the call counts as failed', async () => {
    const held = new Held();
    const events = new GatewayEvents();
    const rejected: RejectedEvent[] = [];
    events.on('rejected', (event) => rejected.push(event));
    const { guard, url } = await guarded({ timeoutMs: 250, minimumRequests: 1, events }, held.handler);
    const arrival = held.next();
    const pending = fetch(url);
    await arrival;
    jest.advanceTimersByTime(249);
    expect(guard.state).toBe('closed');
    jest.advanceTimersByTime(1);
    const answer = await pending;
    expect(answer.status).toBe(504);
    expect(answer.headers.get('content-type')).toBe('application/problem+json');
    expect(answer.headers.get('proxy-status')).toBe('expressway; error=http_response_timeout');
    expect(answer.headers.get('connection')).toBe('close');
    expect(await answer.json()).toMatchObject({ status: 504, cause: 'handler_timeout' });
    expect(guard.state).toBe('open');
    const error = new Error('the guarded handler sent no response head within 250 ms');
    expect(rejected.map(({ outcome }) => outcome)).toEqual([
      { kind: 'failed', cause: 'handler_timeout', error, sent: true, headSent: false },
    ]);
    expect(rejected[0]?.exchange.outcome).toBe(rejected[0]?.outcome);
  });

  test('a handler that responds too late does no harm', async () => {
    const held = new Held();
    const { url } = await guarded({ timeoutMs: 250 }, held.handler);
    const arrival = held.next();
    const pending = fetch(url);
    const res = (await arrival).res as express.Response;
    jest.advanceTimersByTime(250);
    await (await pending).arrayBuffer();
    const errors: Error[] = [];
    res.on('error', (error) => errors.push(error));
    res.setHeader('x-late', 'yes').appendHeader('x-late', 'too');
    res.removeHeader('x-late');
    res.status(200).cookie('late', 'yes').json({ late: true });
    res.writeHead(200, { 'x-late': 'yes' }).flushHeaders();
    expect(res.write('late')).toBe(true);
    await new Promise<void>((resolve) => res.write('late', () => resolve()));
    await new Promise<void>((resolve) => res.end('late', 'utf8', () => resolve()));
    res.addTrailers({ 'x-late': 'yes' });
    expect(errors).toEqual([]);
  });

  test('aborts the work on the response, which may send the response itself', async () => {
    const held = new Held();
    const events = new GatewayEvents();
    const rejected: RejectedEvent[] = [];
    events.on('rejected', (event) => rejected.push(event));
    const { url } = await guarded({ timeoutMs: 250, events }, held.handler);
    const arrival = held.next();
    const pending = fetch(url);
    const { req, res } = await arrival;
    const abort = () => res.writeHead(504).end('mine');
    exchangeOf(req, res).working = { abort };
    jest.advanceTimersByTime(250);
    expect(await (await pending).text()).toBe('mine');
    expect(rejected).toEqual([]);
  });

  test('a response that has begun is not cut, nor is an event stream', async () => {
    const held = new Held();
    const { guard, url } = await guarded({ timeoutMs: 250, minimumRequests: 1 }, held.handler);
    const arrival = held.next();
    const pending = fetch(url);
    const { res } = await arrival;
    res.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n');
    const answer = await pending;
    jest.advanceTimersByTime(3_600_000);
    res.end('data: 2\n\n');
    expect(await answer.text()).toBe('data: 1\n\ndata: 2\n\n');
    expect(guard.state).toBe('closed');
  });

  test('an upgraded connection is not cut', async () => {
    const held = new Held();
    const { guard, url } = await guarded({ timeoutMs: 250, minimumRequests: 1 }, held.handler);
    const arrival = held.next();
    const request = get(url, { agent: false });
    const { req, res } = await arrival;
    exchangeOf(req, res).settle({ kind: 'completed', status: 101 });
    jest.advanceTimersByTime(250);
    expect(res.headersSent).toBe(false);
    expect(guard.state).toBe('closed');
    res.end();
    await once(request, 'response');
  });

  test('its timer keeps no process alive, is cleared by a response in time, and does not exist by default', async () => {
    const timers = jest.spyOn(globalThis, 'setTimeout');
    const { status } = await guarded({ timeoutMs: 250 }, echoStatus);
    await status();
    expect(timers.mock.results.map(({ value }) => (value as NodeJS.Timeout).hasRef())).toEqual([false]);
    expect(jest.getTimerCount()).toBe(0);
    const held = new Held();
    const unlimited = await guarded({}, held.handler);
    const arrival = held.next();
    const answer = unlimited.status();
    const { res } = await arrival;
    expect(jest.getTimerCount()).toBe(0);
    res.end();
    await answer;
  });
});

describe('a function of the app that throws when the time is up', () => {
  const MESSAGE =
    'A function of the app threw while the gateway responded to an expired timeoutMs, and the connection was cut: Error: a bug';

  test('cuts the connection, and warns once for each connection', async () => {
    const warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const held: ServerResponse[] = [];
    const both = new EventEmitter();
    const { guard, url } = await guarded({ timeoutMs: 250, minimumRequests: 2 }, (req, res) => {
      held.push(res);
      const exchange = exchangeOf(req, res);
      const abort = () => {
        exchange.working = undefined;
        throw new Error('a bug');
      };
      exchange.working = { abort };
      if (held.length === 2) both.emit('there');
    });
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    const closed = once(socket, 'close');
    const there = once(both, 'there');
    let received = '';
    socket.on('data', (bytes) => {
      received += bytes;
    });
    socket.write('GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n');
    await there;
    jest.advanceTimersByTime(250);
    await closed;
    expect(received).toBe('');
    expect(warned.mock.calls.map(([message, options]) => [message, (options as { code: string }).code])).toEqual([
      [MESSAGE, 'WARN_EXPRESSWAY_LISTENER'],
    ]);
    expect(held.map((res) => res.destroyed)).toEqual([true, true]);
    expect(guard.state).toBe('open');
  });
});

describe('an event stream that a handler of the app writes', () => {
  const MESSAGE =
    'The circuit "feed" guards an event stream that a handler of this app writes: such a call counts only when the stream has ' +
    'ended, too late to open the circuit in time. Mount the route of the stream before the circuitBreaker().';

  /** The warnings of responses of this type that last for so long, one after another. */
  async function warningsOf(type: string, lastsMs: number, { count = 1, isProxied = false } = {}): Promise<unknown[]> {
    const warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const held = new Held();
    const { url } = await guarded({ name: 'feed' }, held.handler);
    for (let stream = 0; stream < count; stream += 1) {
      const arrival = held.next();
      const pending = fetch(url);
      const { req, res } = await arrival;
      res.setHeader('content-type', type).write('data: 1\n\n');
      const response = await pending;
      jest.advanceTimersByTime(lastsMs);
      if (isProxied) exchangeOf(req, res).settle({ kind: 'completed', status: 200 });
      const closed = once(res, 'close');
      res.end();
      await response.text();
      await closed;
    }
    return warned.mock.calls.map(([message, options]) => [message, (options as { code: string }).code]);
  }

  test.each<[string, string, number, object, number]>([
    ['for more than 10 s is warned of', 'text/event-stream', 10_001, {}, 1],
    ['with a charset is warned of', 'text/event-stream; charset=utf-8', 10_001, {}, 1],
    ['is warned of once', 'text/event-stream', 10_001, { count: 2 }, 1],
    ['for 10 s is not', 'text/event-stream', 10_000, {}, 0],
    ['is not when the proxy has told at the head how it went', 'text/event-stream', 10_001, { isProxied: true }, 0],
    ['is not when it is a download', 'text/plain', 3_600_000, {}, 0],
  ])('%s', async (_what, type, lastsMs, options, warnings) => {
    const expected = new Array(warnings).fill([MESSAGE, 'WARN_EXPRESSWAY_GUARDED_STREAM']);
    expect(await warningsOf(type, lastsMs, options)).toEqual(expected);
  });
});

describe('circuitBreaker() itself', () => {
  test('isolate() rejects all requests until it is disposed', async () => {
    const { guard, seen, status } = await guarded({ openMs: 2_500 }, echoStatus);
    const isolation = guard.isolate();
    expect(guard.state).toBe('isolated');
    expect(await status()).toBe(503);
    expect(guard.retryAfterMs()).toBe(2_500);
    expect(seen.calls).toBe(0);
    isolation.dispose();
    expect(await status()).toBe(200);
  });

  test('each change of state goes to onStateChange and to the events, by the name of the circuit', async () => {
    const events = new GatewayEvents();
    const told: CircuitStateChangeEvent[] = [];
    const heard: CircuitStateChangeEvent[] = [];
    events.on('circuitStateChange', (change) => heard.push(change));
    const onStateChange = (change: CircuitStateChangeEvent) => told.push(change);
    const { guard, statuses } = await guarded({ name: 'orders', events, onStateChange }, echoStatus);
    await statuses(...FIVE_FAILURES);
    jest.setSystemTime(Date.now() + 10_000);
    await statuses('/200', '/200', '/200');
    expect(told).toEqual([
      { circuit: 'orders', from: 'closed', to: 'open', retryAfterMs: 10_000 },
      { circuit: 'orders', from: 'open', to: 'half-open', retryAfterMs: 0 },
      { circuit: 'orders', from: 'half-open', to: 'closed', retryAfterMs: 0 },
    ]);
    expect(heard).toEqual(told);
    expect(guard.events).toBe(events);
    expect(guard.name).toBe('orders');
  });

  test('onStateChange is called for its own circuit only, and its error becomes a warning', () => {
    const warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const events = new GatewayEvents();
    const onStateChange = jest.fn(() => {
      throw new Error('a bug');
    });
    const one = circuitBreaker({ events, onStateChange });
    circuitBreaker({ events }).isolate();
    expect(onStateChange).not.toHaveBeenCalled();
    one.isolate();
    expect(one.state).toBe('isolated');
    expect(onStateChange).toHaveBeenCalledTimes(1);
    expect(warned).toHaveBeenCalledTimes(1);
  });

  test('minimumRequests may be a function', async () => {
    let backends = 3;
    const { guard, statuses } = await guarded({ minimumRequests: () => backends }, echoStatus);
    expect(await statuses('/500', '/500')).toEqual([500, 500]);
    expect(guard.state).toBe('closed');
    backends = 1;
    await statuses('/500');
    expect(guard.state).toBe('open');
  });

  test('it has an emitter and a name of its own by default', () => {
    const guard = circuitBreaker();
    expect(guard.events).toBeInstanceOf(GatewayEvents);
    expect(guard.events).not.toBe(circuitBreaker().events);
    expect([guard.name, guard.state, guard.retryAfterMs()]).toEqual(['route', 'closed', 0]);
  });

  test.each([
    ['timeout', 'use timeoutMs'],
    ['errorThresholdPercentage', 'use failureRatio, from 0 to 1'],
    ['threshold', 'use failureRatio'],
    ['resetTimeout', 'use openMs'],
    ['halfOpenAfter', 'use openMs'],
    ['volumeThreshold', 'use minimumRequests'],
    ['rollingCountTimeout', 'use windowMs'],
    ['errorFilter', 'use isFailure, which says the opposite: true for an outcome that counts'],
    ['capacity', 'use maxRequests or maxInFlight of roundRobinProxy\\(\\)'],
    ['fallback', 'mount a handler before the breaker that responds while retryAfterMs\\(\\) is over 0'],
  ])('the option %s of opossum or cockatiel is refused with what to use', (name, instead) => {
    const make = () => circuitBreaker({ [name]: 1 } as never);
    expect(make).toThrow(new RegExp(`unknown option "${name}": ${instead}(?: \\(see|$)`));
  });

  test('invalid options throw one error that lists each', () => {
    const bad = {
      failureRatio: 0,
      minimumRequests: 0,
      windowMs: -1,
      openMs: '10s',
      halfOpenRequests: 1.5,
      name: '',
      timeoutMs: Number.NaN,
      isFailure: true,
      onStateChange: 'log',
      events: new EventEmitter(),
      thresold: 3,
    };
    const attempt = () => circuitBreaker(bad as unknown as CircuitBreakerOptions);
    expect(attempt).toThrow(OptionsError);
    expect(attempt).toThrow(/^circuitBreaker: /);
    try {
      attempt();
    } catch (error) {
      const { problems } = error as OptionsError;
      expect(problems).toHaveLength(Object.keys(bad).length);
      for (const key of Object.keys(bad)) expect(problems.join('\n')).toContain(key);
    }
  });
});
