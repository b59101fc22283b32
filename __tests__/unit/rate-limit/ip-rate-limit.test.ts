import { rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import express from 'express';
import supertest from 'supertest';
import type { LimitedEvent, LimiterModeChangeEvent } from '../../../lib/core/events.ts';
import { exchangeOf } from '../../../lib/core/exchange.ts';
import type { Outcome } from '../../../lib/core/outcome.ts';
import { type IpRateLimiter, ipRateLimit } from '../../../lib/rate-limit/ip-rate-limit.ts';
import type { IpRateLimitOptions } from '../../../lib/rate-limit/ip-rate-limit-options.ts';
import { EXPRESS_VERSIONS } from '../../support/express-versions.ts';
import { Cleanup } from '../../support/gateway.ts';
import { listen } from '../../support/servers.ts';
import { expectWarnings } from '../../support/warnings.ts';
import { FakeRedisClient } from './fake-redis-client.ts';
import { parseRateLimitField } from './structured-field.ts';

expectWarnings('WARN_EXPRESSWAY_TRUST_PROXY');

const cleanup = new Cleanup();

beforeEach(() => {
  // Sockets need the real timers; windows need only the clock and the interval of the memory store.
  const real = ['setTimeout', 'clearTimeout', 'setImmediate', 'clearImmediate', 'nextTick', 'queueMicrotask'] as const;
  jest.useFakeTimers({ doNotFake: [...real, 'hrtime', 'performance'] });
});
afterEach(async () => {
  await cleanup.run();
  jest.useRealTimers();
  jest.restoreAllMocks();
});

describe.each(EXPRESS_VERSIONS)('ipRateLimit in %s', (_version, createApp) => {
  async function gateway(options: IpRateLimitOptions = {}, trustProxy?: unknown) {
    const limiter = cleanup.add(ipRateLimit(options));
    const app = createApp();
    if (trustProxy !== undefined) app.set('trust proxy', trustProxy);
    const outcomes: Outcome[] = [];
    app.use((req, res, next) => {
      exchangeOf(req, res).observe({ settled: (outcome) => outcomes.push(outcome) });
      next();
    });
    app.use(limiter);
    app.get('/', (req, res) => void res.send(req.ip));
    app.use((error: Error & { code?: string }, _req: unknown, res: express.Response, _next: unknown) => {
      res.status(500).json({ code: error.code, message: error.message });
    });
    const { server } = cleanup.add(await listen(app));
    const get = (from?: string) => {
      const asked = supertest(server).get('/');
      return from === undefined ? asked : asked.set('X-Forwarded-For', from);
    };
    return { limiter, get, outcomes };
  }

  test('lets 100 requests pass, then responds with 429 until the window is over', async () => {
    const { get } = await gateway();
    for (let i = 1; i <= 100; i++) {
      const { status, headers } = await get();
      expect(status).toBe(200);
      expect(headers['ratelimit-policy']).toBe('"ip";q=100;w=60');
      expect(headers.ratelimit).toBe(`"ip";r=${100 - i};t=60`);
    }
    jest.advanceTimersByTime(12_345);
    const refused = await get();
    expect(refused.status).toBe(429);
    const wait = Number(refused.headers['retry-after']);
    expect(wait).toBe(48);
    jest.advanceTimersByTime((wait - 1) * 1_000);
    expect((await get()).status).toBe(429);
    jest.advanceTimersByTime(1_000);
    expect((await get()).status).toBe(200);
  });

  test('responds with 429 as a problem that is not stored, with the same policy as an allowed response', async () => {
    const { get, outcomes } = await gateway({ limit: 1, windowMs: 1_500, name: 'login' });
    const allowed = await get();
    const { status, headers, body } = await get();
    expect(status).toBe(429);
    expect(headers['content-type']).toBe('application/problem+json');
    expect(headers['cache-control']).toBe('no-store');
    expect(headers['proxy-status']).toBe('expressway; error=http_request_denied');
    expect(headers['retry-after']).toBe('2');
    expect(body).toEqual({ type: 'about:blank', title: 'Too many requests', status: 429, cause: 'rate_limited' });
    expect(headers['ratelimit-policy']).toBe(allowed.headers['ratelimit-policy']);
    expect(parseRateLimitField(headers['ratelimit-policy'] as string)).toEqual([
      { value: 'login', parameters: { q: 1, w: 2 } },
    ]);
    expect(parseRateLimitField(headers.ratelimit as string)).toEqual([{ value: 'login', parameters: { r: 0, t: 2 } }]);
    expect(outcomes).toEqual([
      { kind: 'completed', status: 200 },
      { kind: 'rejected', cause: 'rate_limited', retryAfterMs: 1_500 },
    ]);
  });

  test('tells its listeners who was limited', async () => {
    const { get, limiter } = await gateway({ limit: 1 });
    const seen: LimitedEvent[] = [];
    limiter.events.on('limited', (event) => seen.push(event));
    await get();
    await get();
    expect(seen).toEqual([
      { exchange: expect.anything(), limiter: 'ip', key: '127.0.0.1', limit: 1, retryAfterMs: 60_000, shadow: false },
    ]);
  });

  test('counts each client apart: IPv6 by network, IPv4 in any form', async () => {
    const { get } = await gateway({ limit: 2 }, 1);
    const statuses = async (...from: string[]) => {
      const seen: number[] = [];
      for (const address of from) seen.push((await get(address)).status);
      return seen;
    };
    expect(await statuses('192.0.2.1', '::ffff:192.0.2.1', '::ffff:c000:201', '192.0.2.2')).toEqual([
      200, 200, 429, 200,
    ]);
    expect(await statuses('2001:db8::1', '2001:DB8:0:0ff::9', '2001:db8:0:0:8::', '2001:db8:0:100::')).toEqual([
      200, 200, 429, 200,
    ]);
  });

  test('ignores X-Forwarded-For without trust proxy', async () => {
    const { get } = await gateway({ limit: 2 });
    expect((await get('192.0.2.1')).status).toBe(200);
    expect((await get('192.0.2.2')).status).toBe(200);
    expect((await get('192.0.2.3')).status).toBe(429);
  });

  test('believes as many hops as there are proxies, and no more', async () => {
    const { get } = await gateway({ limit: 1 }, 1);
    expect((await get('198.51.100.1, 192.0.2.1')).status).toBe(200);
    expect((await get('198.51.100.2, 192.0.2.1')).status).toBe(429);
    expect((await get('192.0.2.2')).status).toBe(200);
  });

  test('counts the proxy when it forwards junk, so that junk is no fresh client', async () => {
    const { get } = await gateway({ limit: 1 }, 1);
    expect((await get('junk-1')).status).toBe(200);
    expect((await get('junk-2')).status).toBe(429);
  });

  test('refuses every request of an app that trusts everybody, and says why', async () => {
    const { get } = await gateway({}, true);
    for (let i = 0; i < 2; i++) {
      const { status, body } = await get('192.0.2.1');
      expect(status).toBe(500);
      expect(body.code).toBe('ERR_EXPRESSWAY_TRUST_PROXY');
      expect(body.message).toContain('X-Forwarded-For');
    }
  });

  test('forgets a client by address or key', async () => {
    const { get, limiter } = await gateway({ limit: 1 }, 1);
    const statuses = async () => [(await get('192.0.2.1')).status, (await get('2001:db8::1')).status];
    expect(await statuses()).toEqual([200, 200]);
    expect(await statuses()).toEqual([429, 429]);
    await limiter.resetKey('192.0.2.1');
    await limiter.resetKey('2001:db8::ffff');
    expect(await statuses()).toEqual([200, 200]);
    await limiter.resetKey('2001:db8::/56');
    expect(await statuses()).toEqual([429, 200]);
  });

  test('judges pipelined requests one by one', async () => {
    const limiter = cleanup.add(ipRateLimit({ limit: 5 }));
    const app = createApp();
    app.use(limiter, (_req, res) => void res.send('ok'));
    const { port } = cleanup.add(await listen(app));
    const socket = connect(port, '127.0.0.1');
    const last = 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(7) + last);
    let received = '';
    for await (const chunk of socket) received += chunk;
    expect(received.match(/HTTP\/1\.1 \d+/g)?.map((line) => line.slice(-3))).toEqual([
      ...Array(5).fill('200'),
      ...Array(3).fill('429'),
    ]);
  });

  test('lets several limiters guard one app', async () => {
    const [strict, lenient] = [ipRateLimit({ limit: 1, name: 'strict' }), ipRateLimit({ limit: 2, name: 'lenient' })];
    const app = createApp();
    app.use(cleanup.add(lenient), cleanup.add(strict), (_req, res) => void res.send('ok'));
    const { server } = cleanup.add(await listen(app));
    const { headers } = await supertest(server).get('/');
    expect(headers['ratelimit-policy']).toBe('"lenient";q=2;w=60, "strict";q=1;w=60');
    expect(headers.ratelimit).toBe('"lenient";r=1;t=60, "strict";r=0;t=60');
    expect((await supertest(server).get('/')).status).toBe(429);
  });
});

