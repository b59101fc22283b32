import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { ask } from '../support/ask.ts';
import { DnsServer } from '../support/dns-server.ts';
import { accepts, closedPort } from '../support/servers.ts';
import { Cluster, NO_SPARE, SteadyLoad, TestClusters } from './clusters.ts';
import { openBackend } from './gateways.ts';
import { until } from './until.ts';

const clusters = new TestClusters('2');

const isGone = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return false;
  } catch {
    return true;
  }
};

describe('a worker that ends', () => {
  test('in a rolling reload fails no request under load; by SIGKILL only its own requests, and it is replaced', async () => {
    const { cluster } = await clusters.open();
    const load = new SteadyLoad(cluster.url, 24, 80);
    /** Requests to all workers that serve now. */
    const more = async () => {
      const { answered } = load;
      await until(() => load.answered > answered + 100);
    };
    await more();
    for (const round of [1, 2]) {
      const before = await cluster.pids();
      cluster.proc.kill('SIGUSR2');
      await cluster.proc.said(new RegExp(`(?:"msg":"workers replaced"[\\s\\S]*){${round}}`));
      await cluster.serving(2, before);
    }
    await more();
    expect(load.failures).toEqual([]);
    const [pid] = (await cluster.pids()) as [number];
    process.kill(pid, 'SIGKILL');
    await cluster.serving(2, [pid]);
    await more();
    await load.stop();
    expect([...load.statuses.keys()]).toEqual([200]);
    // The connections that it had: no more than clients there are, and of a kind that says so.
    expect(load.failures.length).toBeLessThanOrEqual(24);
    expect(load.failures.filter((code) => code !== 'ECONNRESET' && code !== 'EPIPE')).toEqual([]);
    expect(cluster.proc.stdout).toMatch(/"worker":\d,"pid":\d+,"code":null,"signal":"SIGKILL","delayMs":0,/);
    expect(await cluster.metric('expressway_worker_ends_total{reason="crashed"}')).toBe(1);
  });

  test('together with the other one, repeatedly, makes the gateway not ready until one serves again', async () => {
    // Any free port would be another one after each time that nobody was left.
    const { cluster } = await clusters.open({ WORKERS: '2', PORT: String(await closedPort()) });
    for (const crash of [0, 1]) {
      const pids = await cluster.pids();
      for (const pid of pids) process.kill(pid, 'SIGKILL');
      await until(async () => (await ask(`${cluster.adminUrl}/readyz`)).status === 503);
      await until(() => cluster.proc.stdout.split('"signal":"SIGKILL"').length === 1 + 2 * (crash + 1));
      await until(async () => (await ask(`${cluster.adminUrl}/readyz`)).status === 200, 40_000);
      await cluster.serving(2, pids);
    }
    expect((await ask(cluster.url)).status).toBe(200);
  });
});

/** Blocks the event loop for ever, and leaves the CPU to others. */
const HANG = 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);';

/** Lets a test end a worker from within: the gateway has no command for that. */
const CRASHES = `
  const { isWorker } = await import('node:cluster');
  if (isWorker) {
    process.on('SIGWINCH', () => { throw new Error('crash'); });
    process.on('SIGURG', () => process.exit(3));
    process.on('SIGXFSZ', () => process.abort());
    process.on('SIGPWR', () => { ${HANG} });
  }`;

