import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { type AccessLogOptions, accessLog, type ClientRefusedEvent, GatewayEvents } from 'expressway';

let events: GatewayEvents;
let lines: string[];

beforeEach(() => {
  jest.useFakeTimers({ now: Date.UTC(2026, 10, 4, 5, 6, 7) });
  events = new GatewayEvents();
  lines = [];
});

afterEach(() => {
  jest.useRealTimers();
});

function open(options: Omit<AccessLogOptions, 'to'> = {}) {
  return accessLog({ to: { write: (line: string) => lines.push(line) }, events, ...options });
}

function refuse(count = 1, changes: Partial<ClientRefusedEvent> = {}): void {
  for (let i = 0; i < count; i += 1) {
    events.emit('clientRefused', {
      cause: 'client_timeout',
      status: 408,
      address: '::ffff:192.0.2.1',
      exchange: undefined,
      ...changes,
    });
  }
}

describe('access log lines of clients that were refused before there was a request', () => {
  test('are written in each format', () => {
    for (const format of ['json', 'common', 'combined'] as const) open({ format });
    refuse();
    expect(lines).toEqual([
      '{"time":"2026-11-04T05:06:07.000Z","client":"192.0.2.1","status":408,"source":"gateway","cause":"client_timeout"}\n',
      '192.0.2.1 - - [04/Nov/2026:05:06:07 +0000] "-" 408 -\n',
      '192.0.2.1 - - [04/Nov/2026:05:06:07 +0000] "-" 408 - "-" "-"\n',
    ]);
    lines.length = 0;
    refuse(1, { cause: 'bad_request', status: 400, address: undefined });
    expect(lines[1]).toBe('- - - [04/Nov/2026:05:06:07 +0000] "-" 400 -\n');
  });

  test('have no status when the connection was closed without a response', () => {
    for (const format of ['json', 'common'] as const) open({ format });
    refuse(1, { cause: 'connection_limit', status: undefined });
    expect(lines).toEqual([
      '{"time":"2026-11-04T05:06:07.000Z","client":"192.0.2.1","source":"gateway","cause":"connection_limit"}\n',
      '192.0.2.1 - - [04/Nov/2026:05:06:07 +0000] "-" - -\n',
    ]);
  });

  test('are written to a logger', () => {
    const info = jest.fn<(record: object, message: string) => void>();
    accessLog({ to: { info }, events, maxRefusalsPerSecond: 1 });
    refuse(3);
    jest.advanceTimersByTime(1_000);
    expect(info.mock.calls).toEqual([
      [{ client: '192.0.2.1', status: 408, source: 'gateway', cause: 'client_timeout' }, 'client refused'],
      [{ omitted: 2 }, 'more clients refused'],
    ]);
  });

  test('are limited per second, and the others are counted', () => {
    open();
    refuse(1_000);
    expect(lines).toHaveLength(10);
    jest.advanceTimersByTime(999);
    refuse(5);
    expect(lines).toHaveLength(10);
    jest.advanceTimersByTime(1);
    expect(lines).toHaveLength(11);
    expect(JSON.parse(lines[10] as string)).toEqual({ time: '2026-11-04T05:06:08.000Z', omitted: 995 });
    refuse(3);
    jest.advanceTimersByTime(5_000);
    // None was left out: no count.
    expect(lines).toHaveLength(14);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('have no count in formats without a place for it', () => {
    open({ format: 'common', maxRefusalsPerSecond: 1 });
    refuse(3);
    jest.advanceTimersByTime(1_000);
    expect(lines).toHaveLength(1);
  });

  test('are not written when their request has a line', () => {
    open();
    refuse(1, { exchange: { recorder: {} } as never });
    expect(lines).toEqual([]);
    // Nobody keeps a record of this one.
    refuse(1, { exchange: { recorder: undefined } as never });
    expect(lines).toHaveLength(1);
  });

  test('are not written when they are off, or the log is closed, which writes the last count', () => {
    open({ maxRefusalsPerSecond: 0 }).close();
    accessLog({ to: { write: (line: string) => lines.push(line) } });
    refuse();
    expect(lines).toEqual([]);
    const log = open({ maxRefusalsPerSecond: 1 });
    refuse(4);
    log.close();
    refuse();
    expect(lines).toHaveLength(2);
    expect(JSON.parse(lines[1] as string)).toMatchObject({ omitted: 3 });
    expect(jest.getTimerCount()).toBe(0);
  });

  test('are dropped and counted when the stream is slow', () => {
    const log = accessLog({ to: { write() {}, writableLength: 100 }, events, maxBufferBytes: 10 });
    refuse(2);
    expect(log.dropped).toBe(2);
  });
});

test('are refused with invalid options', () => {
  expect(() => open({ events: {} as never, maxRefusalsPerSecond: -1 })).toThrow(
    /events must be a GatewayEvents of this copy.*maxRefusalsPerSecond must be an integer of at least 0/,
  );
});
