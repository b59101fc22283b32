import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { type Exchange, GatewayEvents } from 'expressway';
import type { LogLevel } from '../../lib/gateway/config/sections/operation-variables.ts';
import { logEvents } from '../../lib/gateway/logging/event-log.ts';
import { createLogger } from '../../lib/gateway/logging/logger.ts';

const exchange = {
  req: { method: 'GET', url: '/secret?token=1', headers: { 'x-request-id': 'abc-1', cookie: 'secret' } },
} as unknown as Exchange;

function emitAll(level: LogLevel): Record<string, unknown>[] {
  const lines: Record<string, unknown>[] = [];
  const events = new GatewayEvents();
  logEvents(
    events,
    createLogger(level, (line) => lines.push(JSON.parse(line))),
  );
  const failed = { kind: 'failed', cause: 'connection_refused', error: new Error('no'), sent: false, headSent: false };
  events.emit('circuitStateChange', { service: 'p', circuit: 'http://a', from: 'closed', to: 'open', retryAfterMs: 9 });
  events.emit('circuitStateChange', {
    service: 'p',
    circuit: 'http://a',
    from: 'open',
    to: 'half-open',
    retryAfterMs: 0,
  });
  events.emit('limiterModeChange', { limiter: 'ip', from: 'redis', to: 'local', error: new Error('down') });
  events.emit('limiterModeChange', { limiter: 'ip', from: 'local', to: 'redis', error: undefined });
  events.emit('healthChange', {
    service: 'p',
    backend: 'http://a',
    from: 'healthy',
    to: 'unhealthy',
    error: new Error('late'),
  });
  events.emit('healthChange', {
    service: 'p',
    backend: 'http://a',
    from: 'unhealthy',
    to: 'healthy',
    error: undefined,
  });
  events.emit('discoveryFailed', {
    service: 'p',
    name: 'dns://a:80',
    error: new Error('gone'),
    backends: 2,
    again: false,
  });
  events.emit('discoveryRecovered', { service: 'p', name: 'dns://a:80', removed: false });
  events.emit('resourceShortage', {
    service: 'p',
    code: 'EMFILE',
    description: 'EMFILE: none left',
    error: new Error('x'),
  });
  events.emit('backendsChanged', { service: 'p', added: ['http://b'], removed: [] });
  events.emit('attemptFailed', {
    exchange,
    service: 'p',
    backend: 'http://a',
    outcome: failed as never,
    retried: true,
  });
  events.emit('limited', { exchange, limiter: 'ip', key: '192.0.2.1', limit: 1, retryAfterMs: 5, shadow: false });
  events.emit('clientRefused', { cause: 'client_timeout', address: '192.0.2.1', exchange: undefined });
  events.emit('rejected', { exchange, service: 'p', outcome: { kind: 'rejected', cause: 'no_backend' } });
  return lines;
}

test('the log has state changes and failed attempts; single refusals at debug level only', () => {
  const summary = emitAll('debug').map(({ level, msg }) => `${level} ${msg}`);
  expect(summary).toEqual([
    'warn circuit open',
    'info circuit half-open',
    'warn limiter "ip" fell back to local counting',
    'info limiter "ip" counts in Redis again',
    'warn backend unhealthy',
    'info backend healthy',
    'warn discovery failed: the backends found before stay in use',
    'info discovery works again',
    'error gateway_resources: EMFILE: none left',
    'info backends changed',
    'warn attempt failed',
    'debug client over its limit',
    'debug client refused',
    'debug request rejected',
  ]);
  expect(emitAll('info')).toHaveLength(11);
});

test('the log names backend and reason, and no request target', () => {
  const lines = emitAll('debug');
  expect(lines[0]).toMatchObject({ service: 'p', circuit: 'http://a', from: 'closed', to: 'open', retryAfterMs: 9 });
  expect(lines[2]).toMatchObject({ limiter: 'ip', from: 'redis', to: 'local', error: 'down' });
  expect(lines[4]).toMatchObject({
    service: 'p',
    backend: 'http://a',
    from: 'healthy',
    to: 'unhealthy',
    error: 'late',
  });
  expect(lines[10]).toMatchObject({
    id: 'abc-1',
    service: 'p',
    backend: 'http://a',
    method: 'GET',
    cause: 'connection_refused',
    error: 'no',
    retried: true,
  });
  expect(lines[12]).toMatchObject({ cause: 'client_timeout', address: '192.0.2.1' });
  expect(lines[13]).toMatchObject({ service: 'p', cause: 'no_backend' });
  expect(JSON.stringify(lines)).not.toMatch(/secret/);
});

describe('failed attempts', () => {
  afterEach(() => void jest.useRealTimers());

  function failing(outcome: object) {
    jest.useFakeTimers();
    const lines: Record<string, unknown>[] = [];
    const events = new GatewayEvents();
    logEvents(
      events,
      createLogger('info', (line) => lines.push(JSON.parse(line))),
    );
    const event = { exchange, service: 'p', backend: 'http://a', outcome: outcome as never, retried: false };
    return { lines, fail: () => events.emit('attemptFailed', event) };
  }

  test('a backend that is down does not fill the log: ten lines a second, and how many more there were', () => {
    const error = new Error('no');
    const { lines, fail } = failing({ kind: 'failed', cause: 'connection_refused', error, sent: false });
    for (let request = 0; request < 500; request += 1) fail();
    expect(lines).toHaveLength(10);
    jest.advanceTimersByTime(1_000);
    expect(lines.slice(10)).toMatchObject([{ level: 'warn', omitted: 490, msg: 'more attempts failed' }]);
    fail();
    jest.advanceTimersByTime(5_000);
    expect(lines.slice(11)).toMatchObject([{ msg: 'attempt failed' }]);
  });

  test('a response that is retried is logged with its status', () => {
    const { lines, fail } = failing({ kind: 'completed', status: 503 });
    fail();
    expect(lines).toMatchObject([{ msg: 'attempt failed', backend: 'http://a', status: 503 }]);
  });
});
