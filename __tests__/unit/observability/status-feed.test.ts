import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import {
  type Exchange,
  type FinishedRequest,
  GatewayEvents,
  OptionsError,
  prometheusMetrics,
  type StatusFeed,
  type StatusFeedOptions,
  type StatusSnapshot,
  statusFeed,
} from 'expressway';
import { LOOK_EVERY_MS } from '../../../lib/observability/problems/problem-monitor.ts';

const START = new Date('2026-11-24T12:00:00Z');
const exchange = {} as Exchange;

const finished = (changes: Partial<FinishedRequest> = {}): FinishedRequest =>
  ({
    req: { headers: {} },
    route: 'default',
    method: 'GET',
    status: 200,
    source: 'backend',
    service: 'p',
    backend: 'http://a',
    durationMs: 7,
    bytesIn: 0,
    bytesOut: 0,
    ...changes,
  }) as unknown as FinishedRequest;

/** A feed on real metrics, in front of backends that are only told of. */
class Rig {
  readonly events = new GatewayEvents();
  backends = ['http://a', 'http://b'];
  asked = 0;
  readonly proxy = {
    name: 'p',
    status: () => {
      return this.backends.map((backend) => ({
        backend,
        circuit: 'closed' as const,
        health: 'unknown' as const,
        held: undefined,
        weight: 1,
        available: true,
        inFlight: 2,
        retryAfterMs: 0,
        lastCheckAt: undefined,
      }));
    },
    load: () => {
      this.asked += 1;
      return { inFlight: 4, waiting: 1, retriesLeft: 9 };
    },
  };
  readonly metrics = prometheusMetrics({
    register: { registerMetric() {} },
    events: this.events,
    proxies: [this.proxy],
  });
  readonly feed: StatusFeed = statusFeed({
    events: this.events,
    metrics: this.metrics,
    proxies: [this.proxy],
    limiters: [{ name: 'ip', mode: 'memory' }],
    breakers: [{ name: 'route', state: 'closed', retryAfterMs: () => 0 }],
  });

  request(changes: Partial<FinishedRequest> = {}): void {
    this.metrics.started?.();
    const request = finished(changes);
    const { backend, durationMs, status } = request;
    if (backend !== undefined) this.metrics.attempt?.(backend, durationMs, 'p', { kind: 'completed', status });
    this.metrics.finished(request);
    this.feed.finished(request);
  }

  decision(allowed: boolean): void {
    this.metrics.limiterDecided?.({
      limiter: 'ip',
      mode: 'memory',
      allowed,
      shadow: false,
      limit: 1,
      remaining: 0,
      resetMs: 1,
    });
  }

  close(): void {
    this.feed.close();
    this.metrics.close();
  }
}

let rig: Rig;

beforeEach(() => {
  jest.useFakeTimers({ now: START, doNotFake: ['performance', 'queueMicrotask', 'nextTick'] });
  rig = new Rig();
});

afterEach(() => {
  rig.close();
  jest.useRealTimers();
});

