import { writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { describe, expect, jest, test } from '@jest/globals';
import type { StatusSnapshot } from 'expressway';
import { ask } from '../support/ask.ts';
import { DnsServer } from '../support/dns-server.ts';
import { describeWithRedis } from '../support/redis.ts';
import { closedPort } from '../support/servers.ts';
import { type Cluster, NO_SPARE, TestClusters } from './clusters.ts';
import { openBackend } from './gateways.ts';
import { until } from './until.ts';

jest.setTimeout(90_000);

const clusters = new TestClusters('4');

/** Each worker has a quarter of `MAX_CONNECTIONS`: a busy machine may give all connections to one of them. */
const MOST_AT_ONCE = 80;

/** How many of so many requests pass, each on a connection of its own. */
async function passed(url: string, count: number): Promise<number> {
  let [left, passing] = [count, 0];
  const client = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      if ((await ask(url)).status === 200) passing += 1;
    }
  };
  await Promise.all(Array.from({ length: Math.min(count, MOST_AT_ONCE) }, client));
  return passing;
}

describe('limits over workers without Redis', () => {
  test('hold for four workers together, with each algorithm and with leases', async () => {
    const variables = {
      RATE_LIMIT_MAX: '100',
      // So long that a bucket is not refilled by one in the time of the test.
      RATE_LIMIT_WINDOW_MS: '86400000',
      RATE_LIMIT_ALGORITHM: 'sliding-window',
    };
    const write = (changed: Readonly<Record<string, string>>): void =>
      clusters.writeEnv(
        Object.entries({ ...variables, ...changed })
          .map((one) => one.join('='))
          .join('\n'),
      );
    write({});
    // A worker may get more than its even part of the connections.
    const { cluster } = await clusters.open({ ...NO_SPARE, MAX_CONNECTIONS: '4000', ...variables });
    let reloads = 0;
    const reload = async (changed: Readonly<Record<string, string>>): Promise<void> => {
      write(changed);
      cluster.proc.kill('SIGHUP');
      reloads += 1;
      await cluster.proc.said(new RegExp(`(?:"msg":"configuration reloaded"[\\s\\S]*){${reloads}}`));
    };
    const again = async (): Promise<void> => {
      expect((await cluster.act('/api/limits/127.0.0.1', 'DELETE')).status).toBe(204);
    };

    for (const algorithm of ['sliding-window', 'token-bucket', 'fixed-window']) {
      if (algorithm !== variables.RATE_LIMIT_ALGORITHM) await reload({ RATE_LIMIT_ALGORITHM: algorithm });
      const count = async (requests: number) => [algorithm, await passed(cluster.url, requests)];
      expect(await count(400)).toEqual([algorithm, 100]);
      expect(await count(40)).toEqual([algorithm, 0]);
      expect(await cluster.metric('expressway_limiter_mode{limiter="ip",mode="memory"}')).toBe(1);
      await again();
      expect(await count(150)).toEqual([algorithm, 100]);
      await again();
    }
    for (const algorithm of ['sliding-window', 'token-bucket']) {
      await reload({ RATE_LIMIT_ALGORITHM: algorithm, RATE_LIMIT_LEASE: '0.25' });
      await again();
      let all = 0;
      for (let round = 0; round < 4; round++) all += await passed(cluster.url, 100);
      expect(all).toBeLessThanOrEqual(100);
      // What a worker holds and does not spend is lost: with 25 % of what remains, that is a part only.
      expect(all).toBeGreaterThan(70);
    }
  });

  test('counts survive the replacement of all workers', async () => {
    const { cluster } = await clusters.open({ ...NO_SPARE, WORKERS: '2', RATE_LIMIT_MAX: '50' });
    expect(await passed(cluster.url, 30)).toBe(30);
    const before = await cluster.pids();
    cluster.proc.kill('SIGUSR2');
    await cluster.serving(2, before);
    expect(await passed(cluster.url, 60)).toBe(20);
  });
});

