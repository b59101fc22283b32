import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import express from 'express';
import supertest from 'supertest';
import type { LimitedEvent, RejectedEvent } from '../../../lib/core/events.ts';
import { verdictOf } from '../../../lib/core/outcome.ts';
import { ipRateLimit } from '../../../lib/rate-limit/ip-rate-limit.ts';
import type { IpRateLimitOptions } from '../../../lib/rate-limit/ip-rate-limit-options.ts';
import { Cleanup } from '../../support/gateway.ts';
import { listen } from '../../support/servers.ts';
import { FakeRedisClient } from './fake-redis-client.ts';

const cleanup = new Cleanup();

beforeEach(() => {
  jest.useFakeTimers({
    doNotFake: [
      'setTimeout',
      'clearTimeout',
      'setImmediate',
      'clearImmediate',
      'nextTick',
      'queueMicrotask',
      'hrtime',
      'performance',
    ],
  });
});
afterEach(async () => {
  await cleanup.run();
  jest.useRealTimers();
});

async function gateway(options: IpRateLimitOptions) {
  const limiter = cleanup.add(ipRateLimit(options));
  const limited: LimitedEvent[] = [];
  const rejected: RejectedEvent[] = [];
  limiter.events.on('limited', (event) => limited.push(event)).on('rejected', (event) => rejected.push(event));
  const app = express()
    .set('trust proxy', 1)
    .use(limiter, (_req, res) => void res.send('ok'))
    .use((error: Error, _req: unknown, res: express.Response, _next: unknown) => {
      res.status(500).send(error.message);
    });
  const { server } = cleanup.add(await listen(app));
  const get = (fields: Record<string, string> = {}) => supertest(server).get('/').set(fields);
  const from = (address: string) => get({ 'X-Forwarded-For': address });
  const statuses = async (asked: readonly Record<string, string>[]) => {
    const seen: number[] = [];
    for (const fields of asked) seen.push((await get(fields)).status);
    return seen;
  };
  return { limiter, get, from, statuses, limited, rejected };
}

describe.each(['sliding-window', 'token-bucket', 'fixed-window'] as const)('ipRateLimit with %s', (algorithm) => {
  test('D10: waiting for as long as Retry-After says, and no less, makes the next request pass', async () => {
    const { get } = await gateway({ algorithm, limit: 10, windowMs: 10_000 });
    for (let i = 0; i < 7; i++) expect((await get()).status).toBe(200);
    jest.advanceTimersByTime(algorithm === 'fixed-window' ? 400 : 9_400);
    let refused = await get();
    for (let i = 0; refused.status === 200 && i < 20; i++) refused = await get();
    expect(refused.status).toBe(429);
    const wait = Number(refused.headers['retry-after']);
    expect(refused.headers.ratelimit).toBe(`"ip";r=0;t=${wait}`);
    jest.advanceTimersByTime((wait - 1) * 1_000);
    expect((await get()).status).toBe(429);
    jest.advanceTimersByTime(1_000);
    expect((await get()).status).toBe(200);
  });
});

