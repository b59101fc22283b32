import { EventEmitter } from 'node:events';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import type { GatewayProblem } from 'expressway';
import { ClusterControl } from '../../lib/gateway/cluster/cluster-control.ts';
import { ClusterFeed } from '../../lib/gateway/cluster/cluster-feed.ts';
import { ClusterMetrics } from '../../lib/gateway/cluster/cluster-metrics.ts';
import { ClusterReload } from '../../lib/gateway/cluster/cluster-reload.ts';
import type { MetricJson, OperatorStateEntry } from '../../lib/gateway/cluster/messages.ts';
import { type Channel, NoAnswer, Peer } from '../../lib/gateway/cluster/peer.ts';
import { RestartBackoff } from '../../lib/gateway/cluster/restart-backoff.ts';
import { SpareProcess } from '../../lib/gateway/cluster/spare-process.ts';
import type { Exit, WorkerProcess } from '../../lib/gateway/cluster/worker-process.ts';
import type { Workers } from '../../lib/gateway/cluster/workers.ts';
import { readConfig } from '../../lib/gateway/config/config.ts';
import type { Logger } from '../../lib/gateway/logging/logger.ts';
import { GatewayState } from '../../lib/gateway/observing/gateway-state.ts';

/** Two ends of a channel, as JSON as between processes. */
function channel(): readonly [Channel & { connected: boolean }, Channel & { connected: boolean }] {
  const end = () => Object.assign(new EventEmitter(), { connected: true, send: (_: object) => true });
  const [one, two] = [end(), end()];
  const sendTo = (other: EventEmitter) =>
    ((message: object, _handle: undefined, _options: undefined, callback?: (error: Error | null) => void) => {
      queueMicrotask(() => {
        other.emit('message', JSON.parse(JSON.stringify(message)));
        callback?.(null);
      });
      return true;
    }) as never;
  one.send = sendTo(two);
  two.send = sendTo(one);
  return [one as never, two as never];
}

describe('the spare process', () => {
  afterEach(() => {
    jest.useRealTimers();
  });

  test('is killed and replaced when it has not loaded the program after 60 s', async () => {
    jest.useFakeTimers();
    const { made, lines, spare } = spares();
    spare.make(0);
    await jest.advanceTimersByTimeAsync(59_999);
    expect(made).toHaveLength(1);
    await jest.advanceTimersByTimeAsync(1);
    expect(lines).toEqual([
      'the spare process does not become ready: killed',
      'the spare process ended: the gateway starts another one',
    ]);
    await jest.advanceTimersByTimeAsync(1);
    expect(made).toHaveLength(2);
    expect(spare.process).toBe(made[1]);
  });

  test.each(['loaded', 'taken'])('has no such timeout once it is %s', async (state) => {
    jest.useFakeTimers();
    const { made, lines, spare } = spares();
    spare.make(0);
    await jest.advanceTimersByTimeAsync(1_000);
    if (state === 'taken') spare.take();
    else Object.assign(made[0] as WorkerProcess, { greetedAt: Date.now() });
    await jest.advanceTimersByTimeAsync(120_000);
    expect([made.length, lines]).toEqual([1, []]);
  });

  /** A spare process whose processes end only when they are killed. */
  function spares() {
    const made: WorkerProcess[] = [];
    const lines: string[] = [];
    const create = () => {
      const { promise: exited, resolve } = Promise.withResolvers<Exit>();
      const kill = () => resolve({ code: null, signal: 'SIGKILL' });
      const one = { pid: made.length + 1, greetedAt: undefined, exited, kill } as unknown as WorkerProcess;
      made.push(one);
      return one;
    };
    const log = (_facts: object, line: string) => lines.push(line);
    return { made, lines, spare: new SpareProcess(create, { warn: log, error: log } as unknown as Logger) };
  }
});

describe('messages between primary and workers', () => {
  test('get replies in order, with an error when the other side fails', async () => {
    const [here, there] = channel();
    const [asker, answerer] = [new Peer(here), new Peer(there)];
    answerer.on<number>('double', (value) => value * 2);
    answerer.on('fail', async () => {
      throw new Error('no luck');
    });
    expect(await Promise.all([1, 2, 3].map((value) => asker.ask('double', value, 5_000)))).toEqual([2, 4, 6]);
    await expect(asker.ask('fail', undefined, 5_000)).rejects.toThrow('no luck');
    await expect(asker.ask('unknown', undefined, 5_000)).rejects.toThrow('no handler for "unknown"');
  });

  test('time out, fail when the other side exits, and ignore messages of others on the channel', async () => {
    const [here, there] = channel();
    const [asker, answerer] = [new Peer(here), new Peer(there)];
    answerer.on('never', () => new Promise(() => {}));
    await expect(asker.ask('never', undefined, 20)).rejects.toThrow(NoAnswer);
    const waiting = asker.ask('never', undefined, 60_000);
    asker.close();
    await expect(waiting).rejects.toThrow('the process has ended');
    here.connected = false;
    await expect(asker.ask('never', undefined, 60_000)).rejects.toThrow('the process has gone');
    await asker.send('anything');
    here.on('message', () => {});
    (here as unknown as EventEmitter).emit('message', 'prom-client:something');
  });
});