describe('a worker that dies while its clients open new connections', () => {
  // Node loses the event `disconnect` of a worker that has not acknowledged a connection: each kind of death can hit that.
  const KINDS = {
    killed: 'SIGKILL',
    exception: 'SIGWINCH',
    exit: 'SIGURG',
    abort: 'SIGXFSZ',
    hang: 'SIGPWR',
    stopped: 'SIGSTOP',
  } as const;

  test('is replaced after every kind of death; only its own connections break, and SIGTERM still stops everything', async () => {
    const preload = `--import=data:text/javascript,${encodeURIComponent(CRASHES)}`;
    const { cluster } = await clusters.open({ NODE_OPTIONS: preload, WORKER_HANG_TIMEOUT_MS: '10000' });
    const load = new SteadyLoad(cluster.url, 24, 1, false);
    await until(() => load.answered > 100);
    for (const signal of Object.values(KINDS)) {
      const [pid] = await cluster.pids();
      process.kill(pid as number, signal);
      // At its full pace, the load would take the CPU from the worker that starts.
      load.pauseMs = 200;
      await cluster.proc.said(
        new RegExp(`"pid":${pid},"code":[^\\n]*"msg":"worker ended: the gateway starts another one"`),
      );
      await cluster.serving(2, [pid as number]);
      expect([signal, isGone(pid as number)]).toEqual([signal, true]);
      load.pauseMs = 1;
      const { answered } = load;
      await until(() => load.answered > answered + 100);
    }
    await load.stop();
    expect([...load.statuses.keys()]).toEqual([200]);
    expect(load.failures.filter((code) => code !== 'ECONNRESET' && code !== 'EPIPE')).toEqual([]);
    expect(await cluster.metric('expressway_worker_ends_total{reason="crashed"}')).toBe(6);
    expect(cluster.proc.stdout.match(/"silentMs":\d+,"msg":"worker hangs: killed"/g)).toHaveLength(2);
    cluster.proc.kill('SIGTERM');
    expect(await cluster.proc.exit()).toBe(0);
  });
});

describe('the spare process', () => {
  /** Workers and the spare process. */
  const childrenOf = ({ proc }: Cluster): readonly number[] =>
    readFileSync(`/proc/${proc.pid}/task/${proc.pid}/children`, 'utf8').trim().split(/\s+/).map(Number);

  const hasCache = (pid: number): boolean => readFileSync(`/proc/${pid}/environ`, 'utf8').includes('expressway-cache-');

  const caches = (): readonly string[] =>
    readdirSync(clusters.path('')).filter((name) => name.startsWith('expressway-cache-'));

  test('has loaded the program before a worker dies, and replaces it; then another spare process starts', async () => {
    const { cluster } = await clusters.open({ TMPDIR: clusters.path(''), NODE_COMPILE_CACHE: '' });
    for (const death of [1, 2, 3]) {
      await until(() => childrenOf(cluster).length === 3);
      const before = childrenOf(cluster);
      const [dead, other] = (await cluster.pids()) as [number, number];
      const spare = before.find((pid) => pid !== dead && pid !== other) as number;
      // The first workers would have to write it at their end, which has a deadline.
      expect([death, hasCache(dead), hasCache(spare)]).toEqual([death, death === 3, true]);
      process.kill(dead, 'SIGKILL');
      await cluster.serving(2, [dead]);
      expect([death, [...(await cluster.pids())].sort()]).toEqual([death, [other, spare].sort()]);
    }
    expect((await ask(cluster.url)).status).toBe(200);
    const [cache = 'none', ...more] = caches();
    expect([more, readdirSync(clusters.path(cache)).length]).toEqual([[], 1]);
    cluster.proc.kill('SIGTERM');
    expect(await cluster.proc.exit()).toBe(0);
    expect(caches()).toEqual([]);
  });

  test('that dies or hangs is followed by another one, and SIGUSR2 replaces it: it has loaded the code of before', async () => {
    const env = {
      TMPDIR: clusters.path(''),
      NODE_COMPILE_CACHE: '',
      WORKER_HANG_TIMEOUT_MS: '10000',
      LOG_LEVEL: 'debug',
    };
    const { cluster } = await clusters.open(env);
    const ready = '"msg":"spare process is ready to replace a worker"';
    const spareAfter = (others: number): Promise<string> =>
      cluster.proc.said(new RegExp(`(?:${ready}[\\s\\S]*?){${others}}"pid":(\\d+),${ready}`));
    const killed = await spareAfter(0);
    process.kill(Number(killed), 'SIGKILL');
    await cluster.proc.said(
      new RegExp(`"pid":${killed},[^\\n]*"msg":"the spare process ended: the gateway starts another one"`),
    );
    const hanging = await spareAfter(1);
    process.kill(Number(hanging), 'SIGSTOP');
    await cluster.proc.said(new RegExp(`"pid":${hanging},"silentMs":\\d+,"msg":"worker hangs: killed"`));
    const third = await spareAfter(2);
    const before = childrenOf(cluster);
    expect([before.length, before.includes(Number(third)), new Set([killed, hanging, third]).size]).toEqual([
      3,
      true,
      3,
    ]);
    cluster.proc.kill('SIGUSR2');
    await cluster.proc.said(/"msg":"workers replaced"/);
    await until(() => childrenOf(cluster).length === 3 && !childrenOf(cluster).some((pid) => before.includes(pid)));
    expect(await cluster.pids()).toHaveLength(2);
    // One that has not loaded its code cannot remove the compile cache.
    await until(() => childrenOf(cluster).some((pid) => cluster.proc.stdout.includes(`"pid":${pid},${ready}`)));
    // The compile cache goes when the primary is killed.
    expect(caches()).toHaveLength(1);
    const children = childrenOf(cluster);
    cluster.proc.kill('SIGKILL');
    await until(() => children.every(isGone));
    expect(caches()).toEqual([]);
  });

  test('and the compile cache can be turned off', async () => {
    const env = {
      WORKER_SPARE: 'off',
      NODE_COMPILE_CACHE: '',
      NODE_DISABLE_COMPILE_CACHE: '1',
      TMPDIR: clusters.path(''),
    };
    const { cluster } = await clusters.open(env);
    const [pid] = await cluster.pids();
    process.kill(pid as number, 'SIGKILL');
    await cluster.serving(2, [pid as number]);
    expect([...childrenOf(cluster)].sort()).toEqual([...(await cluster.pids())].sort());
    expect(caches()).toEqual([]);
  });
});

