import { type IncomingMessage, ServerResponse } from 'node:http';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { FIELDS_FORMS, rateLimitFields } from '../../../lib/rate-limit/rate-limit-fields.ts';
import { parseRateLimitField } from './structured-field.ts';

const response = () => new ServerResponse({ method: 'GET' } as IncomingMessage);

const fields = (name: string, limit: number, windowMs: number) =>
  rateLimitFields('draft-8', name, [{ limit, windowMs, burst: limit }]);

afterEach(() => {
  jest.restoreAllMocks();
  jest.useRealTimers();
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
    expect(warning.mock.lastCall?.[0]).toMatch(/the rate limiter "ip" twice, or two limiters of this name/);
  });

  test.each(FIELDS_FORMS)('%s: leaves a head alone that is already sent', (form) => {
    const res = response();
    res.writeHead(200);
    const one = rateLimitFields(form, 'ip', [{ limit: 1, windowMs: 1, burst: 1 }]);
    expect(() => one.write(res, [{ remaining: 0, resetMs: 0 }], undefined)).not.toThrow();
  });

  describe.each(['draft-6', 'draft-7', 'legacy'] as const)('%s, which knows one quota only', (form) => {
    const quotas = [10, 20, 30].map((limit) => ({ limit, windowMs: limit * 1_000, burst: limit }));
    const tell = (res: ServerResponse, states: [remaining: number, resetMs: number][]) => {
      const quotaStates = states.map(([remaining, resetMs]) => ({ remaining, resetMs }));
      rateLimitFields(form, 'ip', quotas).write(res, quotaStates, undefined);
      if (form === 'draft-7') {
        const [, limit, left, reset] =
          /^limit=(\d+), remaining=(\d+), reset=(\d+)$/.exec(String(res.getHeader('RateLimit'))) ?? [];
        return [limit, left, reset].map(Number);
      }
      const name = form === 'legacy' ? 'X-RateLimit' : 'RateLimit';
      const [limit, left, reset] = ['Limit', 'Remaining', 'Reset'].map((part) =>
        Number(res.getHeader(`${name}-${part}`)),
      );
      return [limit, left, form === 'legacy' ? (reset as number) - Date.now() / 1_000 : reset];
    };

    test.each<[[number, number][], number[]]>([
      [[[3, 5_000]], [10, 3, 5]],
      [
        [
          [3, 5_000],
          [2, 6_000],
          [1, 7_000],
        ],
        [30, 1, 7],
      ],
      [
        [
          [3, 5_000],
          [1, 6_000],
          [2, 7_000],
        ],
        [20, 1, 6],
      ],
      [
        [
          [1, 5_000],
          [2, 6_000],
          [3, 7_000],
        ],
        [10, 1, 5],
      ],
      // Of those with as little left, the one that takes longest; of equals the first.
      [
        [
          [1, 5_000],
          [1, 6_000],
          [1, 4_000],
        ],
        [20, 1, 6],
      ],
      [
        [
          [1, 5_000],
          [1, 5_000],
          [1, 5_000],
        ],
        [10, 1, 5],
      ],
    ])('of %j, tells the one with the least left', (states, told) => {
      jest.useFakeTimers({ now: 1_790_000_000_000 });
      expect(tell(response(), states)).toEqual(told);
    });

    test('keeps the headers of another limiter, unless this one has less left', () => {
      jest.useFakeTimers({ now: 1_790_000_000_000 });
      const res = response();
      expect(tell(res, [[5, 5_000]])).toEqual([10, 5, 5]);
      expect(tell(res, [[5, 6_000]])).toEqual([10, 5, 5]);
      expect(tell(res, [[6, 6_000]])).toEqual([10, 5, 5]);
      expect(tell(res, [[4, 4_000]])).toEqual([10, 4, 4]);
      const other = response();
      tell(other, [[29, 5_000]]);
      expect(tell(other, [[14, 6_000]])).toEqual([10, 14, 6]);
    });
  });
});
