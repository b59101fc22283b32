import cluster from 'node:cluster';
import { EventEmitter, once } from 'node:events';
import { get, type IncomingMessage, request, type Server } from 'node:http';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import express, { type Express } from 'express';
import { circuitBreaker, type IpRateLimitOptions, ipRateLimit, observability, roundRobinProxy } from 'expressway';
import { Cleanup } from '../support/gateway.ts';
import { pause } from '../support/pause.ts';
import { closedPort, eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
let emitted: jest.SpiedFunction<typeof process.emitWarning>;

beforeEach(() => {
  emitted = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
});
afterEach(async () => {
  emitted.mockRestore();
  await cleanup.run();
});

/** The codes that were warned of, each as often as it was. */
const codes = (): string[] => emitted.mock.calls.map(([, options]) => (options as unknown as { code: string }).code);
const messageOf = (code: string): string => String(emitted.mock.calls[codes().indexOf(code)]?.[0]);

async function serve(prepare: (app: Express) => void): Promise<{ url: string; port: number; server: Server }> {
  const app = express();
  prepare(app);
  return cleanup.add(await listen(app));
}

const limiter = (options: IpRateLimitOptions) => cleanup.add(ipRateLimit(options));
const proxyTo = (...backends: string[]) => cleanup.add(roundRobinProxy({ backends }));
const hello = () => serve((app) => app.use((_req, res) => void res.end('hello')));
const statuses = async (url: string, times: number, init?: RequestInit): Promise<number[]> => {
  const all: number[] = [];
  for (let i = 0; i < times; i++) all.push(await fetch(url, init).then((res) => res.text().then(() => res.status)));
  return all;
};

test('a body parser before the proxy: every request gets 500, with one warning', async () => {
  const backend = await hello();
  const { url } = await serve((app) => app.use(express.json(), proxyTo(backend.url)));
  const post = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"a":1}' };
  expect(await statuses(url, 3, post)).toEqual([500, 500, 500]);
  expect(codes()).toEqual(['ERR_EXPRESSWAY_BODY_ALREADY_READ']);
  expect(messageOf('ERR_EXPRESSWAY_BODY_ALREADY_READ')).toContain('before body parsers such as express.json()');
});

test('in production, the cause is in the warning and not in the response', async () => {
  const backend = await hello();
  const { url } = await serve((app) => app.set('env', 'production').use(express.json(), proxyTo(backend.url)));
  const post = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"a":1}' };
  const response = await fetch(url, post);
  expect(await response.json()).toEqual({
    type: 'about:blank',
    title: 'Internal error',
    status: 500,
    cause: 'content_already_read',
  });
  expect(codes()).toEqual(['ERR_EXPRESSWAY_BODY_ALREADY_READ']);
});