describe('a rolling reload', () => {
  test('replaces no worker when the file is bad; with a good one it applies all settings but those that need a restart', async () => {
    clusters.writeEnv('MAX_BODY_BYTES=1000');
    const { cluster } = await clusters.open({ ...NO_SPARE, MAX_BODY_BYTES: '1000' });
    const before = await cluster.pids();
    clusters.writeEnv('MAX_BODY_BYTES=none');
    cluster.proc.kill('SIGUSR2');
    await cluster.proc.said(/"problems":\["MAX_BODY_BYTES[^\n]*"msg":"workers not replaced: nothing changed"/);
    // Only a worker notices this one.
    clusters.writeEnv(`BACKEND_CA=${clusters.path('missing.pem')}`);
    cluster.proc.kill('SIGUSR2');
    await cluster.proc.said(/"problems":\["BACKEND_CA[^\n]*"msg":"workers not replaced: nothing changed"/);
    expect(await cluster.pids()).toEqual(before);
    expect((await ask(cluster.url, { method: 'POST', content: 'more than that' })).status).toBe(200);
    clusters.writeEnv('MAX_BODY_BYTES=5\nKEEP_ALIVE_TIMEOUT_MS=1000\nSHUTDOWN_TIMEOUT_MS=5000');
    cluster.proc.kill('SIGUSR2');
    await cluster.proc.said(/"variables":\["SHUTDOWN_TIMEOUT_MS"\]/);
    await cluster.serving(2, before);
    const statuses = await Promise.all(
      Array.from(
        { length: 4 },
        async () => (await ask(cluster.url, { method: 'POST', content: 'more than that' })).status,
      ),
    );
    expect(statuses).toEqual([413, 413, 413, 413]);
    const { settings } = (await ask(`${cluster.adminUrl}/api/config`)).json;
    expect(settings).toContainEqual({ name: 'MAX_BODY_BYTES', value: '5', isDefault: false });
    expect(settings).toContainEqual({ name: 'SHUTDOWN_TIMEOUT_MS', value: '10000', isDefault: true });
  });
});

describe('the shutdown of a gateway with workers', () => {
  test('SIGTERM makes it not ready, lets running requests of all workers end, exits with 0 and leaves no process', async () => {
    const { cluster } = await clusters.open();
    const pids = await cluster.pids();
    const asked = Array.from({ length: 4 }, () => ask(`${cluster.url}/slow?ms=2000`));
    await until(async () => (await ask(`${cluster.adminUrl}/api/backends`)).json.backends[0].inFlight === 4);
    cluster.proc.kill('SIGTERM');
    await until(async () => (await ask(`${cluster.adminUrl}/readyz`)).status === 503);
    await until(async () => !(await accepts(Number(new URL(cluster.url).port))));
    for (const answer of await Promise.all(asked)) expect(answer.status).toBe(200);
    expect(await cluster.proc.exit()).toBe(0);
    expect(pids.every(isGone)).toBe(true);
    expect(cluster.proc.stdout).toMatch(/"msg":"stopped"}\n$/);
  });

  test('serves every request during SHUTDOWN_LEAD_MS, while it is not ready', async () => {
    const { cluster } = await clusters.open({ ...NO_SPARE, SHUTDOWN_LEAD_MS: '1500' });
    cluster.proc.kill('SIGTERM');
    await until(async () => (await ask(`${cluster.adminUrl}/readyz`)).status === 503);
    expect((await ask(cluster.url)).status).toBe(200);
    expect(await cluster.proc.exit()).toBe(0);
  });

  test('a signal that reaches all processes at once stops them gracefully as well', async () => {
    const { cluster } = await clusters.open(NO_SPARE);
    const asked = ask(`${cluster.url}/slow?ms=1500`);
    await until(async () => (await ask(`${cluster.adminUrl}/api/backends`)).json.backends[0].inFlight === 1);
    for (const pid of await cluster.pids()) process.kill(pid, 'SIGINT');
    cluster.proc.kill('SIGINT');
    expect((await asked).status).toBe(200);
    expect(await cluster.proc.exit()).toBe(0);
  });

  /** From when the file is there, a worker loads its program for ever. */
  const hangs = (file: string): string => `
    const { isWorker } = await import('node:cluster');
    const { existsSync } = await import('node:fs');
    if (isWorker && existsSync(${JSON.stringify(file)})) await new Promise(() => setInterval(() => {}, 1_000));`;

  test('does not wait for a worker that has not loaded its program yet', async () => {
    const file = clusters.path('hang');
    const preload = `--import=data:text/javascript,${encodeURIComponent(hangs(file))}`;
    const { cluster } = await clusters.open({ WORKER_SPARE: 'off', NODE_OPTIONS: preload });
    writeFileSync(file, '');
    process.kill((await cluster.pids())[0] as number, 'SIGKILL');
    await until(async () => (await cluster.workers()).some(({ state }) => state === 'starting'));
    cluster.proc.kill('SIGTERM');
    expect(await cluster.proc.exit()).toBe(0);
    expect(cluster.proc.stdout).not.toContain('worker cannot start');
    expect(cluster.proc.stderr).toBe('');
  });

  test('does not wait for a worker that looks up names before it serves', async () => {
    const dns = await DnsServer.start();
    const backend = await openBackend('one');
    const BACKENDS = `${backend.url},dns://slow.test:80`;
    const ends: unknown[] = [];
    // The deadline is less than the 5 s for which a look-up waits, and a busy machine may miss it once for reasons of its own.
    while (ends.length < 3 && !ends.includes(0)) {
      dns.records.delete('slow.test');
      const cluster = await clusters.start({ DNS_SERVERS: dns.address, BACKENDS, SHUTDOWN_TIMEOUT_MS: '4500' });
      dns.records.set('slow.test', 'silent');
      const { length } = dns.questions;
      process.kill((await cluster.pids())[0] as number, 'SIGKILL');
      await until(() => dns.questions.length > length);
      cluster.proc.kill('SIGTERM');
      const code = await cluster.proc.exit();
      ends.push(code === 0 ? code : cluster.proc.stdout);
    }
    expect(ends.at(-1)).toBe(0);
    await dns.close();
  });

  test('kills a worker that does not stop within SHUTDOWN_TIMEOUT_MS, and exits with 1', async () => {
    const { cluster } = await clusters.open({ ...NO_SPARE, SHUTDOWN_TIMEOUT_MS: '2000', WORKER_HANG_TIMEOUT_MS: '0' });
    const pids = await cluster.pids();
    process.kill(pids[0] as number, 'SIGSTOP');
    cluster.proc.kill('SIGTERM');
    expect(await cluster.proc.exit()).toBe(1);
    expect(pids.every(isGone)).toBe(true);
    expect(cluster.proc.stderr).toContain('1 of the workers had to be killed');
  });

  test('tells a worker that hangs in its exit from one that did not stop', async () => {
    const hang = `
      const { isWorker } = await import('node:cluster');
      if (isWorker) process.on('exit', () => { ${HANG} });`;
    const preload = `--import=data:text/javascript,${encodeURIComponent(hang)}`;
    const { cluster } = await clusters.open({ ...NO_SPARE, SHUTDOWN_TIMEOUT_MS: '2000', NODE_OPTIONS: preload });
    cluster.proc.kill('SIGTERM');
    expect(await cluster.proc.exit()).toBe(1);
    const killed = cluster.proc.stdout.match(/"msg":"worker [^"]*killed"/g);
    expect(killed).toEqual(Array(2).fill('"msg":"worker stopped, but did not exit in time: killed"'));
  });

  test('a second signal stops everything at once, even when a worker hangs', async () => {
    const { cluster } = await clusters.open({ ...NO_SPARE, WORKER_HANG_TIMEOUT_MS: '0' });
    const pids = await cluster.pids();
    process.kill(pids[0] as number, 'SIGSTOP');
    cluster.proc.kill('SIGTERM');
    await until(async () => (await ask(`${cluster.adminUrl}/readyz`)).status === 503);
    cluster.proc.kill('SIGINT');
    expect(await cluster.proc.exit()).toBe('SIGINT');
    await until(() => pids.every(isGone));
  });
});

describe('the start of a gateway with workers', () => {
  let occupant: Server | undefined;

  afterEach(() => {
    occupant?.close();
    occupant = undefined;
  });

  test('prints why it fails in plain lines, and leaves no process', async () => {
    occupant = createServer().listen(0, '127.0.0.1');
    await once(occupant, 'listening');
    const port = String((occupant.address() as AddressInfo).port);
    const cluster = new Cluster({ WORKERS: '2', PORT: port });
    expect(await cluster.proc.exit()).toBe(1);
    expect(cluster.proc.stderr).toBe(`PORT: the gateway cannot listen on 127.0.0.1:${port}: the port is in use\n`);
    const bad = new Cluster({ WORKERS: 'many' });
    expect(await bad.proc.exit()).toBe(1);
    expect(bad.proc.stderr).toMatch(/^WORKERS: must be auto or an integer from 1 to 256, got "many"\n$/);
  });

  test('a hanging start ends within SHUTDOWN_TIMEOUT_MS of SIGTERM', async () => {
    const hang = `
      const { isWorker } = await import('node:cluster');
      if (isWorker) { process.stderr.write('worker hangs'); ${HANG} }`;
    const preload = `--import=data:text/javascript,${encodeURIComponent(hang)}`;
    const cluster = new Cluster({ WORKERS: '2', SHUTDOWN_TIMEOUT_MS: '1000', NODE_OPTIONS: preload });
    await until(() => cluster.proc.stderr.includes('worker hangs'));
    cluster.proc.kill('SIGTERM');
    // It hung for ever before: what matters is that a deadline ends it.
    expect(await cluster.proc.exit()).toBe('SIGKILL');
    expect(cluster.proc.stderr).toContain('The process did not stop within 1500 ms: it is killed');
  });

  test('writes the lines of all processes unbroken to one log', async () => {
    const { cluster } = await clusters.open({ ...NO_SPARE, ACCESS_LOG: 'json' });
    const load = new SteadyLoad(cluster.url, 40, 1);
    await until(() => load.answered > 600, 60_000);
    await load.stop();
    cluster.proc.kill('SIGTERM');
    await cluster.proc.exit();
    const lines = cluster.proc.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    const access = lines.filter(({ status }) => status === 200);
    expect(access).toHaveLength(load.answered);
    expect(new Set(access.map(({ worker }) => worker))).toEqual(new Set([1, 2]));
  });

  test('runs in one process with WORKERS=1, and SIGUSR2 says that there are no workers to replace', async () => {
    const { cluster } = await clusters.open({ WORKERS: '1' });
    expect(await cluster.workers()).toBeUndefined();
    cluster.proc.kill('SIGUSR2');
    await cluster.proc.said(
      /"msg":"SIGUSR2 replaces workers, and there are none: see WORKERS. With nodemon, use --signal SIGTERM"/,
    );
    const children = readFileSync(`/proc/${cluster.proc.pid}/task/${cluster.proc.pid}/children`, 'utf8');
    expect(children).toBe('');
  });
});
