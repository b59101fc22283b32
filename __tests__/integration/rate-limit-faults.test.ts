import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, expect, test } from '@jest/globals';
import express from 'express';
import type { LimiterModeChangeEvent } from '../../lib/core/events.ts';
import { ipRateLimit } from '../../lib/rate-limit/ip-rate-limit.ts';
import type { IpRateLimitOptions } from '../../lib/rate-limit/ip-rate-limit-options.ts';
import { Cleanup } from '../support/gateway.ts';
import { describeWithRedis } from '../support/redis.ts';
import { eventually, listen } from '../support/servers.ts';

const LIMIT = 1_000_000;
/** No answer may take longer, whatever Redis does; generous for a busy machine. */
const NO_HANG_MS = 3_000;

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

interface Answer {
  readonly status: number;
  readonly ms: number;
}

async function gateway(options: IpRateLimitOptions) {
  const limiter = cleanup.add(ipRateLimit({ limit: LIMIT, ...options }));
  const changes: LimiterModeChangeEvent[] = [];
  limiter.events.on('limiterModeChange', (change) => changes.push(change));
  const app = express()
    .set('trust proxy', 1)
    .use(limiter, (_req, res) => void res.send('ok'));
  const { url } = cleanup.add(await listen(app));
  /** The hits that the gateway has counted for this address. */
  const hit = async (from: string) => {
    const answer = await fetch(url, { headers: { 'X-Forwarded-For': from } });
    await answer.arrayBuffer();
    return LIMIT - Number(/;r=(\d+)/.exec(answer.headers.get('ratelimit') ?? '')?.[1]);
  };
  return { limiter, changes, url, hit };
}

type Gateway = Awaited<ReturnType<typeof gateway>>;

let lastClient = 0;

/** Waits until a hit on one gateway is seen by the other. */
async function shared(one: Gateway, two: Gateway, deadlineMs = 15_000): Promise<void> {
  const sharing = async () => {
    const from = `198.51.100.${++lastClient % 256}`;
    const [first, second] = [await one.hit(from), await two.hit(from)];
    // Two that count apart can come to such numbers as well.
    return second === first + 1 && [one, two].every(({ limiter }) => limiter.mode === 'redis');
  };
  await eventually('both count together', sharing, deadlineMs);
}