describe('a warning about X-Forwarded-For of an untrusted peer', () => {
  const claim = { headers: { 'x-forwarded-for': '203.0.113.7' } };

  test('is emitted once for limiter and proxy, with the line to add', async () => {
    const backend = await hello();
    const { url } = await serve((app) => app.use(limiter({}), proxyTo(backend.url)));
    expect(await statuses(url, 3, claim)).toEqual([200, 200, 200]);
    expect(codes()).toEqual(['WARN_EXPRESSWAY_TRUST_PROXY']);
    const message = messageOf('WARN_EXPRESSWAY_TRUST_PROXY');
    expect(message).toContain("app.set('trust proxy', '127.0.0.1')");
    expect(message).toContain('TRUST_PROXY=127.0.0.1');
    expect(message).not.toContain('203.0.113.7');
  });

  test('is not emitted when the peer is trusted, or sends no header', async () => {
    const trusting = await serve((app) => app.set('trust proxy', 'loopback').use(limiter({})));
    await statuses(trusting.url, 2, claim);
    const silent = await serve((app) => app.use(limiter({})));
    await statuses(silent.url, 2);
    expect(codes()).toEqual([]);
  });

  test('does not suggest to trust a public address, and is still emitted for a private one later', async () => {
    let from = '::ffff:198.51.100.66';
    const { url, server } = await serve((app) => app.use(limiter({})));
    // Nothing but loopback reaches a test: so what Node says of the other end is replaced.
    server.on('connection', (socket) => Object.defineProperty(socket, 'remoteAddress', { value: from }));
    const afresh = { headers: { ...claim.headers, connection: 'close' } };
    await statuses(url, 2, afresh);
    expect(codes()).toEqual(['WARN_EXPRESSWAY_TRUST_PROXY']);
    const ofStranger = messageOf('WARN_EXPRESSWAY_TRUST_PROXY');
    expect(ofStranger).toContain('198.51.100.66 sends X-Forwarded-For');
    expect(ofStranger).toContain('do not trust');
    expect(ofStranger).not.toMatch(/(?:trust proxy'?,? ?'?|TRUST_PROXY=)198\.51/);
    from = '10.1.2.3';
    await statuses(url, 2, afresh);
    expect(codes()).toEqual(['WARN_EXPRESSWAY_TRUST_PROXY', 'WARN_EXPRESSWAY_TRUST_PROXY']);
    expect(String(emitted.mock.calls[1]?.[0])).toContain("app.set('trust proxy', '10.1.2.3')");
    // Nor of any further stranger.
    from = '203.0.113.200';
    await statuses(url, 2, afresh);
    expect(codes()).toHaveLength(2);
  });

  test('is emitted for a private peer even where others are trusted', async () => {
    const { url } = await serve((app) => app.set('trust proxy', ['192.0.2.1']).use(limiter({})));
    await statuses(url, 2, claim);
    expect(codes()).toEqual(['WARN_EXPRESSWAY_TRUST_PROXY']);
  });
});

describe('a warning about different "trust proxy" settings of observability() and proxy', () => {
  const claim = { headers: { 'x-forwarded-for': '203.0.113.7' } };
  const withSetting = (outer: unknown, inner: unknown) =>
    serve((app) => {
      const sub = express();
      sub.use(limiter({}), (_req, res) => void res.end());
      app
        .set('trust proxy', outer)
        .use(observability({ requestId: true }))
        .use(sub);
      // What is mounted inherits the setting, unless it is set after that.
      sub.set('trust proxy', inner);
    });

  test('is emitted once when they differ about the peer', async () => {
    const { url } = await withSetting('loopback', ['192.0.2.1']);
    await statuses(url, 3, claim);
    expect(codes().filter((code) => code === 'WARN_EXPRESSWAY_TRUST_MISMATCH')).toHaveLength(1);
  });

  test('is not emitted when they agree about the peer', async () => {
    const { url } = await withSetting('loopback', ['127.0.0.0/8', '::1']);
    await statuses(url, 3, claim);
    expect(codes()).toEqual([]);
  });
});

describe('a warning about a limiter that is created for each request', () => {
  test('is emitted once, also when the handler awaited something before', async () => {
    for (const wait of [false, true]) {
      emitted.mockClear();
      const { url } = await serve((app) => {
        app.use(async (req, res, next) => {
          if (wait) await new Promise(setImmediate);
          await pause('time tells such a limiter from one that was made before the traffic', 2);
          limiter({ limit: 1 })(req, res, next);
        });
        app.use((_req, res) => void res.end());
      });
      // Never limited, which is the mistake.
      expect(new Set(await statuses(url, 25))).toEqual(new Set([200]));
      expect(codes()).toEqual(['WARN_EXPRESSWAY_LIMITER_PER_REQUEST']);
    }
  });

  test('is not emitted for limiters of routes, or for a few that are created later', async () => {
    const later: ReturnType<typeof ipRateLimit>[] = [];
    const { url } = await serve((app) => {
      for (let i = 0; i < 30; i++) app.use(`/${i}`, limiter({ name: `route-${i}` }));
      app.use((req, res, next) => (later.length === 0 ? next() : later.at(-1)?.(req, res, next)));
      app.use((_req, res) => void res.end());
    });
    for (let i = 0; i < 30; i++) await statuses(`${url}/${i}`, 1);
    for (let i = 0; i < 5; i++) {
      later.push(limiter({ name: 'later' }));
      await statuses(url, 2);
    }
    expect(codes()).toEqual([]);
  });
});