describeWithRedis('limits over workers with Redis', (redis) => {
  test('share their counts in Redis', async () => {
    const { cluster } = await clusters.open({ ...NO_SPARE, WORKERS: '2', RATE_LIMIT_MAX: '20', REDIS_URL: redis.url });
    const workersIn = (mode: string) => cluster.metric(`expressway_limiter_mode{limiter="ip",mode="${mode}"}`);
    const lapses = async () =>
      (await cluster.metric('expressway_limiter_mode_changes_total{limiter="ip",to="local"}')) ?? 0;
    // A machine on which Redis takes more than 50 ms has workers count for themselves for a while: then it was no test of Redis.
    for (let attempt = 1; ; attempt += 1) {
      await until(async () => (await workersIn('redis')) === 1 && (await workersIn('local')) === 0);
      const before = await lapses();
      const count = await passed(cluster.url, 60);
      if ((await lapses()) !== before && attempt < 10) {
        expect((await cluster.act('/api/limits/127.0.0.1', 'DELETE')).status).toBe(204);
        continue;
      }
      expect(count).toBe(20);
      break;
    }
  });
});

describe('the admin listener of several workers', () => {
  test('sums the metrics of all workers, and keeps them when workers are replaced', async () => {
    const { cluster } = await clusters.open({ ...NO_SPARE, WORKERS: '2' });
    const series =
      'expressway_requests_total{route="default",service="default",method="GET",status="2xx",source="backend"}';
    await passed(cluster.url, 60);
    await until(async () => (await cluster.metric(series)) === 60);
    expect(
      await cluster.metric(
        'expressway_request_duration_seconds_count{route="default",service="default",source="backend"}',
      ),
    ).toBe(60);
    expect(await cluster.metric('expressway_workers{state="ready"}')).toBe(2);
    const before = await cluster.pids();
    cluster.proc.kill('SIGUSR2');
    await cluster.serving(2, before);
    await until(async () => (await cluster.metric('expressway_worker_ends_total{reason="replaced"}')) === 2);
    expect(await cluster.metric(series)).toBe(60);
    await passed(cluster.url, 10);
    await until(async () => (await cluster.metric(series)) === 70);
    const open = await ask(`${cluster.adminUrl}/metrics`, { headers: { Accept: 'application/openmetrics-text' } });
    expect(open.text).toMatch(/# EOF\n$/);
  });

  test('while a worker does not respond, serves /metrics whose counters never fall, and undoes an operator action everywhere', async () => {
    const { cluster, backend } = await clusters.open({ ...NO_SPARE, WORKERS: '2', WORKER_HANG_TIMEOUT_MS: '0' });
    const series =
      'expressway_requests_total{route="default",service="default",method="GET",status="2xx",source="backend"}';
    await passed(cluster.url, 20);
    await until(async () => (await cluster.metric(series)) === 20);
    const [pid] = await cluster.pids();
    process.kill(pid as number, 'SIGSTOP');
    expect(await cluster.metric(series)).toBe(20);
    const answer = await cluster.act(`/api/backends/${encodeURIComponent(backend.url)}/drain`);
    expect(answer).toMatchObject({ status: 503, json: { title: 'Not done' } });
    process.kill(pid as number, 'SIGCONT');
    await until(async () => (await ask(`${cluster.adminUrl}/api/status`)).json.processes.length === 2);
    expect((await ask(`${cluster.adminUrl}/api/backends`)).json.backends[0]).toMatchObject({ unavailableIn: 0 });
    expect(await passed(cluster.url, 10)).toBe(10);
  });

  test('shows a row for each worker, and a circuit that is open in one worker of two', async () => {
    const { cluster, backend } = await clusters.open({
      ...NO_SPARE,
      WORKERS: '2',
      CIRCUIT_MINIMUM_REQUESTS: '1',
      CIRCUIT_OPEN_MS: '60000',
    });
    const states: StatusSnapshot[] = [];
    const req = request(`${cluster.adminUrl}/events`, (res) => {
      let text = '';
      res.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
        for (const [whole, data] of text.matchAll(/event: state\ndata: (.*)\n\n/g)) {
          states.push(JSON.parse(data as string));
          text = text.slice(text.indexOf(whole) + whole.length);
        }
      });
      res.on('error', () => {});
    });
    req.on('error', () => {});
    req.end();
    await until(() => states.at(-1)?.processes.length === 2);
    expect(new Set(states.at(-1)?.processes.map(({ pid }) => pid))).toEqual(new Set(await cluster.pids()));
    await backend.close();
    // One request: the circuit of one worker opens.
    expect((await ask(cluster.url)).status).toBe(502);
    await until(() => states.at(-1)?.backends[0]?.circuit === 'open');
    expect(states.at(-1)?.backends[0]).toMatchObject({ processes: 2, unavailableIn: 1 });
    req.destroy();
    const { json } = await ask(`${cluster.adminUrl}/api/status`);
    expect(json).toMatchObject({ phase: 'running', backends: [{ circuit: 'open', processes: 2, unavailableIn: 1 }] });
    expect((await ask(`${cluster.adminUrl}/api/history`)).json.slotMs).toBe(10_000);
  });

  test('applies operator actions to all workers, also to later ones', async () => {
    const { cluster, backend } = await clusters.open({ WORKERS: '2' });
    const path = `/api/backends/${encodeURIComponent(backend.url)}`;
    expect((await cluster.act('/api/backends/http%3A%2F%2Fnobody/drain')).status).toBe(404);
    expect((await cluster.act(`${path}/drain`)).status).toBe(200);
    expect(await passed(cluster.url, 10)).toBe(0);
    const before = await cluster.pids();
    process.kill(before[0] as number, 'SIGKILL');
    await until(async () => !(await cluster.pids()).includes(before[0] as number));
    await cluster.serving(2);
    expect(await passed(cluster.url, 10)).toBe(0);
    expect((await ask(`${cluster.adminUrl}/api/backends`)).json.backends[0]).toMatchObject({
      held: 'drained',
      unavailableIn: 2,
    });
    expect((await cluster.act(`${path}/restore`)).status).toBe(200);
    expect(await passed(cluster.url, 10)).toBe(10);
  });

  test('drain, isolate and restore also reach a worker that is starting at that moment', async () => {
    const dns = await DnsServer.start();
    const backend = await openBackend('one');
    const BACKENDS = `${backend.url},dns://slow.test:80`;
    const slow = await clusters.start({ WORKERS: '2', DNS_SERVERS: dns.address, BACKENDS });
    const path = `/api/backends/${encodeURIComponent(backend.url)}`;
    for (const [done, status] of [
      ['drain', 503],
      ['restore', 200],
      ['isolate', 503],
      ['restore', 200],
    ] as const) {
      const [pid] = await slow.pids();
      dns.records.set('slow.test', 'silent');
      const { length } = dns.questions;
      process.kill(pid as number, 'SIGKILL');
      // It has begun, with the states of before, and looks the name up.
      await until(() => dns.questions.length > length);
      // 503 says that a worker has not answered within two seconds, and to try again.
      await until(async () => (await slow.act(`${path}/${done}`)).status === 200);
      dns.records.delete('slow.test');
      dns.answerLate();
      await slow.serving(2, [pid as number]);
      const answers = await Promise.all(Array.from({ length: 10 }, () => ask(slow.url)));
      expect(answers.map((answer) => answer.status)).toEqual(Array(10).fill(status));
    }
    await dns.close();
  });
});