describe('the delay before a crashed worker is replaced', () => {
  const waits = (servedMs: number | undefined, count: number): number[] => {
    const backoff = new RestartBackoff();
    return Array.from({ length: count }, () => backoff.delayMs(servedMs));
  };

  test('doubles up to 30 s while workers never become ready', () => {
    expect(waits(undefined, 11)).toEqual([0, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000]);
  });

  test('stays short for workers that served, and is reset after one that served for a while', () => {
    expect(waits(1_000, 6)).toEqual([0, 100, 200, 400, 500, 500]);
    expect(waits(2_000, 3)).toEqual([0, 0, 0]);
    const backoff = new RestartBackoff();
    for (let crash = 0; crash < 10; crash++) backoff.delayMs(undefined);
    expect([backoff.delayMs(2_000), backoff.delayMs(undefined)]).toEqual([0, 100]);
  });
});

describe('a reload of several workers', () => {
  /** A worker that has begun; `apply` is its reply to the last step of a reload. */
  function worker(place: number, apply: () => unknown) {
    const asked: string[] = [];
    const replies: Record<string, () => unknown> = { prepare: () => ({ problems: [], facts: {} }), apply };
    const ask = async (what: string) => {
      asked.push(what);
      return replies[what]?.();
    };
    const one = { place, pid: place, state: 'ready', hasBegun: true, ready: Promise.resolve(), killed: false, asked };
    return Object.assign(one, { peer: { ask, tell: () => {} }, kill: () => Object.assign(one, { killed: true }) });
  }

  function reloading(workers: ReturnType<typeof worker>[]) {
    const lines: string[] = [];
    const write = (facts: object, message: string) => lines.push(`${message} ${JSON.stringify(facts)}`);
    const log = { level: 'info', info: write, warn: write, error: write } as unknown as Logger;
    const variables = { BACKENDS: 'http://a' };
    const environment = { name: '.env', first: variables, read: () => ({ variables, overridden: [] }) };
    const parts = { config: readConfig(variables), environment, log, state: new GatewayState() };
    const reload = new ClusterReload({ ...parts, workers: { serving: workers, alive: workers } as unknown as Workers });
    return { reload, environment, lines };
  }

  test('replaces a worker that cannot apply the prepared configuration, and logs it', async () => {
    const fails = () => {
      throw new Error('no room');
    };
    const [good, bad] = [worker(1, () => undefined), worker(2, fails)];
    const { reload, lines } = reloading([good, bad]);
    await reload.run('SIGHUP');
    expect([good.asked, bad.asked]).toEqual([
      ['prepare', 'apply'],
      ['prepare', 'apply'],
    ]);
    expect([good.killed, bad.killed]).toEqual([false, true]);
    expect(lines).toContainEqual(
      'reloaded only in part {"why":"SIGHUP","worker":2,"pid":2,"problems":["Error: no room"]}',
    );
  });

  test('logs an unexpected failure, and the next reload runs', async () => {
    const one = worker(1, () => undefined);
    const { reload, lines } = reloading([one]);
    const { peer } = one;
    Object.defineProperty(one, 'peer', { configurable: true, get: () => undefined });
    await reload.run('first');
    expect(lines).toEqual([expect.stringMatching(/^(?:reload refused|reloaded only in part)/)]);
    Object.defineProperty(one, 'peer', { value: peer });
    await reload.run('second');
    expect(one.asked).toEqual(['prepare', 'apply']);
    expect(lines.at(-1)).toMatch(/^configuration reloaded .*"why":"second"/);
  });
});