describe('ipRateLimit', () => {
  test('token-bucket lets a burst pass, then as many as are refilled; refused ones cost nothing', async () => {
    const { get } = await gateway({ algorithm: 'token-bucket', limit: 60, windowMs: 60_000, burst: 3 });
    const first = await get();
    expect(first.headers['ratelimit-policy']).toBe('"ip";q=3;w=3');
    expect(first.headers.ratelimit).toBe('"ip";r=2;t=1');
    const statuses: number[] = [];
    for (let i = 0; i < 10; i++) statuses.push((await get()).status);
    expect(statuses).toEqual([200, 200, ...Array(8).fill(429)]);
    jest.advanceTimersByTime(2_000);
    expect([(await get()).status, (await get()).status, (await get()).status]).toEqual([200, 200, 429]);
  });

  test.each([
    ['at once', (value: string | undefined) => value],
    ['by a promise', (value: string | undefined) => Promise.resolve(value)],
  ])('key() says %s who is counted; with nothing, the address is', async (_when, give) => {
    const { statuses, limited, limiter } = await gateway({
      limit: 1,
      key: (req) => give(req.headers['x-api-key'] as string | undefined) as string,
    });
    const [a, b] = [{ 'X-Api-Key': 'a' }, { 'X-Api-Key': 'b' }];
    expect(await statuses([a, a, b, {}, {}])).toEqual([200, 429, 200, 200, 429]);
    expect(limited.map(({ key }) => key)).toEqual(['k:a', '127.0.0.1']);
    await limiter.resetKey('a');
    await limiter.resetKey('k:b');
    expect(await statuses([a, b, {}])).toEqual([200, 200, 429]);
  });

  test.each([
    ['203.0.113.7'],
    ['::ffff:203.0.113.7'],
    ['2001:db8::1'],
    ['2001:db8::/56'],
    ['unix'],
    ['k:a'],
    ['h:a'],
    ['a b'],
    ['x'.repeat(100)],
  ])('resetKey() forgets the client of %j as key() gave it, and as the event shows it', async (text) => {
    const { statuses, limiter, limited } = await gateway({ limit: 1, key: () => text });
    expect(await statuses([{}, {}])).toEqual([200, 429]);
    await limiter.resetKey(text);
    expect(await statuses([{}, {}])).toEqual([200, 429]);
    await limiter.resetKey(limited[0]?.key as string);
    expect(await statuses([{}, {}])).toEqual([200, 429]);
    await limiter.resetKey('another');
    expect(await statuses([{}])).toEqual([429]);
  });

  test('resetKey() forgets a client that key() leaves to its address, IPv6 networks included', async () => {
    const { from, limiter, limited } = await gateway({ limit: 1, key: () => undefined });
    for (const address of ['203.0.113.7', '2001:db8::1']) {
      expect([(await from(address)).status, (await from(address)).status]).toEqual([200, 429]);
      await limiter.resetKey(address);
      expect([(await from(address)).status, (await from(address)).status]).toEqual([200, 429]);
      await limiter.resetKey(limited.at(-1)?.key as string);
      expect((await from(address)).status).toBe(200);
    }
  });

  test.each([
    ['at once', (skips: boolean) => skips],
    ['by a promise', async (skips: boolean) => skips],
  ])('skip() says %s who is neither limited nor counted', async (_, answer) => {
    const { statuses, get } = await gateway({ limit: 1, skip: (req) => answer(req.headers['x-skip'] === '1') });
    const skipped = { 'X-Skip': '1' };
    expect(await statuses([skipped, {}, skipped, {}])).toEqual([200, 200, 200, 429]);
    expect((await get(skipped)).headers.ratelimit).toBeUndefined();
  });

  test('an error of skip() is passed on, and deny holds all the same', async () => {
    const failing = await gateway({ skip: () => Promise.reject(new Error('broken')) });
    expect(await failing.get()).toMatchObject({ status: 500, text: 'broken' });
    const denying = await gateway({ skip: () => true, deny: ['203.0.113.7'] });
    expect((await denying.from('203.0.113.7')).status).toBe(403);
  });

  test('a key that looks like an address is not that address, and a long one is as good as any', async () => {
    const { statuses } = await gateway({ limit: 1, key: (req) => req.headers['x-api-key'] as string | undefined });
    const [one, two] = ['x'.repeat(5_000), `${'x'.repeat(4_999)}y`].map((text) => ({ 'X-Api-Key': text }));
    expect(await statuses([{ 'X-Api-Key': '127.0.0.1' }, {}, one!, two!, one!])).toEqual([200, 200, 200, 200, 429]);
  });

  test('limit() says how much a client may spend, and the fields follow', async () => {
    const { get } = await gateway({ limit: (req) => (req.headers['x-plan'] === 'gold' ? 3 : 1) });
    const gold = { 'X-Plan': 'gold' };
    const first = await get();
    expect([first.headers['ratelimit-policy'], first.headers.ratelimit]).toEqual(['"ip";q=1;w=60', '"ip";r=0;t=60']);
    expect((await get()).status).toBe(429);
    const second = await get(gold);
    expect([second.headers['ratelimit-policy'], second.headers.ratelimit]).toEqual(['"ip";q=3;w=60', '"ip";r=1;t=60']);
  });

  test('cost() says how much a request counts for: nothing, more than is left, or more than the limit', async () => {
    const { get, statuses } = await gateway({ limit: 5, cost: (req) => Number(req.headers['x-cost']) });
    const costs = (...list: number[]) => statuses(list.map((cost) => ({ 'X-Cost': String(cost) })));
    expect(await costs(0, 3, 3, 2, 0, 1)).toEqual([200, 200, 429, 200, 200, 429]);
    expect((await get({ 'X-Cost': '4' })).headers['retry-after']).toBe('96');
    jest.advanceTimersByTime(120_000);
    expect(await costs(99, 1)).toEqual([200, 429]);
  });

  test.each([
    ['key', { key: () => 7 as never }, 'key() must return a string or undefined, returned number'],
    ['limit', { limit: () => 0 }, 'limit() must return an integer from 1'],
    ['cost', { cost: () => Number.NaN }, 'cost() must return an integer of at least 0, returned NaN'],
    ['a rejected key', { key: () => Promise.reject(new Error('no database')) }, 'no database'],
    [
      'a throwing cost',
      {
        cost: () => {
          throw new Error('oops');
        },
      },
      'oops',
    ],
  ])('passes a bad answer of %s on as an error', async (_name, options, message) => {
    const { get } = await gateway(options);
    const { status, text } = await get();
    expect(status).toBe(500);
    expect(text).toContain(message);
  });

  test('allow and deny: no client of the one is counted, all clients of the other get 403', async () => {
    const allow = ['192.0.2.0/24', '2001:db8::/32'];
    const { from, rejected, limited } = await gateway({
      limit: 1,
      allow,
      deny: ['192.0.2.7', '203.0.113.0/24', '2001:db8:7::/48'],
    });
    for (const address of ['192.0.2.1', '192.0.2.1', '2001:db8::1', '2001:db8::1', '::ffff:192.0.2.1']) {
      const { status, headers } = await from(address);
      expect(status).toBe(200);
      expect(headers.ratelimit).toBeUndefined();
    }
    const denied = [
      '192.0.2.7',
      '203.0.113.255',
      '::ffff:cb00:7101',
      '2001:db8:7::9',
      '203.0.113.1:4711',
      '[2001:db8:7::9]:80',
    ];
    for (const address of denied) {
      const { status, headers, body } = await from(address);
      expect(status).toBe(403);
      expect(headers['content-type']).toBe('application/problem+json');
      expect(body).toMatchObject({ title: 'Forbidden', status: 403, cause: 'client_denied' });
      expect(headers['retry-after']).toBeUndefined();
    }
    expect(limited).toEqual([]);
    expect(rejected.map(({ outcome }) => outcome)).toEqual(
      denied.map(() => ({ kind: 'rejected', cause: 'client_denied' })),
    );
    expect([(await from('198.51.100.1')).status, (await from('198.51.100.1')).status]).toEqual([200, 429]);
    expect([(await from('junk')).status, (await from('other junk')).status]).toEqual([200, 429]);
  });

  test.each([
    [{ allow: ['192.0.2.1'] }, 200],
    [{ deny: ['192.0.2.1'] }, 403],
  ])('one list is enough, and one address in it: %j', async (lists, status) => {
    const { from } = await gateway({ limit: 1, ...lists });
    expect([(await from('192.0.2.1')).status, (await from('192.0.2.1')).status]).toEqual([status, status]);
    expect([(await from('192.0.2.2')).status, (await from('192.0.2.2')).status]).toEqual([200, 429]);
  });

  test('shadow: counts and reports, refuses no client and sets no headers', async () => {
    const { get, limited } = await gateway({ limit: 2, shadow: true });
    for (let i = 0; i < 5; i++) {
      const { status, headers } = await get();
      expect(status).toBe(200);
      expect(Object.keys(headers).filter((name) => /ratelimit|retry/.test(name))).toEqual([]);
    }
    expect(limited.map(({ shadow, limit }) => [shadow, limit])).toEqual(Array(3).fill([true, 2]));
  });

  test('several windows: a request counts in all of them or not at all', async () => {
    const { get, limited } = await gateway({ windows: '2/10s, 3/1m' });
    const statuses = async (count: number) => {
      const seen: number[] = [];
      for (let i = 0; i < count; i++) seen.push((await get()).status);
      return seen;
    };
    const first = await get();
    expect(first.headers['ratelimit-policy']).toBe('"ip-10s";q=2;w=10, "ip-60s";q=3;w=60');
    expect(first.headers.ratelimit).toBe('"ip-10s";r=1;t=10, "ip-60s";r=2;t=60');
    expect(await statuses(3)).toEqual([200, 429, 429]);
    jest.advanceTimersByTime(20_000);
    expect(await statuses(2)).toEqual([200, 429]);
    const { headers } = await get();
    // The short window has room again, and is not charged for what the long one refuses.
    expect(headers.ratelimit).toBe('"ip-10s";r=1;t=10, "ip-60s";r=0;t=40');
    expect(headers['retry-after']).toBe('40');
    expect(limited.map(({ limit }) => limit)).toEqual([2, 2, 3, 3]);
    jest.advanceTimersByTime(40_000);
    expect(await statuses(1)).toEqual([200]);
  });

  test.each([
    ['draft-7', { ratelimit: 'limit=2, remaining=1, reset=60', 'ratelimit-policy': '2;w=60' }],
    [
      'draft-6',
      { 'ratelimit-limit': '2', 'ratelimit-remaining': '1', 'ratelimit-reset': '60', 'ratelimit-policy': '2;w=60' },
    ],
    [
      'legacy',
      {
        'x-ratelimit-limit': '2',
        'x-ratelimit-remaining': '1',
        'x-ratelimit-reset': String(Date.UTC(2030, 0, 1) / 1_000 + 60),
      },
    ],
    ['none', {}],
  ] as const)('fields in the form %s', async (fields, expected) => {
    jest.setSystemTime(Date.UTC(2030, 0, 1));
    const { get } = await gateway({ limit: 2, fields });
    const { headers } = await get();
    expect(Object.fromEntries(Object.entries(headers).filter(([name]) => name.includes('ratelimit')))).toEqual(
      expected,
    );
    await get();
    const refused = await get();
    expect([refused.status, refused.headers['retry-after']]).toEqual([429, '60']);
  });

  test.each(['draft-7', 'draft-6', 'legacy'] as const)(
    '%s tells of the quota that ends first, of several',
    async (fields) => {
      const app = express().use(
        cleanup.add(ipRateLimit({ name: 'a', limit: 9, fields })),
        cleanup.add(ipRateLimit({ name: 'b', windows: '5/1h, 7/1m', fields })),
        cleanup.add(ipRateLimit({ name: 'c', limit: 8, fields })),
        (_req, res) => void res.send('ok'),
      );
      const { server } = cleanup.add(await listen(app));
      const { headers } = await supertest(server).get('/');
      const said = {
        'draft-7': headers.ratelimit,
        'draft-6': headers['ratelimit-limit'],
        legacy: headers['x-ratelimit-limit'],
      };
      expect(said[fields]).toMatch(/^(limit=)?5/);
    },
  );
});