describe('SIGHUP with several workers', () => {
  const write = (limit: string): void => clusters.writeEnv(`RATE_LIMIT_MAX=${limit}`);
  const shownLimit = async (cluster: Cluster): Promise<unknown> =>
    (await ask(`${cluster.adminUrl}/api/config`)).json.settings.find(
      ({ name }: { name: string }) => name === 'RATE_LIMIT_MAX',
    ).value;

  test('reloads all workers; a bad file, also one that only a worker refuses, changes neither them nor later workers', async () => {
    write('10');
    // Any free port would be another one when all workers have gone.
    const PORT = String(await closedPort());
    const { cluster } = await clusters.open({ WORKERS: '2', RATE_LIMIT_MAX: '10', PORT });
    write('5');
    cluster.proc.kill('SIGHUP');
    await cluster.proc.said(/"why":"SIGHUP".*"msg":"configuration reloaded"/);
    expect(await shownLimit(cluster)).toBe('5');
    expect(await passed(cluster.url, 20)).toBe(5);
    write('none');
    cluster.proc.kill('SIGHUP');
    await cluster.proc.said(/"problems":\["RATE_LIMIT_MAX[^\n]*"msg":"reload refused: nothing changed"/);
    expect(await shownLimit(cluster)).toBe('5');
    // Only a worker reads that file.
    clusters.writeEnv(`BACKEND_CA=${clusters.path('missing.pem')}`);
    cluster.proc.kill('SIGHUP');
    await cluster.proc.said(/"problems":\["BACKEND_CA[^\n]*"msg":"reload refused: nothing changed"/);
    expect((await cluster.act('/api/limits/127.0.0.1', 'DELETE')).status).toBe(204);
    expect(await passed(cluster.url, 20)).toBe(5);
    const before = await cluster.pids();
    for (const pid of before) process.kill(pid, 'SIGKILL');
    await until(async () => (await cluster.workers()).every(({ pid }) => !before.includes(pid)));
    await cluster.serving(2, before);
    expect((await ask(cluster.url)).status).toBe(429);
    expect((await cluster.act('/api/limits/127.0.0.1', 'DELETE')).status).toBe(204);
    expect(await passed(cluster.url, 20)).toBe(5);
  });

  test('reaches a worker that begins at that moment', async () => {
    const [one, two] = [await openBackend('one'), await openBackend('two')];
    const env = { WORKERS: '2', WORKER_HANG_TIMEOUT_MS: '0', BACKENDS: one.url, LOG_LEVEL: 'debug' };
    clusters.writeEnv(`BACKENDS=${one.url}`);
    const cluster = await clusters.start(env);
    await cluster.proc.said(/"msg":"spare process is ready to replace a worker"/);
    const [other, dead] = (await cluster.pids()) as [number, number];
    clusters.writeEnv(`BACKENDS=${two.url}`);
    // The new worker waits for what the other one says of the backends.
    process.kill(other, 'SIGSTOP');
    process.kill(dead, 'SIGKILL');
    await cluster.proc.said(/"msg":"worker ended: the gateway starts another one"/);
    cluster.proc.kill('SIGHUP');
    await ask(`${cluster.adminUrl}/livez`);
    process.kill(other, 'SIGCONT');
    await cluster.proc.said(/"why":"SIGHUP".*"msg":"configuration reloaded"/);
    await cluster.serving(2, [dead]);
    const answers = await Promise.all(Array.from({ length: 10 }, () => ask(cluster.url)));
    expect(answers.map(({ json }) => json.backend)).toEqual(Array(10).fill('two'));
  });

  test('applies a change of BACKENDS_FILE to all workers, also to later ones', async () => {
    const [one, two] = [await openBackend('one'), await openBackend('two')];
    const file = clusters.path('backends.json');
    writeFileSync(file, JSON.stringify([one.url]));
    const cluster = await clusters.start({ WORKERS: '2', BACKENDS_FILE: file });
    expect((await ask(cluster.url)).json.backend).toBe('one');
    writeFileSync(file, JSON.stringify([two.url]));
    await cluster.proc.said(/"why":"the file has changed".*"msg":"configuration reloaded"/);
    const answers = await Promise.all(Array.from({ length: 10 }, () => ask(cluster.url)));
    expect(answers.map(({ json }) => json.backend)).toEqual(Array(10).fill('two'));
    writeFileSync(file, '[');
    await cluster.proc.said(/"why":"the file has changed".*"msg":"reload refused/);
    const before = await cluster.pids();
    process.kill(before[0] as number, 'SIGKILL');
    await until(async () => !(await cluster.pids()).includes(before[0] as number));
    await cluster.serving(2);
    expect((await ask(cluster.url)).json.backend).toBe('two');
  });
});
