import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { type FinishedRequest, OptionsError } from 'expressway';
import { type AccessLogOptions, accessLog } from '../../../lib/observability/access-log/access-log.ts';

afterEach(() => {
  jest.restoreAllMocks();
});

function finished(changes: object = {}, headers: Record<string, string> = {}): FinishedRequest {
  return {
    req: { url: '/inner', originalUrl: '/a?b=1', httpVersion: '1.1', headers: { host: 'example.org', ...headers } },
    id: 'id-1',
    client: '192.0.2.1',
    startedAt: Date.UTC(2026, 10, 4, 5, 6, 7),
    route: 'default',
    method: 'GET',
    status: 200,
    source: 'backend',
    cause: undefined,
    backend: 'http://b',
    attempts: 1,
    bytesIn: 20,
    bytesOut: 30,
    durationMs: 12.34567,
    backendMs: 10,
    limits: [],
    upgrade: undefined,
    ...changes,
  } as unknown as FinishedRequest;
}

function written(options: Omit<AccessLogOptions, 'to'>, ...requests: FinishedRequest[]): string[] {
  const lines: string[] = [];
  const log = accessLog({ to: { write: (line: string) => lines.push(line) }, ...options });
  for (const request of requests) log.finished(request);
  log.close();
  return lines;
}

