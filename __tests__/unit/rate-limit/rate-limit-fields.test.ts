import { type IncomingMessage, ServerResponse } from 'node:http';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { rateLimitFields } from '../../../lib/rate-limit/rate-limit-fields.ts';
import { parseRateLimitField } from './structured-field.ts';

const response = () => new ServerResponse({ method: 'GET' } as IncomingMessage);

const fields = (name: string, limit: number, windowMs: number) =>
  rateLimitFields('draft-8', name, [{ limit, windowMs, burst: limit }]);

afterEach(() => {
  jest.restoreAllMocks();
});

describe('rateLimitFields()', () => {
  test('writes the policy and its state', () => {
    const res = response();
    fields('ip', 100, 60_000).write(res, [{ remaining: 99, resetMs: 57_001 }], undefined);
    expect(res.getHeader('RateLimit-Policy')).toBe('"ip";q=100;w=60');
    expect(res.getHeader('RateLimit')).toBe('"ip";r=99;t=58');
  });

  test.each([
    [1_500, 2],
    [1_000, 1],
    [1, 1],
  ])('gives a window of %i ms as %i whole seconds', (windowMs, seconds) => {
    const res = response();
    fields('ip', 5, windowMs).write(res, [{ remaining: 0, resetMs: 0 }], undefined);
    expect(parseRateLimitField(String(res.getHeader('RateLimit-Policy')))).toEqual([
      { value: 'ip', parameters: { q: 5, w: seconds } },
    ]);
    expect(parseRateLimitField(String(res.getHeader('RateLimit')))).toEqual([
      { value: 'ip', parameters: { r: 0, t: 0 } },
    ]);
  });

  test('adds a member to the lists for each limiter that a request passes', () => {
    const warning = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const res = response();
    fields('ip', 100, 60_000).write(res, [{ remaining: 99, resetMs: 60_000 }], undefined);
    fields('log in!', 5, 1_000).write(res, [{ remaining: 4, resetMs: 1_000 }], undefined);
    expect(parseRateLimitField(String(res.getHeader('RateLimit-Policy')))).toEqual([
      { value: 'ip', parameters: { q: 100, w: 60 } },
      { value: 'log in!', parameters: { q: 5, w: 1 } },
    ]);
    expect(parseRateLimitField(String(res.getHeader('RateLimit')))).toEqual([
      { value: 'ip', parameters: { r: 99, t: 60 } },
      { value: 'log in!', parameters: { r: 4, t: 1 } },
    ]);
    expect(warning).not.toHaveBeenCalled();
  });

  test('warns once of two limiters of one name', () => {
    const warning = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const [first, second] = [fields('ip', 100, 60_000), fields('ip', 5, 1_000)];
    for (let i = 0; i < 3; i++) {
      const res = response();
      first.write(res, [{ remaining: 99, resetMs: 60_000 }], undefined);
      second.write(res, [{ remaining: 4, resetMs: 1_000 }], undefined);
    }
    expect(warning).toHaveBeenCalledTimes(1);
    expect(warning.mock.lastCall?.[0]).toMatch(/two rate limiters named "ip"/);
  });

  test('leaves a head alone that is already sent', () => {
    const res = response();
    res.writeHead(200);
    expect(() => fields('ip', 1, 1).write(res, [{ remaining: 0, resetMs: 0 }], undefined)).not.toThrow();
  });
});