describe('actions of an operator in several workers', () => {
  const DRAINED: OperatorStateEntry = { service: 'default', backend: 'http://a', held: 'drained' };

  /** A worker that drains when it is asked to, and does as it is told; `replies` are others, now or later. */
  function worker(replies: Record<string, () => unknown> = {}) {
    const one = { states: [] as readonly OperatorStateEntry[] };
    const all: Record<string, () => unknown> = {
      operatorStates: () => one.states,
      operate: () => {
        one.states = [DRAINED];
        return ['default'];
      },
      ...replies,
    };
    const peer = {
      ask: async (what: string) => all[what]?.(),
      send: async (_what: string, states: readonly OperatorStateEntry[]) => {
        one.states = states;
      },
    };
    return Object.assign(one, { peer });
  }

  const controlOf = (...workers: ReturnType<typeof worker>[]) =>
    new ClusterControl(() => workers as unknown as readonly WorkerProcess[]);

  test('is undone in all when one refuses it, also when a worker begins meanwhile', async () => {
    const late = Promise.withResolvers<never>();
    const well = worker();
    const silent = worker({ operate: () => late.promise, operatorStates: () => new Promise(() => {}) });
    const control = controlOf(well, silent);
    const operated = control.operate({ operation: 'drain', backend: 'http://a' });
    const begun = control.operatorStates();
    await new Promise((resolve) => setImmediate(resolve));
    expect(well.states).toEqual([DRAINED]);
    late.reject(new NoAnswer('no answer'));
    await expect(operated).rejects.toThrow('1 of 2 workers did not respond: nothing was changed');
    expect([await begun, well.states]).toEqual([[], []]);
  });

  test('is known to a new worker at once, although one of the others hangs', async () => {
    const hung = worker({ operatorStates: () => new Promise(() => {}) });
    const well = worker({ operatorStates: () => [DRAINED] });
    expect(await controlOf(hung, well).operatorStates()).toEqual([DRAINED]);
  });
});

test('a problem that primary and workers have is shown once, and says nothing of the number of processes', async () => {
  const problem: GatewayProblem = {
    problem: 'log_failing',
    severity: 'warning',
    subject: 'ENOSPC',
    title: 'the log cannot be written',
    text: 'The log cannot be written.',
    nextStep: 'Free space.',
    since: 1,
  };
  const rare = { ...problem, problem: 'process_warning', subject: 'CODE' };
  const snapshot = { processes: [], backends: [], routes: [], limiters: [], breakers: [], clients: [], changes: [] };
  const load = { load: { inFlight: 0, waiting: 0, retriesLeft: 0 }, rates: {}, routeCount: 0, at: 0 };
  const workers = [[problem, rare], [problem]].map((problems, index) => ({
    place: index + 1,
    peer: { ask: async () => ({ ...snapshot, ...load, problems }) },
  }));
  const feed = new ClusterFeed(
    () => workers as unknown as readonly WorkerProcess[],
    () => [problem],
  );
  const { problems } = await feed.snapshot();
  expect(problems).toEqual([problem, { ...rare, text: 'The log cannot be written. (In 1 of 2 processes.)' }]);
});

describe('metrics of several processes', () => {
  const values = (value: number, more: Record<string, string> = {}) => [
    { labels: { backend: 'http://a', ...more }, value },
  ];
  const metric = (name: string, type: string, aggregator: string, value: number): MetricJson => ({
    name,
    help: 'Help.',
    type,
    aggregator,
    values: values(value),
  });

  /** Answers with what `now` says at the time; nothing, and nobody answers. */
  function worker(now: { metrics: readonly MetricJson[] | undefined }): WorkerProcess {
    const ask = async () => {
      if (now.metrics === undefined) throw new NoAnswer('no answer');
      return now.metrics;
    };
    return { state: 'ready', finalReport: undefined, peer: { ask } } as unknown as WorkerProcess;
  }

  const metrics = (count: number, isUp: number): MetricJson[] => [
    metric('expressway_requests_total', 'counter', 'sum', count),
    metric('expressway_backend_up', 'gauge', 'average', isUp),
    metric('nodejs_eventloop_lag_p99_seconds', 'gauge', 'average', isUp),
  ];

  test('adds counters, which never fall; sums gauges of live processes; takes the largest lag', async () => {
    const [one, two] = [{ metrics: metrics(3, 1) as MetricJson[] | undefined }, { metrics: metrics(4, 0) }];
    const alive = [worker(one), worker(two)];
    const all = new ClusterMetrics(() => alive);
    const lines = async () =>
      (await (await all.collect()).metrics()).split('\n').filter((line) => /http:..a/.test(line));
    expect(await lines()).toEqual([
      'nodejs_eventloop_lag_p99_seconds{backend="http://a"} 1',
      'expressway_requests_total{backend="http://a"} 7',
      'expressway_backend_up{backend="http://a"} 0.5',
    ]);
    // One is silent, then ends without a word.
    one.metrics = undefined;
    expect(await lines()).toContain('expressway_requests_total{backend="http://a"} 7');
    all.exited(true);
    all.ended(alive.shift() as WorkerProcess);
    two.metrics = metrics(5, 1);
    expect(await lines()).toContain('expressway_requests_total{backend="http://a"} 8');
    expect(await lines()).toContain('expressway_backend_up{backend="http://a"} 1');
    const { text } = { text: await (await all.collect()).metrics() };
    expect(text).toContain('expressway_worker_ends_total{reason="crashed"} 1');
    // The backend leaves: what ended workers counted for it goes with it.
    two.metrics = [{ ...metric('expressway_backend_up', 'gauge', 'average', 1), values: [] }];
    expect(await lines()).toEqual([]);
  });
});
