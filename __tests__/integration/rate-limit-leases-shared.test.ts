import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, expect, test } from '@jest/globals';
import type { Decision } from '../../lib/rate-limit/meter.ts';
import { type LimiterMeterSettings, openLimiterMeter } from '../../lib/rate-limit/open-meter.ts';
import { RedisUrl } from '../../lib/rate-limit/redis/redis-address.ts';
import { Cleanup } from '../support/gateway.ts';
import { pause } from '../support/pause.ts';
import { describeWithRedis, type RedisServer } from '../support/redis.ts';
import { eventually } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const claim = { key: 'k', cost: 1, limit: undefined };
const real = () => performance.timeOrigin + performance.now();

interface Limits {
  readonly limit: number;
  readonly windowMs: number;
  readonly algorithm: LimiterMeterSettings['algorithm'];
  readonly lease: LimiterMeterSettings['lease'];
  readonly name: string;
}

/** A limiter with a connection of its own, in contact with Redis. */
async function gateway(redis: RedisServer, { limit, windowMs, algorithm, lease, name }: Limits) {
  const meter = cleanup.add(
    openLimiterMeter(
      {
        algorithm,
        quotas: [{ limit, windowMs, burst: limit }],
        name,
        maxKeys: 1_000,
        redis: new RedisUrl(redis.url),
        prefix: `${name}:`,
        // The deadline has its own tests; here, a busy machine must not decide what is counted where.
        storeTimeoutMs: 30_000,
        fallbackAfterMisses: 5,
        fallbackAfterMs: 1_000,
        onStoreError: 'closed',
        lease,
      },
      () => {},
    ),
  );
  await eventually('it counts in Redis', async () => {
    await meter.take({ ...claim, key: 'other' });
    return meter.mode === 'redis';
  });
  return meter;
}

/** Commands that Redis has run for limiters: not heartbeats, which have their own time. */
async function scriptCalls(redis: RedisServer): Promise<number> {
  const stats = String(await redis.command('INFO', 'commandstats'));
  return Number(/cmdstat_get:calls=(\d+)/.exec(stats)?.[1]);
}

/** The time in which somebody asked: without that in which a busy machine stood still, and nothing could pass. */
class AskingTime {
  ms = 0;
  #before = real();