describe('accessLog', () => {
  test('common and combined lines are those of httpd', () => {
    const headers = { 'user-agent': 'a "b" \\', referer: 'http://me:pw@a/?token=x' };
    expect(written({ format: 'common' }, finished({}, headers), finished({ client: undefined, bytesOut: 0 }))).toEqual([
      '192.0.2.1 - - [04/Nov/2026:05:06:07 +0000] "GET /a?b=1 HTTP/1.1" 200 30\n',
      '- - - [04/Nov/2026:05:06:07 +0000] "GET /a?b=1 HTTP/1.1" 200 -\n',
    ]);
    expect(written({ format: 'combined' }, finished({}, headers), finished())).toEqual([
      '192.0.2.1 - - [04/Nov/2026:05:06:07 +0000] "GET /a?b=1 HTTP/1.1" 200 30 "http://***@a/?token=***" "a \\"b\\" \\\\"\n',
      '192.0.2.1 - - [04/Nov/2026:05:06:07 +0000] "GET /a?b=1 HTTP/1.1" 200 30 "-" "-"\n',
    ]);
  });

  test.each(['json', 'common', 'combined'] as const)('A13: %s: one line for every request', (format) => {
    const nasty = `x\r\n127.0.0.1 - - forged\u001b[2J\u009b\u2028"${'y'.repeat(9_000)}`;
    const request = finished({ method: 'GET' }, { 'user-agent': nasty, referer: nasty, host: nasty });
    (request.req as { originalUrl: string }).originalUrl = `/${nasty}`;
    const [line = '', ...more] = written({ format, fields: ['x-a'] }, request);
    expect(more).toEqual([]);
    expect(line).toMatch(/^[^\p{Cc}\u2028\u2029]*\n$/u);
    expect(line.length).toBeLessThan(6_000);
    if (format === 'json') expect(JSON.parse(line).status).toBe(200);
  });

  test.each([
    ['UTF-8', Buffer.from('Zürich 日本').toString('latin1'), 'Zürich 日本'],
    ['Latin-1', 'Zürich', 'Zürich'],
    ['a value that a middleware set', 'Ã¼ 日本', 'Ã¼ 日本'],
    [
      'a change of direction in UTF-8',
      Buffer.from('a\u202eb\u2066c\u200f').toString('latin1'),
      'a\\u202eb\\u2066c\\u200f',
    ],
    ['a control character in UTF-8', Buffer.from('a\u0085\u2028').toString('latin1'), 'a\\u0085\\u2028'],
  ])('shows what the client sent in its characters: %s', (_, sent, shown) => {
    const headers = { 'user-agent': sent, referer: sent, host: sent, 'x-name': sent };
    const [line = ''] = written({ fields: ['X-Name'] }, finished({}, headers));
    const { userAgent, referer, host, fields } = JSON.parse(line);
    expect([userAgent, referer, host, fields['x-name']]).toEqual([shown, shown, shown, shown]);
  });

  /** Every text of a request that something else than this package may have made. */
  const TEXTS = ['id', 'traceId', 'client', 'method', 'route', 'service', 'backend', 'upgrade'] as const;

  test.each(['json', 'common', 'combined', 'logger'] as const)(
    '%s: every value is escaped and bounded, wherever it comes from',
    (format) => {
      const forged = '203.0.113.9 - - [04/Nov/2026:05:06:07 +0000] "GET /admin HTTP/1.1" 200 1';
      for (const nasty of [`${forged}\r\n\u009b2J`, '\u0085\u0090\u009d', 'y'.repeat(9_000), 'é" \\']) {
        for (const name of TEXTS) {
          const limits = [{ limiter: nasty, mode: 'memory', allowed: true, shadow: false, limit: 1 }];
          const request = finished({ [name]: nasty, limits });
          let line: string;
          if (format === 'logger') {
            const info = jest.fn<(record: object, message: string) => void>();
            accessLog({ to: { info } }).finished(request);
            line = `${Object.values(info.mock.calls[0]?.[0] ?? {}).join(' ')}\n`;
          } else {
            [line = ''] = written({ format }, request);
          }
          expect(line).toMatch(/^[^\p{Cc}\u2028\u2029]*\n$/u);
          expect(line.length).toBeLessThan(2_000);
          // Client, two columns that are always empty, time, request line, status, size: none of them may be another.
          if (format === 'common') expect(line).toMatch(/^\S+ - - \[04\/Nov\/[^\]]+\] "(?:[^"\\]|\\.)*" 200 30\n$/);
        }
      }
    },
  );

  test('shows fields that it is asked for, and masks those with credentials', () => {
    const headers = { authorization: 'Bearer geheim', cookie: 'a=geheim', 'x-tenant': 'acme' };
    const [line = ''] = written(
      { fields: ['X-Tenant', 'Authorization', 'Cookie', 'X-Api-Key'] },
      finished({}, headers),
    );
    expect(JSON.parse(line).fields).toEqual({ 'x-tenant': 'acme', authorization: '***', cookie: '***' });
    expect(line).not.toContain('geheim');
  });

  test('gives a logger an object and no line', () => {
    const info = jest.fn<(record: object, message: string) => void>();
    accessLog({ to: { info } }).finished(finished());
    expect(info).toHaveBeenCalledWith(
      expect.objectContaining({ id: 'id-1', target: '/a?b=1', durationMs: 12.346, gatewayMs: 2.346, backendMs: 10 }),
      'request',
    );
  });

  test('sampling skips successful requests only', () => {
    const random = jest.spyOn(Math, 'random');
    const log = (value: number, status: number) => {
      random.mockReturnValue(value);
      return written({ sample: 0.25 }, finished({ status })).length;
    };
    expect([log(0.24, 200), log(0.25, 200), log(0.99, 304)]).toEqual([1, 0, 0]);
    expect([log(0.99, 400), log(0.99, 429), log(0.99, 499), log(0.99, 502)]).toEqual([1, 1, 1, 1]);
    expect(written({ sample: 0 }, finished())).toEqual([]);
  });

  test('drops and counts lines for which a slow stream has no room', () => {
    const lines: string[] = [];
    const to = { writableLength: 0, write: (line: string) => lines.push(line) };
    const log = accessLog({ to, maxBufferBytes: 1_000 });
    const atLength = (length: number, ...requests: FinishedRequest[]) => {
      to.writableLength = length;
      for (const request of requests) log.finished(request);
      log.close();
    };
    atLength(0, finished());
    atLength(1_001, finished(), finished());
    atLength(10, finished());
    expect([lines.length, log.dropped]).toEqual([2, 2]);
  });

  test('lines to a stream are written together, in order, when the turn of the event loop ends', async () => {
    const lines: string[] = [];
    const log = accessLog({ to: { write: (line: string) => lines.push(line) } });
    log.finished(finished({ id: 'first' }));
    await Promise.resolve();
    log.finished(finished({ id: 'second' }));
    expect(lines).toEqual([]);
    await new Promise(setImmediate);
    expect(lines.map((line) => JSON.parse(line).id)).toEqual(['first', 'second']);
    log.finished(finished({ id: 'third' }));
    await new Promise(setImmediate);
    expect(lines).toHaveLength(3);
  });

  test('refuses bad options, all at once', () => {
    const bad = { to: {}, format: 'xml', sample: 2, maxBufferBytes: 0, fields: 'a', redact: [1], colour: true };
    expect(() => accessLog(bad as never)).toThrow(OptionsError);
    try {
      accessLog(bad as never);
    } catch (error) {
      expect((error as OptionsError).problems).toHaveLength(7);
    }
    expect(() => accessLog({ to: { info() {} }, format: 'common' })).toThrow(/format must be json for a logger/);
  });
});
