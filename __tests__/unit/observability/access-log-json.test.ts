import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { type FinishedRequest, GatewayEvents } from 'expressway';
import fc from 'fast-check';
import { type AccessLogOptions, accessLog } from '../../../lib/observability/access-log/access-log.ts';
import { IsoTime } from '../../../lib/observability/access-log/access-log-format.ts';

const NOW = Date.UTC(2026, 10, 4, 5, 6, 7, 8);

beforeEach(() => {
  jest.useFakeTimers({ now: NOW });
});

afterEach(() => {
  jest.useRealTimers();
});

const REQUEST = {
  req: { url: '/"a"\\', httpVersion: '1.1', headers: { host: 'example.org', 'user-agent': 'é "b"' } },
  id: 'id-1',
  client: '192.0.2.1',
  startedAt: NOW,
  route: 'default',
  method: 'GET',
  status: 200,
  source: 'backend',
  backend: 'http://b',
  attempts: 1,
  bytesIn: 20,
  bytesOut: 30,
  durationMs: 12.5,
  backendMs: 10,
  limits: [{ limiter: 'a', mode: 'memory', allowed: true, shadow: false, limit: 5, remaining: 4, resetMs: 0.5 }],
} as unknown as FinishedRequest;

describe('json lines to a stream', () => {
  let lines: string[];
  let events: GatewayEvents;

  beforeEach(() => {
    lines = [];
    events = new GatewayEvents();
  });

  function open(options: Omit<AccessLogOptions, 'to'> = {}) {
    return accessLog({ to: { write: (line: string) => lines.push(line) }, events, ...options });
  }

  test('have the record that a logger gets, and the time', () => {
    const info = jest.fn<(record: object, message: string) => void>();
    accessLog({ to: { info } }).finished(REQUEST);
    const stream = open();
    stream.finished(REQUEST);
    stream.close();
    const [record] = info.mock.calls[0] ?? [];
    expect(lines).toEqual([`${JSON.stringify({ time: '2026-11-04T05:06:07.008Z', ...record })}\n`]);
  });

  test('describe every kind of request in the same way', () => {
    const info = jest.fn<(record: object, message: string) => void>();
    const logger = accessLog({ to: { info }, fields: ['x-a', 'cookie'] });
    const stream = open({ fields: ['x-a', 'cookie'] });
    const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string(),
      fc.constantFrom('"', '\\', '\u2028', 'é', '/?token=a&b=c', '//u:p@h/', 'a'.repeat(512), 'b'.repeat(2_050)),
    );
    const count = fc.nat();
    const timeMs = fc.double({ min: 0, max: 1e7, noNaN: true });
    const decision = fc.record({
      limiter: text,
      mode: fc.constantFrom('memory', 'redis', 'local'),
      allowed: fc.boolean(),
      limit: count,
      remaining: maybe(count),
      resetMs: maybe(timeMs),
    });
    const headers = fc.record({
      host: maybe(text),
      referer: maybe(text),
      'user-agent': maybe(text),
      'x-a': maybe(text),
      cookie: maybe(text),
    });
    const request = fc.record({
      req: fc.record({
        url: text,
        originalUrl: maybe(text),
        httpVersion: fc.constantFrom('1.0', '1.1', '2.0'),
        headers,
      }),
      id: maybe(text),
      traceId: maybe(text),
      client: maybe(text),
      startedAt: fc.constant(NOW),
      route: text,
      method: text,
      status: fc.integer({ min: 200, max: 599 }),
      source: fc.constantFrom('gateway', 'backend'),
      cause: maybe(fc.constantFrom('client_aborted', 'rate_limited')),
      backend: maybe(text),
      attempts: count,
      upgrade: maybe(text),
      bytesIn: count,
      bytesOut: count,
      durationMs: timeMs,
      backendMs: timeMs,
      limits: fc.array(decision, { maxLength: 3 }),
    });
    fc.assert(
      fc.property(request, (any) => {
        lines.length = 0;
        info.mockClear();
        logger.finished(any as unknown as FinishedRequest);
        stream.finished(any as unknown as FinishedRequest);
        stream.close();
        const [record] = info.mock.calls[0] ?? [];
        expect(lines).toEqual([`${JSON.stringify({ time: '2026-11-04T05:06:07.008Z', ...record })}\n`]);
      }),
      { numRuns: 500 },
    );
  });

  test('with a base they begin with it and end with a message, as a logger writes them', () => {
    const log = open({ base: { level: 'info', worker: 2 }, maxRefusalsPerSecond: 1 });
    log.finished(REQUEST);
    for (let i = 0; i < 3; i += 1) {
      events.emit('clientRefused', { cause: 'client_timeout', status: 408, address: '192.0.2.1', exchange: undefined });
    }
    jest.advanceTimersByTime(1_000);
    log.close();
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      expect.objectContaining({ level: 'info', worker: 2, target: '/"a"\\', userAgent: 'é "b"', msg: 'request' }),
      expect.objectContaining({ level: 'info', worker: 2, status: 408, msg: 'client refused' }),
      expect.objectContaining({ level: 'info', worker: 2, omitted: 2, msg: 'more clients refused' }),
    ]);
    expect(lines[0]).toMatch(/^\{"level":"info","worker":2,"time":"2026-11-04T05:06:07\.008Z",.*,"msg":"request"\}\n$/);
  });

  test('an invalid base, or one for a logger, is refused', () => {
    for (const base of [{}, 'info', null]) {
      expect(() => open({ base: base as never })).toThrow(/base must be an object of at least one member/);
    }
    expect(() => accessLog({ to: { info() {} }, base: { level: 'info' } })).toThrow(/base is for streams/);
  });
});

test.each([
  ['2001:db8::1%eth0', '2001:db8::1%eth0'],
  ['a b"\\\u009b\né', 'a\\u0020b\\u0022\\u005c\\u009b\\u000a\\u00e9'],
  ['', '-'],
  [undefined, '-'],
])('the client %j is one word in a common line', (client, word) => {
  const lines: string[] = [];
  const log = accessLog({ to: { write: (line: string) => lines.push(line) }, format: 'common' });
  log.finished({ ...REQUEST, client });
  log.close();
  expect(lines).toEqual([`${word} - - [04/Nov/2026:05:06:07 +0000] "GET /\\"a\\"\\\\ HTTP/1.1" 200 30\n`]);
});

test('IsoTime formats each time as Date does, in any order of times', () => {
  const iso = new IsoTime();
  for (const time of [NOW, NOW + 1, NOW + 991, NOW + 992, NOW - 5_000, 0, -1, NOW]) {
    expect(iso.of(time)).toBe(new Date(time).toISOString());
  }
});