  /** For each question. */
  next(): number {
    const now = real();
    this.ms += Math.min(now - this.#before, 25);
    this.#before = now;
    return this.ms;
  }
}

/** The most that passed in any window of this length. */
function most(times: readonly number[], windowMs: number): number {
  let [first, largest] = [0, 0];
  for (const [i, at] of times.entries()) {
    while ((times[first] as number) <= at - windowMs) first++;
    largest = Math.max(largest, i - first + 1);
  }
  return largest;
}

describeWithRedis('leases of four limiters, each with its own connection', (redis) => {
  test.each(['sliding-window', 'token-bucket'] as const)(
    '%s: 4 × 50 concurrent requests never exceed the limit in total, with at most 0.1 commands per request',
    async (algorithm) => {
      const [limit, windowMs] = [2_000, 3_600_000];
      const limits = { limit, windowMs, algorithm, lease: true, name: `burst-${algorithm}` };
      const meters = await Promise.all(Array.from({ length: 4 }, () => gateway(redis, limits)));
      const before = await scriptCalls(redis);
      let passed = 0;
      let asked = 0;
      const client = async (i: number) => {
        for (let k = 0; k < 20; k++) {
          asked++;
          if ((await meters[i % 4]!.take(claim)).allowed) passed++;
        }
      };
      await Promise.all(Array.from({ length: 200 }, (_, i) => client(i)));
      // A few tokens come back while it runs.
      expect(passed).toBeLessThanOrEqual(limit + (algorithm === 'token-bucket' ? 30 : 0));
      expect(passed).toBeGreaterThanOrEqual(limit * 0.9);
      expect((await scriptCalls(redis)) - before).toBeLessThanOrEqual(asked / 10);
    },
  );

  test.each(['sliding-window', 'token-bucket'] as const)(
    '%s without leases: a first burst of 600 over four gateways is counted exactly, with two commands for each of them',
    async (algorithm) => {
      const limits = { limit: 100, windowMs: 3_600_000, algorithm, lease: false, name: `first-${algorithm}` };
      const meters = await Promise.all(Array.from({ length: 4 }, () => gateway(redis, limits)));
      const before = await scriptCalls(redis);
      const decisions = await Promise.all(Array.from({ length: 600 }, (_, i) => meters[i % 4]!.take(claim)));
      expect(decisions.filter(({ allowed }) => allowed)).toHaveLength(100);
      // The first that comes asks, and one for all others of the same turn of the event loop.
      expect((await scriptCalls(redis)) - before).toBe(4 * 2);
    },
  );

  test('a busy client with a small limit costs at most 0.1 commands per request', async () => {
    const limits = {
      limit: 100,
      windowMs: 3_600_000,
      algorithm: 'sliding-window',
      lease: true,
      name: 'small',
    } as const;
    const meter = await gateway(redis, limits);
    const before = await scriptCalls(redis);
    let passed = 0;
    for (let i = 0; i < 150; i++) if ((await meter.take(claim)).allowed) passed++;
    expect(passed).toBe(100);
    expect((await scriptCalls(redis)) - before).toBeLessThanOrEqual(15);
  });

  test('a small limit over four gateways costs little more', async () => {
    const [limit, windowMs] = [100, 3_600_000];
    const limits = { limit, windowMs, algorithm: 'sliding-window', lease: true, name: 'small-4' } as const;
    const meters = await Promise.all(Array.from({ length: 4 }, () => gateway(redis, limits)));
    const before = await scriptCalls(redis);
    let passed = 0;
    for (let i = 0; i < 150; i++) if ((await meters[i % 4]!.take(claim)).allowed) passed++;
    expect(passed).toBe(100);
    // A heartbeat may come in between.
    expect((await scriptCalls(redis)) - before).toBeLessThanOrEqual(15 + 1);
  });

  test('an overloaded token bucket over four gateways costs few commands, and all tokens are spent', async () => {
    const [limit, windowMs] = [100, 1_000];
    const limits = { limit, windowMs, algorithm: 'token-bucket', lease: true, name: 'pressed' } as const;
    const meters = await Promise.all(Array.from({ length: 4 }, () => gateway(redis, limits)));
    let [asked, passed] = [0, 0];
    const press = async (durationMs: number) => {
      const asking = new AskingTime();
      const first = asked;
      while (asking.next() < durationMs) {
        while (asked - first < (asking.ms * 2 * limit) / windowMs) {
          if ((await meters[asked++ % 4]!.take(claim)).allowed) passed++;
        }
        await pause('the pace of the load', 5);
      }
      return asking.ms;
    };
    await press(2_000);
    const [calls, start] = [await scriptCalls(redis), real()];
    asked = passed = 0;
    const pressedMs = await press(3_000);
    const refilled = (limit * (real() - start)) / windowMs;
    // 0.05 to 0.16: many requests are made in the same few milliseconds, and tests next to this one take the processor.
    expect(((await scriptCalls(redis)) - calls) / asked).toBeLessThanOrEqual(0.25);
    expect(passed).toBeGreaterThan(((limit * pressedMs) / windowMs) * 0.75);
    expect(passed).toBeLessThanOrEqual(limit + refilled + 1);
  });

  test.each(['sliding-window', 'token-bucket'] as const)(
    '%s: the limit holds in real time over several windows',
    async (algorithm) => {
      const [limit, windowMs] = [200, 500];
      const limits = { limit, windowMs, algorithm, lease: { share: 0.5 }, name: `log-${algorithm}` };
      const meters = await Promise.all(Array.from({ length: 4 }, () => gateway(redis, limits)));
      const start = real();
      const asking = new AskingTime();
      const passed: number[] = [];
      const client = async (i: number) => {
        while (asking.next() < 3_000) {
          if ((await meters[i % 4]!.take(claim)).allowed) passed.push(real());
          await pause('the pace of the load', 5 + (i % 7));
        }
      };
      await Promise.all(Array.from({ length: 40 }, (_, i) => client(i)));
      const sustained = (limit * (real() - start)) / windowMs;
      expect(passed.length).toBeLessThanOrEqual(limit + sustained + 1);
      expect(passed.length).toBeGreaterThan(((limit * asking.ms) / windowMs) * 0.5);
      expect(most(passed, windowMs * 0.8)).toBeLessThanOrEqual(2 * limit);
    },
  );

  test('a client over its limit costs no command, with every algorithm, also without leases', async () => {
    for (const algorithm of ['sliding-window', 'token-bucket', 'fixed-window'] as const) {
      const limits = { limit: 5, windowMs: 3_600_000, algorithm, lease: false, name: `over-${algorithm}` };
      const meter = await gateway(redis, limits);
      for (let i = 0; i < 5; i++) expect(await meter.take(claim)).toMatchObject({ allowed: true });
      const before = await redis.command('INFO', 'commandstats');
      const decisions: Decision[] = [];
      for (let i = 0; i < 1_000; i++) decisions.push(await meter.take(claim));
      const after = await redis.command('INFO', 'commandstats');
      const evals = (stats: unknown) => Number(/cmdstat_evalsha:calls=(\d+)/.exec(String(stats))?.[1]);
      // Of 1,000 requests. Heartbeats come in between: four a second at first, for as long as a busy machine takes.
      expect(evals(after) - evals(before)).toBeLessThanOrEqual(40);
      expect(decisions.every(({ allowed, retryAfterMs }) => !allowed && retryAfterMs > 0)).toBe(true);
      expect(decisions.at(-1)!.retryAfterMs).toBeLessThanOrEqual(decisions[0]!.retryAfterMs);
      await meter.reset('k');
      expect(await meter.take(claim)).toMatchObject({ allowed: true });
    }
  });

  test('a cached denial ends after its Retry-After', async () => {
    for (const algorithm of ['sliding-window', 'token-bucket', 'fixed-window'] as const) {
      const meter = await gateway(redis, {
        limit: 2,
        windowMs: 600,
        algorithm,
        lease: false,
        name: `end-${algorithm}`,
      });
      let decision = await meter.take(claim);
      expect(decision.allowed).toBe(true);
      // On a busy machine a window can end before the limit is reached.
      while (decision.allowed) decision = await meter.take(claim);
      await pause('what the decision says', decision.retryAfterMs + 1);
      expect(await meter.take(claim)).toMatchObject({ allowed: true });
    }
  });

  test('reset() drops the lease of a client, so that no more than the limit passes afterwards', async () => {
    const limits = {
      limit: 100,
      windowMs: 3_600_000,
      algorithm: 'sliding-window',
      lease: true,
      name: 'reset',
    } as const;
    const meter = await gateway(redis, limits);
    for (let i = 0; i < 40; i++) await meter.take(claim);
    const [, decisions] = await Promise.all([
      meter.reset('k'),
      Promise.all(Array.from({ length: 150 }, () => meter.take(claim))),
    ]);
    expect(decisions.filter(({ allowed }) => allowed)).toHaveLength(100);
  });
});

describeWithRedis('leases and failures', (redis) => {
  test('a lease is spent while Redis is down; then the failure mode decides, cached denials do not', async () => {
    const limits = { limit: 100, windowMs: 3_600_000, algorithm: 'sliding-window', lease: true, name: 'away' } as const;
    const meter = await gateway(redis, limits);
    const full = { ...claim, key: 'full' };
    for (let i = 0; i < 100; i++) await meter.take(full);
    expect(await meter.take(full)).toMatchObject({ allowed: false, quotaStates: [{ remaining: 0 }] });
    // 1, 4 and 16 requests make three trips.
    for (let i = 0; i < 8; i++) await meter.take(claim);
    await redis.kill();
    await eventually('it is noticed', () => meter.mode === 'closed');
    let spent = 0;
    while ((await meter.take(claim)).allowed) spent++;
    expect(spent).toBe(13);
    expect(await meter.take(full)).toMatchObject({ allowed: false, quotaStates: [] });
    await redis.start();
  });

  test('the lease of a killed gateway is never spent, and is available again in the next window', async () => {
    const [limit, windowMs] = [100, 2_000];
    const root = new URL('../../', import.meta.url);
    const script = `
      import { pause } from '${new URL('__tests__/support/pause.ts', root).href}';
      import { openLimiterMeter } from '${new URL('lib/rate-limit/open-meter.ts', root).href}';
      import { RedisUrl } from '${new URL('lib/rate-limit/redis/redis-address.ts', root).href}';
      const meter = openLimiterMeter({
        algorithm: 'sliding-window', quotas: [{ limit: ${limit}, windowMs: ${windowMs}, burst: ${limit} }], name: 'killed',
        maxKeys: 1000, redis: new RedisUrl('${redis.url}'), prefix: 'killed:', storeTimeoutMs: 30000,
        onStoreError: 'closed', lease: { share: 0.5 },
      }, () => {});
      while (!(await meter.take({ key: 'other', cost: 1, limit: undefined })).allowed) {
        await pause('until the next look', 10);
      }
      console.log('ready');
      process.stdin.once('data', async () => {
        let passed = 0;
        for (let i = 0; i < 20; i++) if ((await meter.take({ key: 'k', cost: 1, limit: undefined })).allowed) passed++;
        console.log('passed ' + passed);
      });`;
    const child: ChildProcess = spawn(process.execPath, ['--input-type=module', '-e', script], {
      cwd: root,
      stdio: 'pipe',
    });
    cleanup.add({ close: () => child.exitCode ?? child.kill('SIGKILL') });
    let output = '';
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.on('data', (chunk) => {
        output += chunk;
      });
    }
    await eventually('it is ready', () => output.includes('ready'));
    const lease = { share: 0.5 };
    const meter = await gateway(redis, { limit, windowMs, algorithm: 'sliding-window', lease, name: 'killed' });
    const spentAt = real();
    child.stdin!.write('go\n');
    await eventually('it has spent 20', () => output.includes('passed 20'));
    child.kill('SIGKILL');
    await once(child, 'exit');
    let passed = 0;
    while ((await meter.take(claim)).allowed) passed++;
    expect(passed).toBeGreaterThan(20);
    // What becomes free meanwhile passes as well.
    expect(passed).toBeLessThan(80 + (limit * (real() - spentAt)) / windowMs);
    for (const key of (await redis.command('KEYS', 'killed:*')) as string[]) {
      // -1 would be a key without an end, -2 is one that has ended.
      expect(Number(await redis.command('PTTL', key))).not.toBe(-1);
    }
    await pause('two windows end', 2 * windowMs + 50);
    const laterAt = real();
    let later = 0;
    for (let i = 0; i < 2 * limit; i++) if ((await meter.take(claim)).allowed) later++;
    expect(later).toBeGreaterThanOrEqual(limit);
    expect(later).toBeLessThanOrEqual(limit + (limit * (real() - laterAt)) / windowMs);
  });
});
