import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { describe, expect, jest, test } from '@jest/globals';
import { exchangeOf } from '../../../lib/core/exchange.ts';
import { GatewayEvents } from '../../../lib/core/gateway-events.ts';
import { CountedRequest, createEngine, type Engine } from '../../../lib/rate-limit/counted-request.ts';
import type { Decision, Meter } from '../../../lib/rate-limit/meter.ts';
import { rateLimitFields } from '../../../lib/rate-limit/rate-limit-fields.ts';

const PASSED: Decision = { allowed: true, retryAfterMs: 0, quotaStates: [{ remaining: 1, resetMs: 1_000 }] };
const LIMITED: Decision = { allowed: false, retryAfterMs: 500, quotaStates: [{ remaining: 0, resetMs: 500 }] };

/** Sends one request past a meter. */
const pass = (take: Meter['take'], shadow = false) => send(createEngine({ take, reset() {} }), shadow);

function send(engine: Engine, shadow = false) {
  const req = new IncomingMessage(new Socket());
  const res = new ServerResponse(req);
  const quotas = [{ limit: 2, windowMs: 1_000, burst: 2 }];
  const events = new GatewayEvents();
  const fields = rateLimitFields('draft-8', 'ip', quotas);
  const context = { name: 'ip', quotas, shadow, events, fields, meter: { mode: 'memory' as const } };
  const next = jest.fn();
  engine(new CountedRequest(exchangeOf(req, res), context, '192.0.2.1'), next);
  return { res, next };
}

/** All that is waiting to be done in this turn of the event loop, and before that the loading of express-rate-limit. */
async function settled() {
  await import('express-rate-limit');
  await new Promise((resolve) => setImmediate(resolve));
}

describe.each([
  ['at once', (decision: Decision) => () => decision],
  ['later', (decision: Decision) => async () => decision],
])('a decision that is there %s', (when, taking) => {
  test('lets pass, with the fields', async () => {
    const { res, next } = pass(taking(PASSED));
    expect(next).toHaveBeenCalledTimes(when === 'at once' ? 1 : 0);
    await settled();
    expect(next.mock.calls).toEqual([[]]);
    expect(res.getHeader('RateLimit')).toBe('"ip";r=1;t=1');
  });

  test('refuses', async () => {
    const { res, next } = pass(taking(LIMITED));
    await settled();
    expect([res.statusCode, res.getHeader('Retry-After'), res.writableEnded]).toEqual([429, '1', true]);
    expect(next).not.toHaveBeenCalled();
  });

  test('that could not be counted responds with 503, and says nothing of a limit', async () => {
    const { res, next } = pass(taking({ allowed: false, retryAfterMs: 2_000, quotaStates: [] }));
    await settled();
    expect([res.statusCode, res.getHeader('Retry-After'), res.getHeader('RateLimit')]).toEqual([503, '2', undefined]);
    expect(next).not.toHaveBeenCalled();
  });

  test('lets every request pass in shadow mode, and sends the client no headers', async () => {
    const { res, next } = pass(taking(LIMITED), true);
    await settled();
    expect(next.mock.calls).toEqual([[]]);
    expect([res.statusCode, res.getHeader('RateLimit')]).toEqual([200, undefined]);
  });
});

describe('an error of a meter', () => {
  const broken = new Error('broken');
  const failures: [string, Meter['take']][] = [
    [
      'that throws',
      () => {
        throw broken;
      },
    ],
    ['that rejects', () => Promise.reject(broken)],
  ];

  test.each(failures)('%s goes to the error handlers, once', async (_, take) => {
    const { next } = pass(take);
    await settled();
    expect(next.mock.calls).toEqual([[broken]]);
  });
});

test.each([
  [[3, 2, 1], undefined, { limit: 30, remaining: 1, resetMs: 1_002 }],
  [[1, 2, 3], undefined, { limit: 10, remaining: 1, resetMs: 1_000 }],
  [[3, 1, 2], undefined, { limit: 20, remaining: 1, resetMs: 1_001 }],
  [[2, 1, 1], undefined, { limit: 20, remaining: 1, resetMs: 1_001 }],
  [[3, 1], 7, { limit: 7, remaining: 1, resetMs: 1_001 }],
  [[], undefined, { limit: 10, remaining: undefined, resetMs: undefined }],
])('a recorder gets the window with the least left: of %j, with the own limit %p', (left, own, recorded) => {
  const req = new IncomingMessage(new Socket());
  const exchange = exchangeOf(req, new ServerResponse(req));
  const limiterDecided = jest.fn();
  const ignored = () => {};
  exchange.recorder = {
    limiterDecided,
    attemptStarted: ignored,
    attemptAnswered: ignored,
    attemptEnded: ignored,
    ended: ignored,
  };
  const quotas = [10, 20, 30].map((limit) => ({ limit, windowMs: 1_000, burst: limit }));
  const fields = rateLimitFields('none', 'ip', quotas);
  const meter = { mode: 'memory' as const };
  const context = { name: 'ip', quotas, shadow: false, events: new GatewayEvents(), fields, meter };
  const quotaStates = left.map((remaining, i) => ({ remaining, resetMs: 1_000 + i }));
  new CountedRequest(exchange, context, '192.0.2.1', 1, own).learn({ allowed: true, retryAfterMs: 0, quotaStates });
  expect(limiterDecided.mock.calls).toEqual([
    [{ limiter: 'ip', mode: 'memory', allowed: true, shadow: false, ...recorded }],
  ]);
});

test('requests that wait together each get their own decision, in any order of the decisions', async () => {
  const decided: ((decision: Decision) => void)[] = [];
  const engine = createEngine({ take: () => new Promise((resolve) => decided.push(resolve)), reset() {} });
  const all = Array.from({ length: 20 }, () => send(engine));
  await settled();
  for (const [i, decide] of [...decided.entries()].reverse()) decide(i % 3 === 0 ? LIMITED : PASSED);
  await settled();
  expect(all.map(({ res }) => res.statusCode)).toEqual(all.map((_, i) => (i % 3 === 0 ? 429 : 200)));
  expect(all.map(({ next }) => next.mock.calls.length)).toEqual(all.map((_, i) => (i % 3 === 0 ? 0 : 1)));
  // The places of those that are done are used again.
  const [more] = [send(engine)];
  await settled();
  decided.at(-1)?.(LIMITED);
  await settled();
  expect(more?.res.statusCode).toBe(429);
});
