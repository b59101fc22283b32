import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import express from 'express';
import {
  accessLog,
  circuitBreaker,
  GatewayEvents,
  ipRateLimit,
  observability,
  prometheusMetrics,
  roundRobinProxy,
  statusFeed,
} from 'expressway';
import { Registry } from 'prom-client';
import { ask } from '../support/ask.ts';
import { Cleanup } from '../support/gateway.ts';
import { closedPort, eventually, listen, type RunningServer } from '../support/servers.ts';
import { expectWarnings } from '../support/warnings.ts';

expectWarnings('WARN_EXPRESSWAY_LIMITER_NAME');

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

let backend: RunningServer;
beforeEach(async () => {
  backend = cleanup.add(await listen((req, res) => res.writeHead(req.url === '/bad' ? 500 : 200).end()));
});

/** Series of a page in the text format; Prometheus refuses a page that has one of them twice. */
function seriesOf(page: string): string[] {
  return page.split('\n').flatMap((line) => (/^[a-z]/.test(line) ? [line.replace(/ \S+$/, '')] : []));
}

interface Names {
  readonly proxies: readonly (string | undefined)[];
  readonly breakers: readonly string[];
  readonly limiters: readonly string[];
}

/** One app with several proxies in front of the same backends, one of which is down. */
async function open({ proxies: names, breakers: circuits, limiters: limits }: Names) {
  const events = new GatewayEvents();
  const register = new Registry();
  const lines: Record<string, unknown>[] = [];
  const down = `http://127.0.0.1:${await closedPort()}`;
  const healthCheck = { path: '/', intervalMs: 1_000 };
  const proxies = names.map((name) =>
    cleanup.add(
      roundRobinProxy({ backends: [backend.url, down], events, healthCheck, ...(name === undefined ? {} : { name }) }),
    ),
  );
  const breakers = circuits.map((name) => circuitBreaker({ name, events }));
  const limiters = limits.map((name) => cleanup.add(ipRateLimit({ name, events, limit: 1_000 })));
  const parts = { events, proxies, breakers, limiters };
  const metrics = cleanup.add(prometheusMetrics({ register, ...parts }));
  const status = cleanup.add(statusFeed({ metrics, ...parts }));
  const log = cleanup.add(accessLog({ to: { write: (line: string) => lines.push(JSON.parse(line)) } }));
  const app = express();
  app.use(observability({ metrics, status, accessLog: log }), ...limiters, ...breakers);
  for (const [index, proxy] of proxies.entries()) app.use(`/${index}`, proxy);
  const { url } = cleanup.add(await listen(app));
  return { url, down, events, register, lines, status, proxies };
}

describe('two proxies with the same backends', () => {
  test('have their own series, rows, events and log lines, labelled by their names', async () => {
    const { url, down, events, register, lines, status, proxies } = await open({
      proxies: ['orders', 'stock'],
      breakers: ['route'],
      limiters: ['ip'],
    });
    const told: string[] = [];
    events.on('forwarded', ({ service, exchange }) => told.push(`forwarded ${service} ${exchange.service}`));
    events.on('rejected', ({ service }) => told.push(`rejected ${service}`));
    expect(proxies.map(({ name }) => name)).toEqual(['orders', 'stock']);
    for (const path of ['/0/', '/0/', '/1/bad', '/1/']) await ask(`${url}${path}`);
    await eventually('four lines', () => lines.length === 4);
    expect(lines.map(({ service }) => service)).toEqual(['orders', 'orders', 'stock', 'stock']);
    expect(told).toEqual([
      'forwarded orders orders',
      'forwarded orders orders',
      'forwarded stock stock',
      'forwarded stock stock',
    ]);
    const page = await register.metrics();
    const series = seriesOf(page);
    expect(series.filter((one, index) => series.indexOf(one) !== index)).toEqual([]);
    for (const service of ['orders', 'stock']) {
      for (const name of ['backend_up', 'backend_requests_in_flight', 'backend_duration_seconds_count']) {
        expect(page).toContain(`expressway_${name}{service="${service}",backend="${backend.url}"}`);
      }
      expect(page).toContain(
        `expressway_circuit_state{service="${service}",circuit="${backend.url}",state="closed"} 1`,
      );
      expect(page).toContain(`expressway_queue_length{service="${service}"} 0`);
    }
    const rows = status.snapshot().backends;
    expect(rows.map((row) => [row.service, row.backend])).toEqual([
      ['orders', backend.url],
      ['orders', down],
      ['stock', backend.url],
      ['stock', down],
    ]);
    expect(rows[0]?.lastError).toBeUndefined();
    expect(rows[2]?.lastError?.text).toBe('responded with 500');
  });

  test.each<[string, Names]>([
    ['proxies that have no name', { proxies: [undefined, undefined], breakers: [], limiters: [] }],
    ['proxies of one name', { proxies: ['a', 'a'], breakers: [], limiters: [] }],
    ['circuit breakers of one name', { proxies: ['a'], breakers: ['route', 'route'], limiters: [] }],
    ['limiters of one name', { proxies: ['a'], breakers: [], limiters: ['ip', 'ip'] }],
  ])('%s create no duplicate series', async (_what, names) => {
    const { url, register, status, proxies } = await open(names);
    for (const index of proxies.keys()) await ask(`${url}/${index}/`);
    const series = seriesOf(await register.metrics());
    expect(series.length).toBeGreaterThan(50);
    expect(series.filter((one, index) => series.indexOf(one) !== index)).toEqual([]);
    const rows = status.snapshot().backends.map(({ service, backend: origin }) => `${service} ${origin}`);
    expect(rows).toHaveLength(2);
    expect(new Set(rows).size).toBe(2);
  });
});

test('metrics of the same name are merged: flags are averaged, states are kept, counters are summed', async () => {
  const register = new Registry();
  const proxy = (available: boolean, circuit: 'closed' | 'open') => ({
    name: 'a',
    status: () => [{ backend: 'http://b', circuit, health: 'unknown' as const, available, inFlight: 3 }],
    load: () => ({ inFlight: 3, waiting: 2, retriesLeft: 1 }),
  });
  const proxies = [proxy(true, 'closed'), proxy(false, 'open')];
  cleanup.add(prometheusMetrics({ register, events: new GatewayEvents(), proxies }));
  const page = await register.metrics();
  expect(page).toContain('expressway_backend_up{service="a",backend="http://b"} 0.5\n');
  expect(page).toContain('expressway_backend_requests_in_flight{service="a",backend="http://b"} 6\n');
  expect(page).toContain('expressway_queue_length{service="a"} 4\n');
  for (const [state, value] of [
    ['closed', 1],
    ['open', 1],
    ['half-open', 0],
  ]) {
    expect(page).toContain(`expressway_circuit_state{service="a",circuit="http://b",state="${state}"} ${value}\n`);
  }
});