describe('the history of the status feed', () => {
  test('has a slot for each ten seconds, with errors by who is to blame', () => {
    for (let i = 0; i < 3; i += 1) rig.request();
    rig.request({ status: 503 });
    rig.request({ status: 502, source: 'gateway', cause: 'connection_refused' });
    rig.request({ status: 503, source: 'gateway', cause: 'no_backend', backend: undefined });
    rig.request({ status: 503, source: 'gateway', cause: 'overloaded', backend: undefined });
    rig.request({ status: 500, source: 'gateway', backend: undefined });
    rig.request({ status: 501, source: 'gateway', cause: 'upgrade_not_supported', backend: undefined });
    rig.request({ status: 429, source: 'gateway', cause: 'rate_limited', backend: undefined });
    rig.decision(true);
    rig.decision(false);
    jest.advanceTimersByTime(10_100);
    rig.request({ durationMs: 3_000 });
    jest.advanceTimersByTime(10_000);
    const { slots, boundsMs } = rig.feed.history();
    expect(slots.map(({ at }) => at - START.getTime())).toEqual([0, 10_000]);
    expect(slots[0]).toMatchObject({ requests: 10, backendErrors: 3, gatewayErrors: 2, limited: 1 });
    expect(slots[1]).toMatchObject({ requests: 1, backendErrors: 0, gatewayErrors: 0, limited: 0 });
    // 3 s is above the bound of 2.5 s, and below that of 5 s.
    const place = boundsMs.indexOf(5_000);
    expect(slots[1]?.durations.map((count, index) => (count > 0 ? index : -1)).filter((one) => one >= 0)).toEqual([
      place,
    ]);
  });

  test.each([
    { name: 'fewer requests', before: 5, after: 2 },
    { name: 'more requests, which take less time', before: 1, beforeMs: 400, after: 2 },
  ])('a backend that leaves and comes back within one slot has no negative numbers: $name', (row) => {
    const { before, beforeMs = 7, after } = row;
    jest.advanceTimersByTime(100);
    for (let i = 0; i < before; i++) rig.request({ durationMs: beforeMs });
    jest.advanceTimersByTime(10_000);
    rig.backends = ['http://b'];
    rig.events.emit('backendsChanged', { service: 'default', added: [], removed: ['http://a'] });
    rig.metrics.totals();
    rig.backends = ['http://a', 'http://b'];
    rig.events.emit('backendsChanged', { service: 'default', added: ['http://a'], removed: [] });
    for (let i = 0; i < after; i++) rig.request();
    jest.advanceTimersByTime(10_000);
    const a = rig.feed.history().backends.find(({ backend }) => backend === 'http://a');
    expect(a?.requests).toEqual([before, after]);
    expect(a?.totalMs).toEqual([before * beforeMs, after * 7]);
  });

  test('keeps a quarter of an hour, and five minutes of each backend', () => {
    jest.advanceTimersByTime(100);
    for (let slot = 0; slot < 120; slot += 1) {
      rig.request();
      if (slot === 118) rig.request({ backend: 'http://b', status: 500, durationMs: 20 });
      jest.advanceTimersByTime(10_000);
    }
    const { slots, backends, backendSlots } = rig.feed.history();
    expect(slots).toHaveLength(90);
    expect((slots.at(-1)?.at ?? 0) - (slots[0]?.at ?? 0)).toBe(890_000);
    expect(backendSlots).toHaveLength(30);
    expect(backends.map(({ backend }) => backend)).toEqual(['http://a', 'http://b']);
    const [, b] = backends;
    expect(b).toMatchObject({ requests: expect.arrayContaining([1]), failures: expect.arrayContaining([1]) });
    expect([b?.requests.length, b?.requests.at(-2), b?.totalMs.at(-2), b?.failures.at(-2)]).toEqual([30, 1, 20, 1]);
    rig.backends = ['http://a'];
    jest.advanceTimersByTime(10_000);
    expect(rig.feed.history().backends.map(({ backend }) => backend)).toEqual(['http://a']);
  });
});

describe('watching the status feed', () => {
  test('makes one snapshot a second while a page is open, and none otherwise', () => {
    const seen: StatusSnapshot[] = [];
    const stopOne = rig.feed.watch({ snapshot: (one) => seen.push(one), history() {} });
    const stopTwo = rig.feed.watch({ snapshot() {}, history() {} });
    expect(seen).toHaveLength(1);
    const before = rig.asked;
    jest.advanceTimersByTime(3_000);
    expect(seen).toHaveLength(4);
    expect(rig.asked - before).toBe(3);
    stopOne();
    stopTwo();
    const after = rig.asked;
    jest.advanceTimersByTime(5_000);
    rig.events.emit('circuitStateChange', {
      service: 'p',
      circuit: 'http://a',
      from: 'closed',
      to: 'open',
      retryAfterMs: 1,
    });
    jest.advanceTimersByTime(1_000);
    expect(rig.asked).toBe(after);
  });

  test('sends a change of state at once, and many in one snapshot', () => {
    const seen: StatusSnapshot[] = [];
    rig.feed.watch({ snapshot: (one) => seen.push(one), history() {} });
    for (const circuit of ['http://a', 'http://b']) {
      rig.events.emit('circuitStateChange', { service: 'p', circuit, from: 'closed', to: 'open', retryAfterMs: 1 });
    }
    jest.advanceTimersByTime(100);
    expect(seen).toHaveLength(2);
    expect(seen[1]?.changes.map(({ subject, text }) => `${subject} ${text}`)).toEqual([
      'http://b circuit open',
      'http://a circuit open',
    ]);
    expect(seen[1]?.backends[0]?.changedAt).toBe(START.getTime());
  });

  test('goes on when a watcher throws, or rejects, and warns once of each', async () => {
    const warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    let calls = 0;
    const fails = () => {
      calls += 1;
      if (calls > 2) throw undefined;
    };
    const seen: StatusSnapshot[] = [];
    rig.feed.watch({ snapshot: fails, history: fails });
    rig.feed.watch({ snapshot: () => Promise.reject() as never, history() {} });
    rig.feed.watch({ snapshot: (one) => seen.push(one), history() {} });
    await jest.advanceTimersByTimeAsync(20_100);
    expect(seen.length).toBeGreaterThan(10);
    expect(warned.mock.calls.map(([message]) => message)).toEqual([
      'A watcher of statusFeed() threw: undefined',
      'A watcher of statusFeed() threw: undefined',
    ]);
    warned.mockRestore();
  });

  test('sends a history when a slot ends', () => {
    const lengths: number[] = [];
    rig.feed.watch({ snapshot() {}, history: ({ slots }) => lengths.push(slots.length) });
    jest.advanceTimersByTime(20_100);
    expect(lengths).toEqual([0, 1, 2]);
  });
});

