import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { LimiterMeter } from '../../../lib/rate-limit/meter.ts';
import { type LimiterMeterSettings, openLimiterMeter } from '../../../lib/rate-limit/open-meter.ts';
import { FakeRedisClient } from './fake-redis-client.ts';

const LIMIT = 1_000;
const SETTINGS = {
  algorithm: 'fixed-window',
  quotas: [{ limit: LIMIT, windowMs: 60_000, burst: LIMIT }],
  name: 'ip',
  maxKeys: 1_000,
  prefix: 'rl:ip:',
  storeTimeoutMs: 50,
  // Most tests are about what comes behind the change of mode.
  fallbackAfterMisses: 1,
  fallbackAfterMs: 0,
  onStoreError: 'local',
} as const;

describe('the meter with Redis', () => {
  let client: FakeRedisClient;
  let meter: LimiterMeter;
  let changes: string[];

  beforeEach(() => {
    jest.useFakeTimers();
    client = new FakeRedisClient();
    changes = [];
  });
  afterEach(async () => {
    const closing = meter.close();
    await jest.advanceTimersByTimeAsync(1_100);
    await closing;
    expect(jest.getTimerCount()).toBe(0);
    jest.useRealTimers();
  });

  async function open(more: Partial<LimiterMeterSettings> = {}): Promise<void> {
    meter = openLimiterMeter({ ...SETTINGS, ...more, redis: client }, (from, to, error) =>
      changes.push(`${from} -> ${to}${error ? `: ${error.message}` : ''}`),
    );
    await jest.advanceTimersByTimeAsync(0);
  }

  async function openWithoutRedis(more: Partial<LimiterMeterSettings> = {}): Promise<void> {
    client.isReady = false;
    await open(more);
    client.lose(new Error('connect ECONNREFUSED'));
  }

  const hit = async () => {
    const { quotaStates } = await meter.take({ key: 'k', cost: 1, limit: undefined });
    return LIMIT - (quotaStates[0]?.remaining ?? Number.NaN);
  };

  /** Counts one hit; says also how long that took. */
  async function timedHit(): Promise<[hits: number, ms: number]> {
    const start = Date.now();
    const hitting = hit().then((hits) => [hits, Date.now() - start] as [number, number]);
    await jest.advanceTimersByTimeAsync(60);
    return hitting;
  }

  test('counts in Redis, under its prefix', async () => {
    await open();
    expect([await hit(), await hit()]).toEqual([1, 2]);
    expect(client.hits).toEqual(new Map([['rl:ip:k', 2]]));
    expect(meter.mode).toBe('redis');
    expect(changes).toEqual([]);
  });

  test('counts here while Redis is down at the start, then shares by itself, including its own counts', async () => {
    await openWithoutRedis();
    expect([await hit(), await hit()]).toEqual([1, 2]);
    expect(meter.mode).toBe('local');
    client.regain();
    await jest.advanceTimersByTimeAsync(0);
    expect(meter.mode).toBe('redis');
    expect(await hit()).toBe(3);
    expect(changes).toEqual(['redis -> local: connect ECONNREFUSED', 'local -> redis']);
  });

  test('waits for one deadline only, also when Redis first gets the hits that the client spent without it', async () => {
    await openWithoutRedis();
    await hit();
    client.mood = 'silent';
    client.isReady = true;
    client.emit('ready');
    const start = Date.now();
    const hitting = hit().then(() => Date.now() - start);
    await jest.advanceTimersByTimeAsync(40);
    client.answerLate();
    client.mood = 'silent';
    await jest.advanceTimersByTimeAsync(60);
    expect(await hitting).toBeLessThan(SETTINGS.storeTimeoutMs + 10);
  });

  test('tells of a lost connection even when there are no requests', async () => {
    await open();
    client.lose();
    client.emit('error', new Error('connect ECONNREFUSED'));
    expect(meter.mode).toBe('local');
    expect(changes).toEqual(['redis -> local: Socket closed unexpectedly']);
  });

  test('lets errors of a client that still works alone', async () => {
    await open();
    client.emit('error', new Error('some push message'));
    expect(meter.mode).toBe('redis');
  });

  test('a silent Redis costs one deadline for the requests under way, and nothing for the rest', async () => {
    await open();
    client.mood = 'silent';
    const underWay = await Promise.all([timedHit(), timedHit(), timedHit()]);
    expect(underWay.map(([hits]) => hits).sort()).toEqual([1, 2, 3]);
    for (const [, ms] of underWay) expect(ms).toBeLessThanOrEqual(SETTINGS.storeTimeoutMs + 20);
    for (let i = 0; i < 10; i++) expect((await timedHit())[1]).toBe(0);
    expect(client.increments).toBe(3);
    expect(changes).toEqual(['redis -> local: no reply from the store within 50 ms']);
  });

  test('lets no request wait for a trial, and tries a silent Redis less and less often', async () => {
    await open();
    client.mood = 'silent';
    let slow = 0;
    const beats = client.beats;
    for (let second = 0; second < 60; second++) {
      for (let i = 0; i < 10; i++) {
        if ((await timedHit())[1] > 0) slow++;
        await jest.advanceTimersByTimeAsync(40);
      }
    }
    expect(slow).toBe(1);
    // After 1, 2, 4, 8 and 16 seconds; the sixth trial would be half a minute later.
    expect(client.beats - beats).toBe(5);
    expect(changes).toHaveLength(1);
  });

  test('notices a silent Redis without requests, and its return as well', async () => {
    await open();
    client.mood = 'silent';
    await jest.advanceTimersByTimeAsync(4_000);
    expect(meter.mode).toBe('local');
    client.mood = 'well';
    await jest.advanceTimersByTimeAsync(5_000);
    expect(meter.mode).toBe('redis');
    expect(client.increments).toBe(0);
  });

  test('shares again a second after the silence began, after a pause of any length, and counts late hits once', async () => {
    await open();
    client.mood = 'silent';
    await timedHit();
    await jest.advanceTimersByTimeAsync(4_000);
    await timedHit();
    expect(meter.mode).toBe('local');
    client.answerLate();
    await jest.advanceTimersByTimeAsync(1_000);
    expect(meter.mode).toBe('redis');
    expect(await hit()).toBe(3);
    expect(changes).toHaveLength(2);
  });

  test('shares again at once when the client has a new connection, however long the pause was', async () => {
    await open();
    client.mood = 'silent';
    for (let i = 0; i < 4; i++) {
      await jest.advanceTimersByTimeAsync(8_000);
      await timedHit();
    }
    client.lose();
    client.regain();
    await jest.advanceTimersByTimeAsync(0);
    expect(meter.mode).toBe('redis');
  });

  test('keeps a Redis that is always too slow out of the way', async () => {
    await open();
    const slow = client.sendCommand.bind(client);
    client.sendCommand = (args) => new Promise((resolve) => setTimeout(() => resolve(slow(args)), 55));
    let costly = 0;
    for (let i = 0; i < 100; i++) {
      if ((await timedHit())[1] > 0) costly++;
      await jest.advanceTimersByTimeAsync(40);
    }
    expect(costly).toBe(1);
    expect(changes).toHaveLength(1);
    await jest.advanceTimersByTimeAsync(100);
  });

  describe('with replies that are late', () => {
    const SLOW = { fallbackAfterMisses: 3, fallbackAfterMs: 1_000 };
    const limited = (limit: number) => ({ ...SLOW, quotas: [{ limit, windowMs: 60_000, burst: limit }] });
    const claimOf = (key: string) => ({ key, cost: 1, limit: undefined });

    test('a pause costs each request its deadline and no mode; each hit counts in Redis, once', async () => {
      await open(SLOW);
      expect(await hit()).toBe(1);
      for (let round = 0; round < 20; round++) {
        client.mood = 'silent';
        const hits = [timedHit(), timedHit(), timedHit()];
        await jest.advanceTimersByTimeAsync(200);
        for (const [, ms] of await Promise.all(hits)) expect(ms).toBeLessThanOrEqual(SETTINGS.storeTimeoutMs + 20);
        client.answerLate();
        await jest.advanceTimersByTimeAsync(740);
        expect(await hit()).toBe(4 * round + 5);
      }
      expect(changes).toEqual([]);
      expect(client.hits.get('rl:ip:k')).toBe(81);
    });

    test('the late reply corrects the fallback', async () => {
      await open(limited(10));
      await hit();
      client.mood = 'silent';
      await timedHit();
      // Other gateways have used all of it meanwhile.
      client.hits.set('rl:ip:k', 10);
      client.answerLate();
      await jest.advanceTimersByTimeAsync(0);
      client.mood = 'silent';
      const asked = Promise.resolve(meter.take(claimOf('k')));
      await jest.advanceTimersByTimeAsync(60);
      expect((await asked).allowed).toBe(false);
    });

    test('a late request is decided by the known counts, and no more requests pass than was left', async () => {
      client.gateways = 4;
      await open(limited(100));
      for (let i = 0; i < 60; i++) await meter.take(claimOf('k'));
      client.mood = 'silent';
      const asked = Array.from({ length: 50 }, () => Promise.resolve(meter.take(claimOf('k'))));
      await jest.advanceTimersByTimeAsync(60);
      expect((await Promise.all(asked)).filter(({ allowed }) => allowed)).toHaveLength(10);
    });

    test('a hit whose reply never comes is sent to Redis when it is back', async () => {
      await open(SLOW);
      client.mood = 'silent';
      await timedHit();
      client.fail(new Error('Socket closed unexpectedly'));
      client.lose();
      client.regain();
      await jest.advanceTimersByTimeAsync(300);
      expect(client.hits.get('rl:ip:k')).toBe(1);
    });

    test('so many in a row, for so long, change the mode; one in time in between begins anew', async () => {
      await open(SLOW);
      client.mood = 'silent';
      for (let i = 0; i < 8; i++) await timedHit();
      client.answerLate();
      await hit();
      client.mood = 'silent';
      for (let i = 0; i < 16; i++) await timedHit();
      expect(changes).toEqual([]);
      await jest.advanceTimersByTimeAsync(200);
      await timedHit();
      expect(changes).toEqual(['redis -> local: no reply from the store within 50 ms']);
      expect((await timedHit())[1]).toBe(0);
    });
  });

  describe('a Redis that has come back without its counts', () => {
    test('gets all of it also where it takes its time to reply at first, and no beat comes before that', async () => {
      await open({ quotas: [{ limit: 100, windowMs: 60_000, burst: 100 }] });
      for (let i = 0; i < 40; i++) await hit();
      client.lose();
      for (let i = 0; i < 10; i++) await hit();
      client.hits.clear();
      client.forgetsGateways = true;
      client.mood = 'silent';
      client.isReady = true;
      client.emit('ready');
      await jest.advanceTimersByTimeAsync(600);
      // A script to load, and whether this gateway is known still.
      expect(client.sent.slice(-3).some(([command, , , , , , looks]) => command === 'EVALSHA' && looks === '0')).toBe(
        false,
      );
      client.answerLate();
      await jest.advanceTimersByTimeAsync(0);
      expect(client.hits.get('rl:ip:k')).toBe(50);
    });

    const LIMITED = { quotas: [{ limit: 100, windowMs: 60_000, burst: 100 }] };
    const spend = async (count: number) => {
      let passed = 0;
      for (let i = 0; i < count; i++) {
        if ((await meter.take({ key: 'k', cost: 1, limit: undefined })).allowed) passed++;
      }
      return passed;
    };

    test('gets its own counts back, also those of a client that was only denied meanwhile', async () => {
      for (const spent of [40, 100]) {
        await open(LIMITED);
        expect(await spend(spent)).toBe(spent);
        client.lose();
        const meanwhile = await spend(200);
        expect(meanwhile).toBe(100 - spent);
        client.hits.clear();
        client.forgetsGateways = true;
        client.regain();
        await jest.advanceTimersByTimeAsync(0);
        expect(client.hits.get('rl:ip:k')).toBe(100);
        expect(await spend(50)).toBe(0);
        client.forgetsGateways = false;
        client.hits.clear();
        await meter.close();
      }
    });

    test('gets no such report when it has kept them', async () => {
      await open(LIMITED);
      await spend(40);
      client.lose();
      await spend(10);
      client.hits.set('rl:ip:k', 20);
      client.regain();
      await jest.advanceTimersByTimeAsync(0);
      expect(client.hits.get('rl:ip:k')).toBe(30);
    });

    test('gives no gateway more than its part until the others are back as well', async () => {
      client.gateways = 4;
      await open(LIMITED);
      client.lose();
      client.gateways = 1;
      client.forgetsGateways = true;
      client.regain();
      await jest.advanceTimersByTimeAsync(0);
      expect(await spend(200)).toBe(25);
      client.forgetsGateways = false;
      client.gateways = 4;
      // The next beat.
      await jest.advanceTimersByTimeAsync(300);
      expect(await spend(50)).toBe(50);
    });

    test('does not wait for gateways that are gone for longer than they take to come back', async () => {
      client.gateways = 4;
      await open(LIMITED);
      client.lose();
      client.gateways = 1;
      client.regain();
      await jest.advanceTimersByTimeAsync(3_000);
      expect(await spend(200)).toBe(100);
    });
  });

  describe('ready()', () => {
    const readyAfter = async () => {
      const start = Date.now();
      let ms: number | undefined;
      void meter.ready?.().then(() => {
        ms = Date.now() - start;
      });
      for (let i = 0; i < 120 && ms === undefined; i++) await jest.advanceTimersByTimeAsync(50);
      return ms;
    };

    test('waits until others have heard of this gateway', async () => {
      await open();
      // A look, and a beat.
      expect(client.beats).toBe(2);
      const ms = (await readyAfter()) as number;
      expect(ms).toBeGreaterThanOrEqual(300);
      expect(ms).toBeLessThanOrEqual(400);
    });

    test('does not wait for a Redis that is away, and not for long for one that is silent', async () => {
      await openWithoutRedis();
      expect(await readyAfter()).toBeLessThanOrEqual(50);
      await meter.close();
      client = new FakeRedisClient();
      client.isReady = false;
      await open();
      expect(await readyAfter()).toBe(5_000);
    });

    test('requests that come while the connection is made wait for that, and are counted in Redis', async () => {
      client.isReady = false;
      await open();
      const asked = hit();
      await jest.advanceTimersByTimeAsync(20);
      client.regain();
      await jest.advanceTimersByTimeAsync(0);
      expect(await asked).toBe(1);
      expect(client.hits.get('rl:ip:k')).toBe(1);
      expect(changes).toEqual([]);
    });
  });

  test.each(['READONLY', 'LOADING', 'OOM', 'NOAUTH', 'NOPERM', 'MISCONF', 'BUSY', 'MOVED', 'CLUSTERDOWN'])(
    'D05 survives %s, and is back a second after it ends',
    async (code) => {
      await open();
      client.mood = new Error(`${code} reply`);
      for (let i = 0; i < 100; i++) {
        await hit();
        await jest.advanceTimersByTimeAsync(95);
      }
      // Five in a row, beats among them, then a trial a second, of a script and a beat each.
      expect(client.increments).toBeLessThanOrEqual(5);
      expect(client.sent.length).toBeLessThan(40);
      client.mood = 'well';
      await jest.advanceTimersByTimeAsync(1_000);
      expect(await hit()).toBe(101);
      expect(changes).toEqual([`redis -> local: ${code} reply`, 'local -> redis']);
    },
  );

  test('recovers from a script load that failed', async () => {
    client.mood = new Error('LOADING');
    await open();
    expect(meter.mode).toBe('local');
    await hit();
    client.mood = 'well';
    await jest.advanceTimersByTimeAsync(1_000);
    expect(await hit()).toBe(2);
    expect(meter.mode).toBe('redis');
  });

  test('counts a hit once however often the script is lost, and gives up at some point', async () => {
    await open();
    const { sendCommand } = client;
    let losses = 5;
    client.sendCommand = async (args) => {
      if (args[0] === 'EVALSHA' && losses-- > 0) throw new Error('NOSCRIPT No matching script');
      return sendCommand.call(client, args);
    };
    expect([await hit(), await hit()]).toEqual([1, 2]);
    expect(changes).toEqual([]);
    losses = Number.POSITIVE_INFINITY;
    // Counted here, from what Redis has said last.
    for (let hits = 3; hits < 8; hits++) expect(await hit()).toBe(hits);
    expect(changes).toEqual(['redis -> local: NOSCRIPT No matching script']);
  });

  test('does not take a reply without a number for a count', async () => {
    await open();
    client.sendCommand = async ([command]) => (command === 'SCRIPT' ? 'sha' : ['many', 60_000]);
    for (let hits = 1; hits < 6; hits++) expect(await hit()).toBe(hits);
    expect(changes).toEqual(['redis -> local: Redis returned no count']);
  });

  test('counts on when Redis comes and goes', async () => {
    await open();
    for (let round = 0; round < 3; round++) {
      await hit();
      client.lose();
      await hit();
      client.regain();
      await jest.advanceTimersByTimeAsync(0);
    }
    expect(client.hits.get('rl:ip:k')).toBe(6);
    expect(await hit()).toBe(7);
    expect(changes).toHaveLength(6);
  });

  test('takes no single error for a loss of Redis', async () => {
    await open();
    for (let round = 0; round < 20; round++) {
      client.mood = new Error('TRYAGAIN');
      expect(await hit()).toBe(2 * round + 1);
      client.mood = 'well';
      expect(await hit()).toBe(2 * round + 2);
    }
    expect(changes).toEqual([]);
  });

  describe('hits that passed without Redis', () => {
    const claimOf = (key: string) => ({ key, cost: 1, limit: undefined });

    test('is sent to Redis when it is back, client by client, without their asking', async () => {
      await open();
      client.lose();
      for (let i = 0; i < 100; i++) for (let n = 0; n <= i % 3; n++) await meter.take(claimOf(`c${i}`));
      client.regain();
      await jest.advanceTimersByTimeAsync(0);
      for (let i = 0; i < 100; i++) expect(client.hits.get(`rl:ip:c${i}`)).toBe((i % 3) + 1);
    });

    test('are counted before the next request, also for requests at the same time', async () => {
      await open();
      client.lose();
      for (let i = 0; i < 7; i++) await hit();
      client.isReady = true; // Back, but nobody has been told yet.
      expect((await Promise.all([hit(), hit(), hit()])).sort()).toEqual([10, 8, 9]);
    });

    test('is owed on when Redis could not be reached, and sent once', async () => {
      await open();
      client.lose();
      for (let i = 0; i < 7; i++) await hit();
      client.mood = new Error('OOM');
      client.isReady = true;
      expect(await hit()).toBe(8);
      client.mood = 'well';
      expect(await hit()).toBe(9);
      await jest.advanceTimersByTimeAsync(10_000);
      expect(client.hits.get('rl:ip:k')).toBe(9);
    });

    test('is sent at the next beat where the client does not come again', async () => {
      await open();
      client.mood = new Error('TRYAGAIN');
      await hit();
      client.mood = 'well';
      await jest.advanceTimersByTimeAsync(4_000);
      expect(client.hits.get('rl:ip:k')).toBe(1);
    });

    test('gets no report when its window is over, nor when the client was forgotten', async () => {
      await open();
      client.lose();
      await hit();
      await meter.take(claimOf('forgotten'));
      await expect(meter.reset('forgotten')).rejects.toThrow('no connection to Redis');
      await jest.advanceTimersByTimeAsync(60_000);
      client.regain();
      await jest.advanceTimersByTimeAsync(0);
      expect(meter.mode).toBe('redis');
      expect(client.hits.size).toBe(0);
    });
  });

  describe('when Redis fails', () => {
    const LONG = { quotas: [{ limit: 100, windowMs: 60_000, burst: 100 }] };
    const claim = { key: 'k', cost: 1, limit: undefined };
    const take = async () => {
      const taking = Promise.resolve(meter.take(claim));
      await jest.advanceTimersByTimeAsync(60);
      return taking;
    };

    async function lost(more: Partial<LimiterMeterSettings>, hits = 0): Promise<void> {
      await open({ ...LONG, ...more });
      for (let i = 0; i < hits; i++) await meter.take(claim);
      client.mood = 'silent';
      await take();
    }

    test('local: goes on counting from the last reply of Redis, up to the limit', async () => {
      await lost({}, 90);
      let passed = 0;
      for (let i = 0; i < 30; i++) if ((await take()).allowed) passed++;
      expect(passed).toBe(9);
    });

    test('local: keeps to its part of the remaining quota, and then of each window', async () => {
      client.gateways = 4;
      await lost({}, 40);
      // The first of them was the one that noticed.
      let passed = 1;
      for (let i = 0; i < 50; i++) if ((await take()).allowed) passed++;
      expect(passed).toBe(15);
      await jest.advanceTimersByTimeAsync(60_000);
      passed = 0;
      for (let i = 0; i < 50; i++) if ((await take()).allowed) passed++;
      expect(passed).toBe(25);
    });

    test('local: divides limits by function too, and never below 1', async () => {
      client.gateways = 4;
      await lost({});
      const takeOwn = async (key: string, limit: number) => (await meter.take({ key, cost: 1, limit })).allowed;
      expect([await takeOwn('a', 8), await takeOwn('a', 8), await takeOwn('a', 8)]).toEqual([true, true, false]);
      expect([await takeOwn('b', 3), await takeOwn('b', 3)]).toEqual([true, false]);
    });

    test('local: with the whole limit where no Redis was ever reached', async () => {
      await openWithoutRedis(LONG);
      let passed = 0;
      for (let i = 0; i < 150; i++) if ((await take()).allowed) passed++;
      expect(passed).toBe(100);
    });

    test('open: all clients pass, and get no headers of a limit', async () => {
      await lost({ onStoreError: 'open' });
      for (let i = 0; i < 200; i++) expect(await take()).toEqual({ allowed: true, retryAfterMs: 0, quotaStates: [] });
      expect(meter.mode).toBe('open');
      client.answerLate();
      await jest.advanceTimersByTimeAsync(1_000);
      expect(meter.mode).toBe('redis');
      expect(changes).toEqual(['redis -> open: no reply from the store within 50 ms', 'open -> redis']);
    });

    test('closed: no client passes until the next trial, and Retry-After says when that is, within 1 to 5 s', async () => {
      await lost({ onStoreError: 'closed' });
      expect(meter.mode).toBe('closed');
      const waits: number[] = [];
      for (let i = 0; i < 400; i++) {
        const { allowed, retryAfterMs, quotaStates } = await take();
        expect([allowed, quotaStates]).toEqual([false, []]);
        waits.push(retryAfterMs);
        await jest.advanceTimersByTimeAsync(40);
      }
      expect(Math.min(...waits)).toBe(1_000);
      expect(Math.max(...waits)).toBe(5_000);
      expect(new Set(waits).size).toBeGreaterThan(20);
    });
  });

  test('beats every few seconds, and takes itself off the count when closed', async () => {
    await open();
    await jest.advanceTimersByTimeAsync(5_000);
    const first = client.beats;
    await jest.advanceTimersByTimeAsync(30_000);
    expect(client.beats - first).toBeGreaterThanOrEqual(8);
    expect(client.beats - first).toBeLessThanOrEqual(13);
    const [, , , key, id] = client.sent.find(([, , , key]) => key?.endsWith('{gateways}')) as string[];
    await meter.close();
    expect(client.sent.at(-1)).toEqual(['ZREM', key, id]);
    const sent = client.sent.length;
    await jest.advanceTimersByTimeAsync(30_000);
    expect(await hit()).toBe(1);
    expect(client.sent).toHaveLength(sent);
    expect(meter.mode).toBe('local');
  });

  test('closes within its deadline when Redis is silent', async () => {
    await open();
    client.mood = 'silent';
    const start = Date.now();
    const closed = Promise.resolve(meter.close()).then(() => Date.now() - start);
    await jest.advanceTimersByTimeAsync(100);
    expect(await closed).toBeLessThanOrEqual(SETTINGS.storeTimeoutMs + 20);
  });

  test('forgets a key in both places, and reports when Redis could not', async () => {
    await open();
    await hit();
    await meter.reset('k');
    expect(await hit()).toBe(1);
    client.lose();
    await hit();
    await expect(meter.reset('k')).rejects.toThrow('no connection to Redis');
    expect(await hit()).toBe(1);
  });
});
