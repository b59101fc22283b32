import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import {
  type FinishedRequest,
  GatewayEvents,
  type GatewayProblem,
  headlineOf,
  mergeSnapshots,
  prometheusMetrics,
  type RouteRow,
  statusFeed,
} from 'expressway';

const START = new Date('2026-11-24T12:00:00Z');

const backend = (available: boolean) => ({
  backend: 'http://a',
  circuit: 'closed' as const,
  health: available ? ('healthy' as const) : ('unhealthy' as const),
  held: undefined,
  weight: 1,
  available,
  inFlight: 0,
  retryAfterMs: 0,
  lastCheckAt: undefined,
});

/** A feed on real metrics, with routes and services that are only declared. */
class Rig {
  readonly events = new GatewayEvents();
  routes = ['users', 'shop'];
  readonly up: Record<string, boolean> = { users: true, shop: true };
  readonly proxies = ['users', 'shop'].map((name) => ({
    name,
    status: () => [backend(this.up[name] === true)],
    load: () => ({ inFlight: this.inFlight, waiting: 0, retriesLeft: 0 }),
  }));
  /** Requests in progress at each service. */
  inFlight = 0;
  readonly metrics = prometheusMetrics({
    register: { registerMetric() {} },
    events: this.events,
    maxRoutes: 2_000,
    proxies: this.proxies,
  });
  /** The circuit and the limiters of the routes that have some. */
  readonly circuits: Record<string, 'closed' | 'open'> = {};
  readonly limiters: Record<string, { name: string; mode: 'redis' | 'local'; storeError?: Error }[]> = {};
  readonly router = {
    routes: () =>
      this.routes.map((name) => ({
        name,
        match: `/${name}`,
        target: name,
        limits: ['100/1m'],
        circuit: this.#circuitOf(name),
        limiters: this.limiters[name] ?? [],
      })),
  };
  readonly feed;

  constructor({ hasRouter = true } = {}) {
    this.feed = statusFeed({
      events: this.events,
      metrics: this.metrics,
      proxies: this.proxies,
      routers: hasRouter ? [this.router] : [],
    });
  }

  request(route: string, changes: Partial<FinishedRequest> = {}, count = 1): void {
    const request = {
      req: { headers: {} },
      route,
      method: 'GET',
      status: 200,
      source: 'backend',
      durationMs: 7,
      bytesIn: 0,
      bytesOut: 0,
      ...changes,
    } as unknown as FinishedRequest;
    for (let i = 0; i < count; i += 1) this.metrics.finished(request);
  }