describe('a snapshot of the status feed', () => {
  test('has the rates of the last seconds', () => {
    rig.feed.watch({ snapshot() {}, history() {} });
    for (let second = 0; second < 8; second += 1) {
      for (let i = 0; i < 10; i += 1) rig.request(i === 0 ? { status: 500 } : {});
      jest.advanceTimersByTime(1_000);
    }
    expect(rig.feed.snapshot().rates).toEqual({ requests: 10, backendErrors: 1, gatewayErrors: 0, limited: 0 });
    expect(rig.feed.snapshot().backends.map(({ requestsPerSecond }) => requestsPerSecond)).toEqual([10, 0]);
    jest.advanceTimersByTime(6_000);
    expect(rig.feed.snapshot().rates.requests).toBe(0);
  });

  test('has the last error of a backend, from traffic or health checks', () => {
    const error = new Error('connect ECONNREFUSED\u001b[31m');
    const outcome = { kind: 'failed', cause: 'connection_refused', error, sent: false, headSent: false } as const;
    const last = (): string | undefined => rig.feed.snapshot().backends[0]?.lastError?.text;
    rig.events.emit('attemptFailed', { exchange, service: 'p', backend: 'http://a', outcome, retried: true });
    expect(last()).toBe('connection_refused: connect ECONNREFUSED\\u001b[31m');
    rig.request({ status: 503 });
    expect(last()).toBe('responded with 503');
    rig.events.emit('healthChecked', { service: 'p', backend: 'http://a', error: new Error('x'.repeat(1_000)) });
    expect(last()).toMatch(/^health check: x{186}\.\.\.$/);
    rig.events.emit('healthChecked', { service: 'p', backend: 'http://a', error: undefined });
    expect(last()).toMatch(/^health check/);
  });

  test('keeps the latest twenty changes', () => {
    for (let i = 0; i < 50; i += 1) rig.feed.noteOperator(`b${i}`, 'drained by an operator');
    const { changes } = rig.feed.snapshot();
    expect(changes).toHaveLength(20);
    expect(changes[0]).toMatchObject({ kind: 'operator', subject: 'b49', isBad: false });
  });

  test('has the clients that are limited most often', () => {
    const limited = (key: string) =>
      rig.events.emit('limited', { exchange, limiter: 'ip', key, limit: 5, retryAfterMs: 1, shadow: false });
    for (let i = 0; i < 30; i += 1) limited('192.0.2.1');
    for (let i = 0; i < 40; i += 1) limited(`10.0.0.${i}`);
    const { clients } = rig.feed.snapshot();
    expect(clients).toHaveLength(20);
    expect(clients[0]).toMatchObject({ key: '192.0.2.1', refused: 30, overcount: 0, limit: 5 });
    rig.feed.forgetClient('192.0.2.1');
    expect(rig.feed.snapshot().clients.map(({ key }) => key)).not.toContain('192.0.2.1');
  });

  test('has the connections of the servers', () => {
    rig.feed.countConnections({ maxConnections: 10, getConnections: (done) => done(null, 3) });
    rig.feed.countConnections({ maxConnections: 5, getConnections: (done) => done(null, 4) });
    rig.feed.snapshot();
    expect(rig.feed.snapshot().processes[0]).toMatchObject({ connections: 7, maxConnections: 15, pid: process.pid });
  });

  test('has the present connections although no status was asked for before', async () => {
    let count = 0;
    rig.feed.countConnections({ getConnections: (done) => process.nextTick(done, null, count) });
    jest.advanceTimersByTime(LOOK_EVERY_MS);
    count = 9;
    jest.advanceTimersByTime(LOOK_EVERY_MS);
    await new Promise(process.nextTick);
    expect(rig.feed.snapshot().processes[0]).toMatchObject({ connections: 9 });
  });
});

describe('statusFeed()', () => {
  test('has no listeners or timers after close()', () => {
    rig.feed.watch({ snapshot() {}, history() {} });
    rig.close();
    expect(rig.events.eventNames()).toEqual([]);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('refuses bad options, all at once', () => {
    const bad = { events: {}, metrics: {}, proxies: 1, intervalMs: 0, other: 1 } as unknown as StatusFeedOptions;
    expect(() => statusFeed(bad)).toThrow(OptionsError);
    try {
      statusFeed(bad);
    } catch (error) {
      expect((error as OptionsError).problems).toHaveLength(5);
    }
  });
});
