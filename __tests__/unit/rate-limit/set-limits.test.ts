import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import express from 'express';
import supertest from 'supertest';
import { GatewayEvents } from '../../../lib/core/gateway-events.ts';
import { OptionsError } from '../../../lib/core/options.ts';
import { type IpRateLimiter, ipRateLimit } from '../../../lib/rate-limit/ip-rate-limit.ts';
import type { IpRateLimitOptions } from '../../../lib/rate-limit/ip-rate-limit-options.ts';
import { Cleanup } from '../../support/gateway.ts';
import { eventually, listen } from '../../support/servers.ts';
import { FakeRedisClient } from './fake-redis-client.ts';

const cleanup = new Cleanup();
afterEach(async () => {
  jest.useRealTimers();
  await cleanup.run();
});

async function gateway(options: IpRateLimitOptions) {
  const limiter = cleanup.add(ipRateLimit(options));
  const app = express()
    .set('trust proxy', 1)
    .use(limiter, (_req, res) => void res.send('ok'));
  const { server } = cleanup.add(await listen(app));
  const from = async (address: string) => (await supertest(server).get('/').set('X-Forwarded-For', address)).status;
  const policy = async () => (await supertest(server).get('/')).headers['ratelimit-policy'];
  const passing = async (address: string) => {
    let passed = 0;
    while ((await from(address)) === 200) passed++;
    return passed;
  };
  return { limiter, from, policy, passing };
}

describe('setLimits() in memory', () => {
  test('is in force with the next request, and begins anew', async () => {
    const { limiter, passing } = await gateway({ limit: 2 });
    expect(await passing('192.0.2.1')).toBe(2);
    limiter.setLimits({ limit: 3 });
    expect(await passing('192.0.2.1')).toBe(3);
  });

  test('keeps name, events and prefix, and uses defaults for missing options', async () => {
    const events = new GatewayEvents();
    const limited: string[] = [];
    events.on('limited', (event) => limited.push(event.limiter));
    const { limiter, from, policy, passing } = await gateway({ name: 'login', events, limit: 2, deny: ['192.0.2.9'] });
    expect(await from('192.0.2.9')).toBe(403);
    limiter.setLimits({ limit: 4, windowMs: 30_000 });
    expect([limiter.name, limiter.events]).toEqual(['login', events]);
    expect(await policy()).toBe('"login";q=4;w=30');
    expect(await from('192.0.2.9')).toBe(200);
    expect(await passing('192.0.2.1')).toBe(4);
    expect(limited).toEqual(['login']);
    limiter.setLimits({ allow: undefined });
    expect(await policy()).toBe('"login";q=100;w=60');
  });

  test('with options that cannot be used changes nothing', async () => {
    const { limiter, policy } = await gateway({ limit: 2 });
    expect(() => limiter.setLimits({ limit: 0 })).toThrow(OptionsError);
    await expect(limiter.prepareLimits({ limit: 0 })).rejects.toThrow(OptionsError);
    expect(await policy()).toBe('"ip";q=2;w=60');
  });

  test('refuses a limiter that is closed', async () => {
    const { limiter } = await gateway({ limit: 2 });
    await limiter.close();
    const code = 'ERR_EXPRESSWAY_CLOSED';
    const message = expect.stringMatching(/^setLimits: the limiter is closed/);
    expect(() => limiter.setLimits({ limit: 3 })).toThrow(expect.objectContaining({ code, message }));
  });

  test('prepareLimits() puts limits in force when apply() is called, and never after discard()', async () => {
    const { limiter, policy } = await gateway({ limit: 2 });
    const prepared = await limiter.prepareLimits({ limit: 3 });
    expect(await policy()).toBe('"ip";q=2;w=60');
    prepared.apply();
    expect(await policy()).toBe('"ip";q=3;w=60');
    (await limiter.prepareLimits({ limit: 4 })).discard();
    expect(await policy()).toBe('"ip";q=3;w=60');
  });
});