describe('ipRateLimit without its store', () => {
  const down = (onStoreError: 'open' | 'closed', more: IpRateLimitOptions = {}) => {
    const client = new FakeRedisClient();
    client.isReady = false;
    const atOnce = { fallbackAfterMisses: 1, fallbackAfterMs: 0 };
    return gateway({ redis: client, limit: 1, onStoreError, ...atOnce, ...more });
  };

  test('D01 open: all clients pass, and get no headers of a limit', async () => {
    const { get, limiter, limited, rejected } = await down('open');
    for (let i = 0; i < 3; i++) {
      const { status, headers } = await get();
      expect([status, headers.ratelimit, headers['ratelimit-policy'], headers['retry-after']]).toEqual([
        200,
        undefined,
        undefined,
        undefined,
      ]);
    }
    expect(limiter.mode).toBe('open');
    expect([limited, rejected]).toEqual([[], []]);
  });

  test('D01 closed: a 503 with Retry-After, as a rejection that counts against no backend', async () => {
    const { get, limiter, limited, rejected } = await down('closed');
    const { status, headers, body } = await get();
    expect(status).toBe(503);
    expect(headers).toMatchObject({
      'retry-after': '1',
      'content-type': 'application/problem+json',
      'cache-control': 'no-store',
      'proxy-status': 'expressway; error=proxy_internal_error',
    });
    expect(headers.ratelimit).toBeUndefined();
    expect(body).toMatchObject({ status: 503, cause: 'limiter_unavailable' });
    expect(limiter.mode).toBe('closed');
    expect(limited).toEqual([]);
    expect(rejected).toHaveLength(1);
    const [{ outcome, exchange }] = rejected as [RejectedEvent];
    expect(exchange.outcome).toBe(outcome);
    expect(verdictOf(outcome)).toBe('neutral');
  });

  test('closed, in shadow mode, refuses no client', async () => {
    const { get, rejected } = await down('closed', { shadow: true });
    expect((await get()).status).toBe(200);
    expect(rejected).toEqual([]);
  });
});