  #circuitOf(name: string) {
    const state = this.circuits[name];
    return state && { name, state, retryAfterMs: () => (state === 'open' ? 4_000 : 0) };
  }

  row(route: string): RouteRow | undefined {
    return this.feed.snapshot().routes.find((row) => row.route === route);
  }

  problem(kind: string): GatewayProblem | undefined {
    return this.feed.problems.find(({ problem }) => problem === kind);
  }

  get headline(): string {
    return headlineOf('running', this.feed.problems).title;
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

test('a route has its match, service, limits, requests, errors, limited requests and p95', () => {
  rig.request('users', {}, 90);
  rig.request('users', { durationMs: 800 }, 10);
  rig.request('users', { status: 503, source: 'gateway', cause: 'no_backend' }, 5);
  rig.request('users', { status: 500 });
  rig.request('users', { status: 429, source: 'gateway', cause: 'rate_limited' }, 4);
  rig.request('users', { status: 429, source: 'gateway', cause: 'client_overload' });
  expect(rig.row('users')).toMatchObject({ match: '/users', target: 'users', limits: ['100/1m'] });
  expect(rig.row('users')).toMatchObject({ requests: 111, errors: 6, limited: 5 });
  // 101 responses of backends: the 96th is the 5th of ten between 500 ms and 1 s.
  expect(rig.row('users')?.p95Ms).toBeGreaterThan(500);
  expect(rig.row('users')?.p95Ms).toBeLessThan(1_000);
  expect(rig.row('shop')).toMatchObject({ requests: 0, errors: 0, limited: 0, p95Ms: undefined });
  expect(rig.feed.snapshot().routeCount).toBe(2);
});

test('the requests of a route are forgotten after five minutes', () => {
  rig.request('users', {}, 3);
  jest.advanceTimersByTime(10_100);
  rig.request('users', {}, 2);
  expect(rig.row('users')?.requests).toBe(5);
  jest.advanceTimersByTime(300_000);
  expect(rig.row('users')?.requests).toBe(2);
  jest.advanceTimersByTime(10_000);
  expect(rig.row('users')).toMatchObject({ requests: 0, p95Ms: undefined });
  rig.request('users', { durationMs: 3 });
  expect(rig.row('users')?.requests).toBe(1);
});

test('requests that no route takes have a row of their own; without routes there are no rows', () => {
  expect(rig.row('default')).toBeUndefined();
  rig.request('default', { status: 404, source: 'gateway', cause: 'no_route' });
  expect(rig.row('default')).toMatchObject({ match: 'requests that no route takes', requests: 1 });
  const plain = new Rig({ hasRouter: false });
  plain.request('default');
  expect(plain.feed.snapshot().routes).toEqual([]);
  // A name that the app itself gives with the option `route`.
  plain.request('reports');
  expect(plain.row('reports')).toMatchObject({ match: '', target: '', limits: [], requests: 1 });
  plain.close();
});

test('of 1,000 routes, 200 are shown: those with errors, then those with most requests', () => {
  rig.routes = Array.from({ length: 1_000 }, (_, index) => `r${index}`);
  for (const [index, name] of rig.routes.entries()) rig.request(name, {}, index < 500 ? 2 : 1);
  rig.request('r999', { status: 500 });
  const { routes, routeCount } = rig.feed.snapshot();
  expect(routeCount).toBe(1_000);
  expect(routes).toHaveLength(200);
  expect(routes[0]).toMatchObject({ route: 'r999', errors: 1 });
  expect(routes.slice(1).every(({ requests }) => requests === 2)).toBe(true);
});

test('a route that a reload removed goes from the list', () => {
  rig.request('users', {}, 3);
  rig.routes = ['shop'];
  jest.advanceTimersByTime(20_000);
  expect(rig.feed.snapshot().routes.map(({ route }) => route)).toEqual(['shop']);
});

test('the routes of several processes are added, and p95 is that of all', () => {
  rig.request('users', {}, 94);
  const one = rig.feed.snapshot();
  const other = new Rig();
  other.request('users', { durationMs: 800, status: 500 }, 6);
  const merged = mergeSnapshots([one, other.feed.snapshot()]);
  other.close();
  expect(merged.routeCount).toBe(2);
  expect(merged.routes[0]).toMatchObject({ route: 'users', requests: 100, errors: 6 });
  expect(merged.routes[0]?.p95Ms).toBeGreaterThan(500);
});

test('a route that fails is a problem, and the headline names it before its backends', () => {
  rig.request('users', { status: 503, source: 'gateway', cause: 'no_backend' }, 15);
  rig.request('users', {}, 15);
  rig.request('shop', { status: 500 }, 3);
  rig.request('shop', {}, 90);
  rig.request('default', { status: 500, source: 'gateway' }, 30);
  rig.up.users = false;
  jest.advanceTimersByTime(2_000);
  expect(rig.problem('route_errors')).toMatchObject({ subject: 'users', severity: 'warning' });
  expect(rig.problem('route_errors')?.text).toBe(
    'Route users responded with 5xx to 15 of 30 requests in the last 10 s.',
  );
  expect(rig.headline).toMatch(/^Up, but route users fails 50 % of its requests/);
  jest.advanceTimersByTime(20_000);
  expect(rig.problem('route_errors')).toBeUndefined();
});

test.each([
  ['fewer than 20 requests', 19, 0],
  ['less than 5 % errors', 2, 40],
])('a route is not in trouble with %s', (_, errors, good) => {
  rig.request('users', { status: 500 }, errors);
  rig.request('users', {}, good);
  jest.advanceTimersByTime(2_000);
  expect(rig.problem('route_errors')).toBeUndefined();
});

test('the gateway is down when no service has a backend, and only a part of it when one has none', () => {
  rig.up.users = false;
  jest.advanceTimersByTime(2_000);
  expect(rig.problem('backends_unavailable')).toMatchObject({ subject: 'users', severity: 'warning' });
  expect(rig.headline).toMatch(/^Up, but no backend of users takes requests/);
  rig.up.shop = false;
  jest.advanceTimersByTime(2_000);
  expect(rig.headline).toMatch(/^Down: no backend of users takes requests/);
});

test('load shedding is a warning, and critical when it rejects nearly everything', () => {
  rig.events.emit('loadSheddingChange', { isShedding: true, delayMs: 150 } as never);
  rig.request('users', {}, 50);
  const shed = { status: 503, source: 'gateway', cause: 'load_shed' } as const;
  rig.request('default', shed, 50);
  jest.advanceTimersByTime(2_000);
  expect(rig.problem('load_shedding')).toMatchObject({ severity: 'warning' });
  expect(rig.headline).toMatch(/^Up, but the gateway is overloaded and rejects a part of the requests/);
  expect(rig.problem('load_shedding')?.text).toMatch(/50 of 100 requests got 503/);
  rig.request('default', shed, 900);
  jest.advanceTimersByTime(2_000);
  expect(rig.headline).toMatch(/^Down: the gateway is overloaded and rejects nearly all of the requests/);
});

test.each([
  ['fewer than 20 requests', 19, 0],
  ['many requests in progress at a slow backend', 30, 8],
])('rejecting all other requests is no outage with %s', (_, rejected, inFlight) => {
  rig.inFlight = inFlight;
  rig.events.emit('loadSheddingChange', { isShedding: true, delayMs: 150 } as never);
  rig.request('default', { status: 503, source: 'gateway', cause: 'load_shed' }, rejected);
  jest.advanceTimersByTime(2_000);
  expect(rig.headline).toMatch(/^Up, but the gateway is overloaded and rejects a part of the requests/);
});

test('rejected requests are counted over ten seconds while circuits open and close', () => {
  rig.events.emit('loadSheddingChange', { isShedding: true, delayMs: 150 } as never);
  rig.request('users', {}, 50);
  for (let i = 0; i < 10; i += 1) {
    const [from, to] = i % 2 === 0 ? ['closed', 'open'] : ['open', 'closed'];
    rig.events.emit('circuitStateChange', { proxy: 'users', circuit: 'http://a', from, to } as never);
    jest.advanceTimersByTime(100);
  }
  rig.request('default', { status: 503, source: 'gateway', cause: 'load_shed' }, 50);
  jest.advanceTimersByTime(2_000);
  expect(rig.problem('load_shedding')?.text).toMatch(/50 of 100 requests got 503/);
});

test('a route has the state of its circuit, and who counts for each of its limiters', () => {
  rig.circuits.users = 'open';
  rig.limiters.users = [
    { name: 'route users', mode: 'redis' },
    { name: 'shared', mode: 'local' },
  ];
  rig.limiters.shop = rig.limiters.users.slice(1);
  const { routes, limiters, breakers } = rig.feed.snapshot();
  expect(routes[0]).toMatchObject({
    route: 'users',
    circuit: { state: 'open', retryAfterMs: 4_000 },
    limiters: [
      { name: 'route users', mode: 'redis' },
      { name: 'shared', mode: 'local' },
    ],
  });
  expect(rig.row('shop')?.circuit).toBeUndefined();
  // The shared one comes once.
  expect(limiters.map(({ name }) => name)).toEqual(['route users', 'shared']);
  expect(breakers).toEqual([{ name: 'users', state: 'open', retryAfterMs: 4_000 }]);
});

test('of several processes, a route shows the worst circuit and the worst mode', () => {
  rig.circuits.users = 'closed';
  rig.limiters.users = [{ name: 'route users', mode: 'redis' }];
  const other = new Rig();
  other.circuits.users = 'open';
  other.limiters.users = [{ name: 'route users', mode: 'local' }];
  const { routes } = mergeSnapshots([rig.feed.snapshot(), other.feed.snapshot()]);
  other.close();
  expect(routes[0]).toMatchObject({
    route: 'users',
    circuit: { state: 'open', retryAfterMs: 4_000 },
    limiters: [{ name: 'route users', mode: 'local' }],
  });
});

test('a route whose circuit is open is a problem, also when a reload has just added it', () => {
  rig.routes = ['users', 'orders'];
  rig.circuits.orders = 'open';
  jest.advanceTimersByTime(2_000);
  expect(rig.headline).toBe('Up, but route orders rejects its requests (its circuit is open)');
  expect(rig.problem('route_circuit_open')?.text).toContain('next trial in 4.0 s');
  rig.circuits.orders = 'closed';
  jest.advanceTimersByTime(20_000);
  expect(rig.problem('route_circuit_open')).toBeUndefined();
});

test('many limiters whose Redis fails in the same way are one problem', () => {
  const storeError = new Error('connect ECONNREFUSED 10.0.0.7:6379');
  rig.limiters.users = ['a', 'b', 'c'].map((name) => ({ name, mode: 'local', storeError }));
  rig.limiters.shop = [{ name: 'd', mode: 'redis' }];
  jest.advanceTimersByTime(2_000);
  const found = rig.feed.problems.filter(({ problem }) => problem === 'redis_unreachable');
  expect(found).toHaveLength(1);
  expect(found[0]?.text).toContain('Limiter "a" and 2 others cannot use shared counts');
});