describe('a warning about a proxy that is created for each request', () => {
  test('is emitted once', async () => {
    const { url } = await serve((app) => {
      app.use(async (req, res, next) => {
        await pause('time tells such a proxy from one that was made before the traffic', 2);
        cleanup.add(roundRobinProxy({ backends: ['http://127.0.0.1:1'] }))(req, res, next);
      });
    });
    await statuses(url, 25);
    expect(codes()).toEqual(['WARN_EXPRESSWAY_PROXY_PER_REQUEST']);
  });

  test('is not emitted for proxies of routes, or for one whose backends change often', async () => {
    const late: ReturnType<typeof roundRobinProxy>[] = [];
    const { url } = await serve((app) => {
      for (let i = 0; i < 15; i++) {
        app.use(`/${i}`, cleanup.add(roundRobinProxy({ name: `r${i}`, backends: ['http://127.0.0.1:1'] })));
      }
      app.use((req, res, next) => late[0]?.(req, res, next));
    });
    for (let i = 0; i < 15; i++) await statuses(`${url}/${i}`, 1);
    late.push(cleanup.add(roundRobinProxy({ backends: ['http://127.0.0.1:1'] })));
    for (let i = 0; i < 15; i++) {
      late[0]?.setBackends(['http://127.0.0.1:1']);
      await statuses(url, 1);
    }
    expect(codes()).toEqual([]);
  });
});

describe('a warning about a limiter in a cluster worker', () => {
  afterEach(() => {
    Reflect.deleteProperty(cluster, 'worker');
  });

  test('is emitted once for each name, unless counts are shared', () => {
    // All that a limiter can see of a cluster is this.
    Object.assign(cluster, { worker: new EventEmitter() });
    const ask = () => Promise.reject(new Error('away'));
    limiter({ counter: { processes: 2, ask } });
    limiter({ redis: 'redis://127.0.0.1:1' });
    expect(codes()).toEqual([]);
    for (const name of ['a', 'a', 'b']) limiter({ name });
    expect(codes()).toEqual(['WARN_EXPRESSWAY_LIMITER_CLUSTER', 'WARN_EXPRESSWAY_LIMITER_CLUSTER']);
  });

  test('is not emitted outside a cluster', () => {
    limiter({});
    expect(codes()).toEqual([]);
  });
});

describe('a warning about two limiters with the same keys in Redis', () => {
  // What is looked at is what they were told, so a Redis that is away will do.
  const url = async () => `redis://127.0.0.1:${await closedPort()}`;

  test('is emitted once both are in use', async () => {
    const redis = await url();
    const server = await serve((app) => {
      app.use('/a', limiter({ redis, limit: 10 }));
      app.use('/b', limiter({ redis, limit: 100 }));
      app.use((_req, res) => void res.end());
    });
    await statuses(`${server.url}/a`, 2);
    await statuses(`${server.url}/b`, 2);
    expect(codes()).toEqual([]);
    await statuses(`${server.url}/a`, 2);
    await statuses(`${server.url}/b`, 2);
    expect(codes()).toEqual(['WARN_EXPRESSWAY_LIMITER_PREFIX']);
    expect(messageOf('WARN_EXPRESSWAY_LIMITER_PREFIX')).toContain('"expressway:rl:ip:');
  });

  test('is not emitted for other names, another Redis, memory, or one limiter that is mounted twice', async () => {
    const [redis, other] = [await url(), await url()];
    const twice = limiter({ redis, name: 'twice' });
    const server = await serve((app) => {
      app.use('/a', limiter({ redis, name: 'a' }));
      app.use('/b', limiter({ redis, name: 'b' }));
      app.use('/c', limiter({ redis: other, name: 'a' }));
      app.use('/d', limiter({ name: 'a' }));
      app.use('/e', twice);
      app.use('/f', twice);
      app.use((_req, res) => void res.end());
    });
    for (let i = 0; i < 3; i++) for (const path of 'abcdef') await statuses(`${server.url}/${path}`, 1);
    expect(codes()).toEqual([]);
  });

  test('is not emitted when one limiter replaces the other', async () => {
    const redis = await url();
    let current = limiter({ redis, limit: 10 });
    const server = await serve((app) => {
      app.use((req, res, next) => current(req, res, next));
      app.use((_req, res) => void res.end());
    });
    for (let i = 0; i < 4; i++) {
      await statuses(server.url, 2);
      current = limiter({ redis, limit: 20 + i });
    }
    expect(codes()).toEqual([]);
  });
});