describe('setLimits() with Redis', () => {
  let client: FakeRedisClient;
  let limiter: IpRateLimiter;
  /** How many meters hold the client. */
  const meters = () => client.listenerCount('error');
  const keys = () => [...client.hits.keys()];
  const make = (options: IpRateLimitOptions = {}) => {
    limiter = cleanup.add(ipRateLimit({ redis: client, algorithm: 'fixed-window', keyPrefix: 'p:', ...options }));
  };

  beforeEach(() => {
    jest.useFakeTimers();
    client = new FakeRedisClient();
    make();
  });

  test('goes on under the limits before until other gateways have heard of the new connection', async () => {
    await jest.advanceTimersByTimeAsync(0);
    limiter.setLimits({ algorithm: 'fixed-window', onStoreError: 'open' });
    expect(meters()).toBe(2);
    client.lose();
    expect(limiter.mode).toBe('local');
    client.regain();
    await jest.advanceTimersByTimeAsync(500);
    client.lose();
    expect(limiter.mode).toBe('open');
  });

  test('closes the limits before five seconds later: by then they have decided about all that they were given', async () => {
    await jest.advanceTimersByTimeAsync(0);
    limiter.setLimits({ algorithm: 'fixed-window' });
    await jest.advanceTimersByTimeAsync(300);
    await jest.advanceTimersByTimeAsync(4_900);
    expect(meters()).toBe(2);
    await jest.advanceTimersByTimeAsync(200);
    expect(meters()).toBe(1);
    expect(limiter.mode).toBe('redis');
  });

  test('the last call decides, and the connections of the others are closed', async () => {
    await jest.advanceTimersByTimeAsync(0);
    for (const onStoreError of ['closed', 'local', 'open'] as const) {
      limiter.setLimits({ algorithm: 'fixed-window', onStoreError });
    }
    expect(meters()).toBe(4);
    await jest.advanceTimersByTimeAsync(500);
    expect(meters()).toBe(2);
    client.lose();
    expect(limiter.mode).toBe('open');
  });

  test('apply() is such a call, too: limits that setLimits() was given before and that are not in force yet are dropped', async () => {
    await jest.advanceTimersByTimeAsync(0);
    const preparing = limiter.prepareLimits({ algorithm: 'fixed-window', onStoreError: 'open' });
    await jest.advanceTimersByTimeAsync(400);
    limiter.setLimits({ algorithm: 'fixed-window', onStoreError: 'closed' });
    (await preparing).apply();
    await jest.advanceTimersByTimeAsync(400);
    expect(meters()).toBe(2);
    client.lose();
    expect(limiter.mode).toBe('open');
  });

  test('once closed, the limiter holds its client no more: neither now, nor by limits that are not in force yet', async () => {
    await jest.advanceTimersByTimeAsync(0);
    limiter.setLimits({ algorithm: 'fixed-window' });
    await jest.advanceTimersByTimeAsync(500);
    limiter.setLimits({ algorithm: 'fixed-window' });
    const preparing = limiter.prepareLimits({ algorithm: 'fixed-window' });
    await jest.advanceTimersByTimeAsync(0);
    expect(meters()).toBe(4);
    await limiter.close();
    expect(meters()).toBe(2);
    await jest.advanceTimersByTimeAsync(500);
    expect(meters()).toBe(1);
    (await preparing).apply();
    await jest.advanceTimersByTimeAsync(100);
    expect(meters()).toBe(0);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('prepareLimits() waits for the connection, and discard() releases it', async () => {
    await jest.advanceTimersByTimeAsync(0);
    let prepared: Awaited<ReturnType<IpRateLimiter['prepareLimits']>> | undefined;
    void limiter.prepareLimits({ algorithm: 'fixed-window' }).then((made) => {
      prepared = made;
    });
    await jest.advanceTimersByTimeAsync(299);
    expect(prepared).toBeUndefined();
    await jest.advanceTimersByTimeAsync(101);
    expect([prepared === undefined, meters()]).toEqual([false, 2]);
    prepared?.discard();
    await jest.advanceTimersByTimeAsync(100);
    expect(meters()).toBe(1);
  });

  test('counts on under the same keys', async () => {
    jest.useRealTimers();
    const app = express().use(limiter, (_req, res) => void res.send('ok'));
    const { server } = cleanup.add(await listen(app));
    await limiter.ready();
    await supertest(server).get('/');
    const before = keys();
    expect(before).toEqual([expect.stringMatching(/^p:ip:/)]);
    limiter.setLimits({ algorithm: 'fixed-window', limit: 7 });
    await eventually('the new limits are in force', async () => {
      const { headers } = await supertest(server).get('/');
      return headers['ratelimit-policy'] === '"ip";q=7;w=60';
    });
    expect(keys()).toEqual(before);
    expect((await supertest(server).get('/')).headers.ratelimit).toMatch(/r=[0-4];/);
  });
});
