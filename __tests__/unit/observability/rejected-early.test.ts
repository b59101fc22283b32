import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { type AccessLog, accessLog, GatewayEvents, prometheusMetrics } from 'expressway';
import { Registry } from 'prom-client';

let events: GatewayEvents;
let log: AccessLog | undefined;

beforeEach(() => {
  jest.useFakeTimers();
  events = new GatewayEvents();
});
afterEach(() => {
  log?.close();
  jest.useRealTimers();
});

const reject = (requests: Record<string, number>) =>
  events.emit('rejectedEarly', {
    cause: 'load_shed',
    requests: new Map(Object.entries(requests)),
    bytesIn: 100,
    bytesOut: 1_000,
  });

test('requests that were rejected before they were read are in the metrics', async () => {
  const register = new Registry();
  const metrics = prometheusMetrics({ register, events });
  reject({ GET: 7, HEAD: 2 });
  reject({ GET: 1 });
  const text = await register.metrics();
  for (const line of [
    'expressway_requests_total{route="default",service="",method="GET",status="5xx",source="gateway"} 8',
    'expressway_requests_total{route="default",service="",method="HEAD",status="5xx",source="gateway"} 2',
    'expressway_request_failures_total{route="default",service="",cause="load_shed"} 10',
    'expressway_request_duration_seconds_count{route="default",service="",source="gateway"} 10',
    'expressway_requests_in_flight 0',
    'expressway_received_bytes_total{route="default",service=""} 200',
    'expressway_sent_bytes_total{route="default",service=""} 2000',
  ])
    expect(text).toContain(line);
  expect(metrics.totals().causes.get('load_shed')).toBe(10);
  metrics.close();
  reject({ GET: 1 });
  expect(metrics.totals().causes.get('load_shed')).toBe(10);
});

test('the access log has one line a second for all of them', () => {
  const lines: string[] = [];
  log = accessLog({ to: { write: (line) => lines.push(line) }, events });
  for (let count = 0; count < 50; count += 1) {
    reject({ GET: 10, POST: 1 });
    jest.advanceTimersByTime(100);
  }
  jest.advanceTimersByTime(1_000);
  const written = lines.map((line) => JSON.parse(line));
  expect(written.length).toBeLessThanOrEqual(6);
  expect(written[0]).toMatchObject({ status: 503, cause: 'load_shed', time: expect.any(String) });
  expect(written.reduce((sum, { rejected }) => sum + rejected, 0)).toBe(550);
});

test('a logger gets the same; the formats of Apache have no place for it', () => {
  const records: unknown[] = [];
  const toLogger = accessLog({ to: { info: (record, message) => records.push([record, message]) }, events });
  const lines: string[] = [];
  log = accessLog({ to: { write: (line) => lines.push(line) }, format: 'common', events });
  reject({ GET: 3 });
  toLogger.close();
  log.close();
  expect(records).toEqual([[{ rejected: 3, status: 503, cause: 'load_shed' }, 'requests rejected early']]);
  expect(lines).toEqual([]);
});
