import { describe, expect, test } from '@jest/globals';
import { type Exchange, type FinishedRequest, GatewayEvents, OptionsError } from 'expressway';
import { Registry } from 'prom-client';
import { prometheusMetrics } from '../../../lib/observability/metrics/prometheus-metrics.ts';

const request = (changes: Partial<FinishedRequest> = {}): FinishedRequest =>
  ({
    route: 'default',
    method: 'GET',
    status: 200,
    source: 'backend',
    durationMs: 7,
    bytesIn: 10,
    bytesOut: 20,
    ...changes,
  }) as unknown as FinishedRequest;

const status = (backend: string) =>
  ({ backend, circuit: 'closed', health: 'unknown', available: true, inFlight: 0 }) as const;

describe('prometheusMetrics', () => {
  test('histograms have cumulative buckets, a sum and a count', async () => {
    const register = new Registry();
    const metrics = prometheusMetrics({ register, events: new GatewayEvents() });
    for (const durationMs of [0.5, 1, 7, 7, 40_000]) metrics.finished(request({ durationMs }));
    const text = await register.metrics();
    const bucket = (le: string) =>
      Number(
        new RegExp(
          `_request_duration_seconds_bucket\\{le="${le}",route="default",service="",source="backend"\\} (\\d+)`,
        ).exec(text)?.[1],
      );
    expect(['0.001', '0.0025', '0.01', '30', '\\+Inf'].map(bucket)).toEqual([2, 2, 4, 4, 5]);
    expect(text).toMatch(/_request_duration_seconds_sum\{route="default",service="",source="backend"\} 40\.0155/);
    expect(text).toMatch(/_request_duration_seconds_count\{route="default",service="",source="backend"\} 5/);
  });

  test('has at most maxRoutes routes, and status classes only', async () => {
    const register = new Registry();
    const metrics = prometheusMetrics({ register, events: new GatewayEvents(), maxRoutes: 2, prefix: 'my' });
    for (const route of ['a', 'b', 'c', 'd', 'a']) metrics.finished(request({ route }));
    metrics.finished(request({ route: 'a', status: 999, method: '__proto__' }));
    const text = await register.metrics();
    const of = (route: string) =>
      new RegExp(`^my_requests_total\\{route="${route}",[^}]*status="2xx".*\\} (\\d+)$`, 'm').exec(text)?.[1];
    expect([of('a'), of('b'), of('c'), of('OTHER')]).toEqual(['2', '1', undefined, '2']);
    expect(text).toMatch(/my_requests_total\{route="a",service="",method="OTHER",status="other",source="backend"\} 1/);
  });

  test('has a series for each service of a route, at most four times as many as maxRoutes', async () => {
    const register = new Registry();
    const metrics = prometheusMetrics({ register, events: new GatewayEvents(), maxRoutes: 2 });
    const services = [undefined, 'one', 'two', 'three', 'four', 'five', 'six'];
    for (const service of services) metrics.finished(request({ route: 'a', service }));
    for (const service of ['one', 'one', 'seven']) metrics.finished(request({ route: 'b', service }));
    for (const service of ['one', 'seven']) metrics.finished(request({ route: 'c', service, cause: 'rate_limited' }));
    const text = await register.metrics();
    const of = (route: string) =>
      [...text.matchAll(new RegExp(`_requests_total\\{route="${route}",service="(\\w*)",[^}]*\\} (\\d+)`, 'g'))].map(
        ([, service, count]) => `${service} ${count}`,
      );
    expect(of('a')).toEqual([' 1', 'one 1', 'two 1', 'three 1', 'four 1', 'five 1', 'six 1']);
    expect(of('b')).toEqual(['one 2', 'OTHER 1']);
    expect(of('OTHER')).toEqual(['OTHER 2']);
    expect(text).toContain('_request_failures_total{route="OTHER",service="OTHER",cause="rate_limited"} 2');
    expect(metrics.totals().routes.get('b')).toMatchObject({ requests: 3 });
  });

  test('removes the series of a removed backend, even when its requests end later', async () => {
    const register = new Registry();
    const events = new GatewayEvents();
    let backends = ['http://a', 'http://b'];
    const proxy = {
      name: 'p',
      status: () => backends.map(status),
      load: () => ({ inFlight: 0, waiting: 3, retriesLeft: 7 }),
    };
    const metrics = prometheusMetrics({
      register,
      events,
      proxies: [proxy],
      breakers: [{ name: 'route', state: 'open' }],
    });
    const exchange = {} as Exchange;
    const all = (): void => {
      for (const backend of ['http://a', 'http://b']) {
        metrics.attempt?.(backend, 5, 'p', { kind: 'completed', status: 200 });
        events.emit('healthChecked', { service: 'p', backend, error: undefined });
        const outcome = { kind: 'completed', status: 503 } as const;
        events.emit('attemptFailed', { exchange, service: 'p', backend, outcome, retried: true });
        const change = { from: 'closed', to: 'open', retryAfterMs: 1 } as const;
        events.emit('circuitStateChange', { service: 'p', circuit: backend, ...change });
      }
      events.emit('circuitStateChange', { circuit: 'route', from: 'closed', to: 'open', retryAfterMs: 1 });
    };
    all();
    expect((await register.metrics()).match(/http:\/\/b/g)?.length).toBeGreaterThan(20);
    backends = ['http://a'];
    all();
    const text = await register.metrics();
    expect(text).not.toContain('http://b');
    expect(text).toMatch(/_circuit_transitions_total\{service="",circuit="route",to="open"\} 2/);
    expect(text).toMatch(/_circuit_state\{service="",circuit="route",state="open"\} 1/);
    expect(text).toMatch(/_retries_total\{service="p",reason="status_503"\} 4/);
    expect(text).toMatch(/_queue_length\{service="p"\} 3\n/);
    expect(text).toMatch(/_retry_budget_left\{service="p"\} 7\n/);
  });

  test('keeps little of backends that come and go between scrapes', async () => {
    const register = new Registry();
    let current = '';
    const proxy = {
      name: 'p',
      status: () => [status(current)],
      load: () => ({ inFlight: 0, waiting: 0, retriesLeft: 0 }),
    };
    let asked = 0;
    const counting = {
      ...proxy,
      status: () => {
        asked += 1;
        return proxy.status();
      },
    };
    const metrics = prometheusMetrics({ register, events: new GatewayEvents(), proxies: [counting] });
    for (let i = 0; i < 10_000; i += 1) {
      current = `http://b${i}`;
      metrics.attempt?.(current, 1, 'p', { kind: 'completed', status: 200 });
    }
    // Pruned every 64 backends or so: no more than that many are kept.
    expect(asked).toBeGreaterThan(100);
    expect(asked).toBeLessThan(1_000);
  });

  test('counts no events after close(); a registry cannot be used twice', () => {
    const register = new Registry();
    const events = new GatewayEvents();
    const metrics = prometheusMetrics({ register, events });
    expect(events.listenerCount('attemptFailed')).toBe(1);
    metrics.close();
    expect(events.eventNames()).toEqual([]);
    expect(() => prometheusMetrics({ register, events })).toThrow(/already been registered/);
  });

  test('refuses bad options, all at once', () => {
    const bad = { register: {}, events: {}, prefix: 'A b', maxRoutes: 0, proxies: 1, limiters: [1], other: 1 };
    expect(() => prometheusMetrics(bad as never)).toThrow(OptionsError);
    try {
      prometheusMetrics(bad as never);
    } catch (error) {
      expect((error as OptionsError).problems).toHaveLength(7);
    }
  });
});
