import { renameSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { stringify } from 'yaml';
import { ask } from '../support/ask.ts';
import { SteadyLoad, TestClusters } from './clusters.ts';
import { openBackend } from './gateways.ts';
import { until } from './until.ts';

const clusters = new TestClusters('2');

function write(content: object | string): void {
  const path = clusters.path('gateway.yaml');
  writeFileSync(`${path}.new`, typeof content === 'string' ? content : stringify(content));
  renameSync(`${path}.new`, path);
}

const timesSaid = (text: string, message: string) => text.split(`"msg":"${message}"`).length - 1;

describe('GATEWAY_CONFIG with workers', () => {
  test('20 reloads under load: no failed request, limits count for all workers, and a new worker has the newest file', async () => {
    const [users, shop] = [await openBackend('users'), await openBackend('shop')];
    const declared = (other: string) => ({
      services: { users: { backends: [users.url] }, shop: { backends: [shop.url] } },
      routes: [
        { path: '/users', service: 'users' },
        { path: '/shop', service: 'shop', rateLimit: other },
        { path: '/limited', service: 'shop', rateLimit: '7/1h' },
      ],
    });
    write(declared('100/1h'));
    const cluster = await clusters.start({ GATEWAY_CONFIG: 'gateway.yaml', RATE_LIMIT: 'off' });
    let limited = 0;
    const passing = async (requests: number) => {
      for (let i = 0; i < requests; i += 1) limited += Number((await ask(`${cluster.url}/limited`)).status === 200);
    };
    await passing(10);
    expect(limited).toBe(7);
    const load = new SteadyLoad(`${cluster.url}/users/1`, 4, 2);
    for (let i = 1; i <= 20; i += 1) {
      const one = declared(`${100 + i}/1h`);
      const services = i % 2 === 0 ? one.services : { ...one.services, more: { backends: [shop.url] } };
      write({ ...one, services });
      cluster.proc.kill('SIGHUP');
      await until(() => timesSaid(cluster.proc.stdout, 'configuration reloaded') >= i, 30_000);
    }
    await load.stop();
    expect(load.failures).toEqual([]);
    expect([...load.statuses.keys()]).toEqual([200]);
    // A limit that has not changed has counted on, for all workers.
    await passing(10);
    expect(limited).toBe(7);
    const { headers } = await ask(`${cluster.url}/shop`);
    expect(headers['ratelimit-policy']).toContain('q=120');
    expect((await ask(`${cluster.url}/more`)).status).toBe(404);
    const before = await cluster.pids();
    process.kill(before[0] as number, 'SIGKILL');
    await cluster.serving(2, before.slice(0, 1));
    for (let i = 0; i < 6; i += 1) expect((await ask(`${cluster.url}/shop`)).json.backend).toBe('shop');
  });

  test('a bad file changes nothing in any worker, and at the start ends it with 1', async () => {
    const users = await openBackend('users');
    const good = { services: { users: { backends: [users.url] } }, routes: [{ path: '/users', service: 'users' }] };
    write(good);
    const cluster = await clusters.start({ GATEWAY_CONFIG: 'gateway.yaml' });
    write({ ...good, routes: [{ path: '/users', service: 'user' }] });
    await cluster.proc.said(
      /"problems":\["gateway.yaml:7:5 routes\[0\]: service must name one of services: there is no service \\"user\\"[^\]]*\]/,
    );
    for (let i = 0; i < 4; i += 1) expect((await ask(`${cluster.url}/users`)).status).toBe(200);
    const missing = clusters.path('none.json');
    const authentication = { apiKey: { keys: missing } };
    write({ ...good, routes: [{ path: '/users', service: 'users', authentication }] });
    // What only the use shows: a worker tells it.
    await cluster.proc.said(/"problems":\[.*none.json/);
    for (let i = 0; i < 4; i += 1) expect((await ask(`${cluster.url}/users`)).status).toBe(200);
  });
});