describe('ipRateLimit', () => {
  test('carries its name, mode and events', async () => {
    const limiter: IpRateLimiter = cleanup.add(ipRateLimit({ name: 'login' }));
    expect(limiter.name).toBe('login');
    expect(limiter.mode).toBe('memory');
    expect(limiter).toHaveLength(3);
  });

  test('has no timer left after close(), however often it is called', async () => {
    jest.useFakeTimers();
    const limiter = ipRateLimit({ redis: new FakeRedisClient() });
    expect(jest.getTimerCount()).toBeGreaterThan(0);
    await limiter.close();
    await limiter.close();
    // The turn of the event loop in which Redis was asked is over.
    await jest.advanceTimersByTimeAsync(1);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('tells its listeners each change of mode, with the error, and is ready when others have heard of it', async () => {
    jest.useFakeTimers();
    const client = new FakeRedisClient();
    const limiter = ipRateLimit({ redis: client, name: 'login' });
    const seen: LimiterModeChangeEvent[] = [];
    limiter.events.on('limiterModeChange', (event) => seen.push(event));
    let isReady = false;
    void limiter.ready().then(() => {
      isReady = true;
    });
    await jest.advanceTimersByTimeAsync(299);
    expect(isReady).toBe(false);
    await jest.advanceTimersByTimeAsync(100);
    expect(isReady).toBe(true);
    const error = new Error('read ECONNRESET');
    client.lose(error);
    expect(limiter.storeError).toBe(error);
    client.regain();
    await jest.advanceTimersByTimeAsync(0);
    expect(seen).toEqual([
      { limiter: 'login', from: 'redis', to: 'local', error },
      { limiter: 'login', from: 'local', to: 'redis', error: undefined },
    ]);
    await limiter.close();
  });

  test.each([{}, { cost: () => 1 }])(
    'does not count a client that has already left, nor lets it pass (%p)',
    (options) => {
      const limiter = cleanup.add(ipRateLimit(options));
      const res = { on: jest.fn(), prependListener: jest.fn(), destroy: jest.fn() };
      const next = jest.fn();
      limiter({ headers: {}, socket: {} } as IncomingMessage, res as unknown as ServerResponse, next);
      expect(next).not.toHaveBeenCalled();
      expect(res.destroy).toHaveBeenCalledTimes(1);
    },
  );

  test('survives a listener that throws', async () => {
    const warning = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const limiter = cleanup.add(ipRateLimit({ limit: 1 }));
    limiter.events.on('limited', () => {
      throw new Error('listener');
    });
    const app = express().use(limiter);
    const { server } = cleanup.add(await listen(app));
    await supertest(server).get('/');
    expect((await supertest(server).get('/')).status).toBe(429);
    expect(warning).toHaveBeenCalledTimes(1);
  });

  test('works without Express, and on a Unix socket', async () => {
    const limiter = cleanup.add(ipRateLimit({ limit: 1 }));
    const path = join(tmpdir(), `expressway-${process.pid}-${Math.random()}.sock`);
    const server = createServer((req, res) => limiter(req, res, () => res.end('ok'))).listen(path);
    const status = () =>
      new Promise((resolve, reject) => {
        request({ socketPath: path, agent: false }, (res) => resolve(res.resume().statusCode))
          .on('error', reject)
          .end();
      });
    expect(await status()).toBe(200);
    expect(await status()).toBe(429);
    server.close();
    await rm(path, { force: true });
  });
});
