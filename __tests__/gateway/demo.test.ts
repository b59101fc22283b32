import { once } from 'node:events';
import { createServer } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { ask } from '../support/ask.ts';
import { endAll, Proc } from './proc.ts';
import { until } from './until.ts';

const ANY_PORT = { HOST: '127.0.0.1', PORT: '0', ADMIN_PORT: '0' };

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

/** The demo, once it has printed what to try. */
async function startDemo(env: Readonly<Record<string, string>> = ANY_PORT) {
  const proc = new Proc('demo/demo.ts', env);
  await proc.said(/Ctrl-C ends it all/);
  const url = await proc.said(/^ {2}gateway +(http:\S+)$/m);
  const pids = [...proc.stdout.matchAll(/^ {2}backend \w+ .*\(pid (\d+)\)$/gm)].map((match) => Number(match[1]));
  expect(pids).toHaveLength(4);
  return { proc, url, pids: pids as [number, number, number, number] };
}

afterEach(endAll);

describe('npm run demo', () => {
  test('prints commands to try, serves three services, goes on without a killed backend, and stops everything on Ctrl-C', async () => {
    const { proc, url, pids } = await startDemo();
    const names = [];
    for (let i = 0; i < 4; i += 1) names.push((await ask(`${url}/shop/cart`)).json.backend);
    expect(names).toEqual(['shop1', 'shop2', 'shop1', 'shop2']);
    expect((await ask(`${url}/users/1`)).json).toMatchObject({ backend: 'users', url: '/users/1' });
    expect((await ask(`${url}/events/stream`)).text).toContain('"backend":"events"');
    expect((await ask(url)).headers.location).toBe(`${url}/shop`);
    expect((await ask(`${url}/other`)).status).toBe(404);
    expect(proc.stdout).toContain(`curl -s ${url}/users/1`);
    const adminUrl = await proc.said(/^ {2}admin +(http:\S+)$/m);
    expect(proc.stdout).toContain(`Open ${adminUrl}\n`);
    expect((await ask(`${adminUrl}/status`)).json).toMatchObject({ limiter: { mode: 'memory' } });

    process.kill(pids[1], 'SIGTERM');
    await proc.said(/Backend shop1 \(pid \d+\) is gone.*\n.*--name shop1 --port \d+\n/);
    for (let i = 0; i < 6; i += 1) expect((await ask(`${url}/shop`)).json).toMatchObject({ backend: 'shop2' });

    proc.kill('SIGINT');
    expect(await proc.exit()).toBe(0);
    expect(pids.filter(isAlive)).toEqual([]);
  });

  test('leaves no backend behind when it is killed itself', async () => {
    const { proc, pids } = await startDemo();
    proc.kill('SIGKILL');
    await until(() => pids.filter(isAlive).length === 0);
  });

  test('uses other ports when its own are in use, and says so', async () => {
    const occupant = createServer().listen(0, '127.0.0.1');
    await once(occupant, 'listening');
    const { port } = occupant.address() as { port: number };
    try {
      const { proc, url } = await startDemo({ ...ANY_PORT, PORT: String(port) });
      expect(proc.stdout).toContain(`Port ${port} is taken, so another one is used.`);
      expect(new URL(url).port).not.toBe(String(port));
      expect((await ask(`${url}/shop`)).status).toBe(200);
      proc.kill('SIGTERM');
      expect(await proc.exit()).toBe(0);
    } finally {
      occupant.close();
    }
  });

  test('refuses a bad environment as the gateway does', async () => {
    const proc = new Proc('demo/demo.ts', { ...ANY_PORT, RATE_LIMIT_MAX: 'all', LOG_LEVEL: 'loud' });
    expect(await proc.exit()).toBe(1);
    expect(proc.stderr).toMatch(/^RATE_LIMIT_MAX: .*\nLOG_LEVEL: .*\n$/);
  });
});