/** Ten clients that ask all the time. */
function load({ url }: Gateway) {
  let stopped = false;
  const answers: Answer[] = [];
  const clients = Array.from({ length: 10 }, async (_, i) => {
    while (!stopped) {
      const start = performance.now();
      const answer = await fetch(url, { headers: { 'X-Forwarded-For': `203.0.113.${i}` } });
      await answer.arrayBuffer();
      answers.push({ status: answer.status, ms: performance.now() - start });
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  });
  return {
    answers,
    /** Waits until so many more answers have come. */
    more: (count: number) => {
      const goal = answers.length + count;
      return eventually(`${count} more answers`, () => answers.length >= goal, 15_000);
    },
    async stop(): Promise<void> {
      stopped = true;
      await Promise.all(clients);
    },
  };
}

function expectAllServed(answers: Answer[]): void {
  expect(answers.filter(({ status }) => status !== 200)).toEqual([]);
  expect(Math.max(...answers.map(({ ms }) => ms))).toBeLessThan(NO_HANG_MS);
}

describeWithRedis(
  'a Redis that is down when the gateway starts',
  (redis) => {
    test('costs nothing; the limits are shared soon after it starts', async () => {
      const [one, two] = [await gateway({ redis: redis.url }), await gateway({ redis: redis.url })];
      const start = performance.now();
      expect([await one.hit('203.0.113.1'), await one.hit('203.0.113.1'), await two.hit('203.0.113.1')]).toEqual([
        1, 2, 1,
      ]);
      expect(performance.now() - start).toBeLessThan(NO_HANG_MS);
      await eventually('it is reported', () => one.limiter.mode === 'local');
      await redis.start();
      await shared(one, two);
      expect(one.changes.map(({ from, to }) => `${from} -> ${to}`)).toEqual(['redis -> local', 'local -> redis']);
      expect(one.changes[0]?.error?.message).toMatch(/ECONNREFUSED|not connected/);
    });
  },
  { started: false },
);

describeWithRedis('a Redis that fails under load', (redis) => {
  test('SIGKILL: every request is answered, and sharing is taken up again after a restart', async () => {
    const [one, two] = [await gateway({ redis: redis.url }), await gateway({ redis: redis.url })];
    await shared(one, two);
    const traffic = load(one);
    await traffic.more(50);
    await redis.kill();
    await eventually('the loss is noticed', () => one.limiter.mode === 'local');
    await traffic.more(50);
    await redis.start();
    await shared(one, two);
    await traffic.more(50);
    await traffic.stop();
    expectAllServed(traffic.answers);
    expect(one.changes.slice(-2).map(({ to }) => to)).toEqual(['local', 'redis']);
  });

  test('SIGSTOP: a few requests wait for the deadline, the rest for nothing', async () => {
    const storeTimeoutMs = 1_500;
    const options = { redis: redis.url, storeTimeoutMs };
    const [one, two] = [await gateway(options), await gateway(options)];
    await shared(one, two);
    const traffic = load(one);
    await traffic.more(50);
    redis.pause();
    await eventually('the silence is noticed', () => one.limiter.mode === 'local');
    await traffic.more(300);
    // One request of each client was under way, and each pause ends with one trial.
    const waited = traffic.answers.filter(({ ms }) => ms >= storeTimeoutMs);
    expect(waited.length).toBeGreaterThan(0);
    expect(waited.length).toBeLessThanOrEqual(20);
    redis.resume();
    await shared(one, two);
    await traffic.stop();
    expectAllServed(traffic.answers);
  });

  test('SIGSTOP for longer than the socket timeout: sharing is taken up again', async () => {
    const [one, two] = [await gateway({ redis: redis.url }), await gateway({ redis: redis.url })];
    await shared(one, two);
    redis.pause();
    await new Promise((resolve) => setTimeout(resolve, 4_500));
    await one.hit('203.0.113.1');
    expect(one.limiter.mode).toBe('local');
    redis.resume();
    await shared(one, two);
  });

  test('out of memory: the requests are counted here, and in Redis again once it has room', async () => {
    const [one, two] = [await gateway({ redis: redis.url }), await gateway({ redis: redis.url })];
    await shared(one, two);
    await redis.command('CONFIG', 'SET', 'maxmemory', '1');
    // An error that comes at once may concern one key only: it takes several in a row.
    for (let hit = 0; hit < 5; hit += 1) await one.hit('203.0.113.1');
    expect(one.limiter.mode).toBe('local');
    expect(one.changes.at(-1)?.error?.message).toContain('OOM');
    await redis.command('CONFIG', 'SET', 'maxmemory', '0');
    await shared(one, two);
  });

  test('a real process survives all of it without an unhandled rejection or a warning, and ends when closed', async () => {
    const root = new URL('../../', import.meta.url);
    const script = `
      import { createServer } from 'node:http';
      import { ipRateLimit } from '${new URL('lib/rate-limit/ip-rate-limit.ts', root).href}';
      process.on('warning', (warning) => console.log('warning', warning.message));
      const limiters = Array.from({ length: 12 }, (_, i) => ipRateLimit({ name: 'l' + i, redis: '${redis.url}' }));
      const server = createServer((req, res) => {
        const pass = (i) => (i === 12 ? res.end('ok') : limiters[i](req, res, () => pass(i + 1)));
        pass(0);
      });
      server.listen(0, '127.0.0.1', () => console.log(server.address().port));
      process.stdin.on('end', async () => {
        server.close();
        server.closeAllConnections();
        for (const limiter of limiters) await limiter.close();
      }).resume();`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], { cwd: root, stdio: 'pipe' });
    cleanup.add({ close: () => child.exitCode ?? child.kill('SIGKILL') });
    let output = '';
    child.stdout.on('data', (chunk) => {
      output += chunk;
    });
    child.stderr.on('data', (chunk) => {
      output += chunk;
    });
    await eventually('it listens', () => /^\d+\n/.test(output), 15_000);
    const url = `http://127.0.0.1:${Number.parseInt(output, 10)}`;
    const statuses = new Set<number>();
    const ask = async (count: number) => {
      for (let i = 0; i < count; i++) statuses.add((await fetch(url)).status);
    };
    await ask(5);
    redis.pause();
    await ask(5);
    await redis.kill();
    await ask(5);
    await redis.start();
    await ask(5);
    redis.pause();
    await ask(1);
    const ended = once(child, 'exit');
    child.stdin.end();
    const [code] = await ended;
    redis.resume();
    expect({ code, output, statuses: [...statuses] }).toEqual({
      code: 0,
      output: expect.stringMatching(/^\d+\n$/),
      statuses: [200],
    });
  });
});