describe('a warning about a circuit breaker around an event stream', () => {
  async function stream(url: string, ageMs: number): Promise<void> {
    const asked = get(url);
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    await once(answer, 'data');
    const started = Date.now();
    const now = jest.spyOn(Date, 'now').mockImplementation(() => started + ageMs);
    cleanup.add({ close: () => now.mockRestore() });
    answer.destroy();
  }
  let closed: Promise<unknown>;
  const streaming =
    (type: string) =>
    (_req: IncomingMessage, res: express.Response): void => {
      closed = once(res, 'close');
      res.setHeader('content-type', type);
      res.write('data: 1\n\n');
    };

  test('is emitted when a handler writes a long stream', async () => {
    const { url } = await serve((app) => app.use(circuitBreaker({ name: 'all' }), streaming('text/event-stream')));
    await stream(url, 11_000);
    await eventually('the warning', () => codes().length > 0);
    expect(codes()).toEqual(['WARN_EXPRESSWAY_GUARDED_STREAM']);
    expect(messageOf('WARN_EXPRESSWAY_GUARDED_STREAM')).toContain('The circuit "all"');
  });

  test('is not emitted for short streams, downloads, or forwarded streams', async () => {
    const backend = await serve((app) => app.use(streaming('text/event-stream')));
    const short = await serve((app) => app.use(circuitBreaker(), streaming('text/event-stream')));
    const download = await serve((app) => app.use(circuitBreaker(), streaming('application/octet-stream')));
    const forwarded = await serve((app) => app.use(circuitBreaker(), proxyTo(backend.url)));
    for (const [{ url }, ageMs] of [
      [short, 100],
      [download, 11_000],
      [forwarded, 11_000],
    ] as const) {
      await stream(url, ageMs);
      await closed;
      jest.mocked(Date.now).mockRestore();
    }
    await new Promise(setImmediate);
    expect(codes()).toEqual([]);
  });
});

describe('a warning about a backend that is the gateway itself', () => {
  test('is emitted at the first request, by address, even without Via', async () => {
    const port = await closedPort();
    const backend = await hello();
    const proxy = cleanup.add(
      roundRobinProxy({ backends: [backend.url, `http://localhost:${port}`], via: false, maxInFlight: 4 }),
    );
    const server = express().use(proxy).listen(port, '127.0.0.1');
    cleanup.add({
      close() {
        server.close();
        server.closeAllConnections();
      },
    });
    await once(server, 'listening');
    await statuses(`http://127.0.0.1:${port}`, 1);
    expect(codes()).toEqual(['WARN_EXPRESSWAY_LOOP']);
    expect(messageOf('WARN_EXPRESSWAY_LOOP')).toContain(`http://localhost:${port} is this server itself`);
  });

  test('is emitted when the backend is added later', async () => {
    const backend = await hello();
    const proxy = proxyTo(backend.url);
    const server = await serve((app) => app.set('trust proxy', 'loopback').use(proxy));
    expect(await statuses(server.url, 2)).toEqual([200, 200]);
    expect(codes()).toEqual([]);
    proxy.setBackends([backend.url, server.url]);
    await statuses(server.url, 1);
    expect(codes()).toEqual(['WARN_EXPRESSWAY_LOOP']);
    // By its address: the loop itself would cause another text.
    expect(messageOf('WARN_EXPRESSWAY_LOOP')).toContain('is this server itself');
  });

  test('is emitted when Via shows that another server leads back', async () => {
    let gateway = '';
    const detour = await serve((app) => {
      app.use((req, res) => {
        const again = request(gateway, { headers: req.headers }, (answer) => {
          res.writeHead(answer.statusCode as number);
          answer.pipe(res);
        });
        again.end();
      });
    });
    ({ url: gateway } = await serve((app) => app.set('trust proxy', 'loopback').use(proxyTo(detour.url))));
    expect(await statuses(gateway, 2)).toEqual([508, 508]);
    expect(codes()).toEqual(['WARN_EXPRESSWAY_LOOP']);
    expect(messageOf('WARN_EXPRESSWAY_LOOP')).toContain('came back');
  });
});
