import { createServer, IncomingMessage, type Server, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { type IpRateLimiter, ipRateLimit, routeRateLimit } from '../../../lib/rate-limit/ip-rate-limit.ts';
import { Cleanup } from '../../support/gateway.ts';
import { FakeRedisClient } from './fake-redis-client.ts';

const cleanup = new Cleanup();
let server: Server;
let warnings: { readonly code: string; readonly message: string }[];

beforeEach(() => {
  jest.useFakeTimers();
  warnings = [];
  server = createServer();
  jest.spyOn(process, 'emitWarning').mockImplementation((message, options) => {
    warnings.push({ code: (options as { code?: string }).code ?? '', message: String(message) });
  });
});
afterEach(async () => {
  await cleanup.run();
  jest.useRealTimers();
  jest.restoreAllMocks();
});

/** A request comes to the server, and there to the limiter. */
function visit(limiter: IpRateLimiter): void {
  const req = new IncomingMessage(Object.assign(new Socket(), { server }));
  limiter(req, new ServerResponse(req), () => {});
}

const limiterOf = (redis: FakeRedisClient, name: string) => cleanup.add(ipRateLimit({ redis, name }));

/** Whether the server notices that two limiters count under one prefix. */
function notices(redis: FakeRedisClient, name: string): boolean {
  const [one, other] = [limiterOf(redis, name), limiterOf(redis, name)];
  const before = warnings.length;
  for (const limiter of [one, other, one]) visit(limiter);
  return warnings.length > before;
}

describe('warnings about the rate limiters of a server', () => {
  test('two that count under one prefix: one warning, which names the prefix and says what to do', () => {
    const redis = new FakeRedisClient();
    const [one, other] = [limiterOf(redis, 'login'), limiterOf(redis, 'login')];
    for (let i = 0; i < 3; i++) for (const limiter of [one, other]) visit(limiter);
    expect(warnings).toEqual([
      {
        code: 'WARN_EXPRESSWAY_LIMITER_PREFIX',
        message:
          'Two rate limiters use the same keys in Redis, "expressway:rl:login:…": requests that pass one also count against ' +
          'the limit of the other. Give each its own name, or mount one limiter in both places.',
      },
    ]);
  });

  test('ten that were made while requests came: one warning, which says what to do', () => {
    visit(cleanup.add(ipRateLimit()));
    for (let i = 0; i < 20; i++) {
      jest.advanceTimersByTime(1);
      visit(cleanup.add(ipRateLimit()));
    }
    expect(warnings).toEqual([
      {
        code: 'WARN_EXPRESSWAY_LIMITER_PER_REQUEST',
        message:
          '10 rate limiters were made within a minute while requests came in. A limiter that is made for each request has ' +
          'its own counts and limits no client. Call ipRateLimit() once, where you set up the app.',
      },
    ]);
  });

  test('the suite itself may make limiters for routes while requests come', () => {
    const redis = new FakeRedisClient();
    for (let i = 0; i < 20; i++) {
      visit(cleanup.add(routeRateLimit({ redis, name: `route ${i}` })));
      jest.advanceTimersByTime(1);
    }
    expect(warnings).toEqual([]);
    const [one, other] = ['same', 'same'].map((name) => cleanup.add(routeRateLimit({ redis, name })));
    for (const limiter of [one, other, one]) visit(limiter as IpRateLimiter);
    expect(warnings.map(({ code }) => code)).toEqual(['WARN_EXPRESSWAY_LIMITER_PREFIX']);
  });

  test('one that was made late counts as made once, however often it takes turns with another', () => {
    const redis = new FakeRedisClient();
    const early = limiterOf(redis, 'a');
    visit(early);
    jest.advanceTimersByTime(1);
    const late = limiterOf(redis, 'a');
    for (let i = 0; i < 20; i++) for (const limiter of [late, early]) visit(limiter);
    expect(warnings.map(({ code }) => code)).toEqual(['WARN_EXPRESSWAY_LIMITER_PREFIX']);
  });

  test('it remembers a thousand prefixes of one Redis, and no more', () => {
    const redis = new FakeRedisClient();
    for (let i = 1; i < 1_000; i++) visit(limiterOf(redis, `n${i}`));
    expect([notices(redis, 'n1000'), notices(redis, 'n1001'), notices(redis, 'n1')]).toEqual([true, false, true]);
  });

  test('it remembers a thousand Redis, and no more', () => {
    const first = new FakeRedisClient();
    visit(limiterOf(first, 'n'));
    for (let i = 2; i < 1_000; i++) visit(limiterOf(new FakeRedisClient(), 'n'));
    expect([new FakeRedisClient(), new FakeRedisClient(), first].map((redis) => notices(redis, 'n'))).toEqual([
      true,
      false,
      true,
    ]);
  });

  test('a request without a connection is limited like any other', () => {
    const limiter = cleanup.add(ipRateLimit({ limit: 1 }));
    const next = jest.fn();
    for (let i = 0; i < 2; i++) {
      const req = new IncomingMessage(new Socket());
      const made = Object.assign(req, { socket: undefined, ip: '192.0.2.1' });
      limiter(made as unknown as IncomingMessage, new ServerResponse(req), next);
    }
    expect(next).toHaveBeenCalledTimes(1);
  });
});
