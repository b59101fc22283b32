import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, expect, test } from '@jest/globals';
import type { IpRateLimitOptions } from '../../lib/rate-limit/ip-rate-limit-options.ts';
import { Cleanup } from '../support/gateway.ts';
import {
  askLimiter,
  countTogether,
  type LimiterAnswer,
  type LimiterGateway,
  limiterGateway,
  limiterLoad,
  NO_LIMIT,
} from '../support/limiter-load.ts';
import { pause } from '../support/pause.ts';
import { describeWithRedis } from '../support/redis.ts';
import { eventually } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** With a deadline so long that a busy machine does not take its own slowness for an outage. */
const gateway = (options: IpRateLimitOptions) => limiterGateway({ storeTimeoutMs: 2_500, ...options }, cleanup);

/** The hits that the gateway has counted for this address. */
async function hit({ url }: LimiterGateway, from: string): Promise<number> {
  return NO_LIMIT - (await askLimiter(url, from)).left;
}

const expectAllServed = (answers: readonly LimiterAnswer[]) =>
  expect(answers.filter(({ status }) => status !== 200)).toEqual([]);

describeWithRedis(
  'a Redis that is down when the gateway starts',
  (redis) => {
    test('costs nothing; the limits are shared soon after it starts', async () => {
      const [one, two] = [await gateway({ redis: redis.url }), await gateway({ redis: redis.url })];
      expect([await hit(one, '203.0.113.1'), await hit(one, '203.0.113.1'), await hit(two, '203.0.113.1')]).toEqual([
        1, 2, 1,
      ]);
      await eventually('it is reported', () => one.limiter.mode === 'local');
      expect(await askLimiter(one.url, '203.0.113.1')).toMatchObject({ status: 200, waited: false });
      await redis.start();
      await countTogether(one, two);
      expect(one.changes.map(({ from, to }) => `${from} -> ${to}`)).toEqual(['redis -> local', 'local -> redis']);
      expect(one.changes[0]?.error?.message).toMatch(/ECONNREFUSED|not connected/);
    });
  },
  { started: false },
);

describeWithRedis('a Redis that fails under load', (redis) => {
  test('SIGKILL: every request gets a response, and gateways share limits again after a restart', async () => {
    const [one, two] = [await gateway({ redis: redis.url }), await gateway({ redis: redis.url })];
    await countTogether(one, two);
    const traffic = cleanup.add(limiterLoad([one]));
    await traffic.more(50);
    await redis.kill();
    await eventually('the loss is noticed', () => one.limiter.mode === 'local');
    await traffic.more(50);
    await redis.start();
    await countTogether(one, two);
    await traffic.more(50);
    await traffic.close();
    expectAllServed(traffic.answers);
    expect(one.changes.slice(-2).map(({ to }) => to)).toEqual(['local', 'redis']);
  });

  test('SIGSTOP: the requests that were under way wait for the deadline, later ones for nothing', async () => {
    // The first late reply is the sign.
    const options = { redis: redis.url, fallbackAfterMisses: 1, fallbackAfterMs: 0 };
    const [one, two] = [await gateway(options), await gateway(options)];
    await countTogether(one, two);
    const traffic = cleanup.add(limiterLoad([one]));
    await traffic.more(50);
    const before = traffic.answers.length;
    redis.pause();
    await eventually('the silence is noticed', () => one.limiter.mode === 'local');
    const noticedAt = performance.now();
    await traffic.more(300);
    expect(traffic.answers.slice(before).some(({ waited }) => waited)).toBe(true);
    const later = traffic.answers.filter(({ startedAt }) => startedAt > noticedAt);
    expect(later.length).toBeGreaterThan(200);
    expect(later.filter(({ waited }) => waited)).toEqual([]);
    redis.resume();
    await countTogether(one, two);
    await traffic.close();
    expectAllServed(traffic.answers);
  });

  test('SIGSTOP for longer than the socket timeout: sharing is taken up again', async () => {
    const [one, two] = [await gateway({ redis: redis.url }), await gateway({ redis: redis.url })];
    await countTogether(one, two);
    redis.pause();
    await pause('longer than the timeout of the socket', 4_500);
    await hit(one, '203.0.113.1');
    await eventually('it is noticed', () => one.limiter.mode === 'local');
    redis.resume();
    await countTogether(one, two);
  });

  test('out of memory: the requests are counted here, and in Redis again once it has room', async () => {
    const [one, two] = [await gateway({ redis: redis.url }), await gateway({ redis: redis.url })];
    await countTogether(one, two);
    await redis.command('CONFIG', 'SET', 'maxmemory', '1');
    // An error that comes at once may concern one key only: it takes several in a row.
    for (let i = 0; i < 5; i++) await hit(one, '203.0.113.1');
    expect(one.limiter.mode).toBe('local');
    expect(one.changes.at(-1)?.error?.message).toContain('OOM');
    await redis.command('CONFIG', 'SET', 'maxmemory', '0');
    await countTogether(one, two);
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
    await eventually('it listens', () => /^\d+\n/.test(output));
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
