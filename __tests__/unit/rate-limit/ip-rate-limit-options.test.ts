import { describe, expect, test } from '@jest/globals';
import { GatewayError } from '../../../lib/core/errors.ts';
import { OptionsError } from '../../../lib/core/options.ts';
import {
  IP_RATE_LIMIT_DEFAULTS,
  type IpRateLimitOptions,
  resolveIpRateLimitOptions,
} from '../../../lib/rate-limit/ip-rate-limit-options.ts';

function problemsOf(options: unknown): readonly string[] {
  try {
    resolveIpRateLimitOptions(options as IpRateLimitOptions);
  } catch (error) {
    if (error instanceof OptionsError) return error.problems;
    throw error;
  }
  return [];
}

describe('ipRateLimit options', () => {
  test('have defaults, also for an explicit undefined', () => {
    const settings = { ...IP_RATE_LIMIT_DEFAULTS, prefix: 'expressway:rl:ip:' };
    expect(resolveIpRateLimitOptions(undefined)).toEqual(settings);
    expect(resolveIpRateLimitOptions({ limit: undefined, redis: undefined })).toEqual(settings);
  });

  test('names all problems in one error', () => {
    const problems = problemsOf({
      limit: 0,
      windowMs: 2 ** 31,
      redis: 'http://localhost',
      keyPrefix: 'with space',
      ipv6Subnet: 65,
      storeTimeoutMs: 0,
      name: 'a"b',
      events: {},
      max: 5,
    });
    expect(problems.map((problem) => problem.split(' ')[0])).toEqual([
      'unknown',
      'limit',
      'windowMs',
      'redis',
      'keyPrefix',
      'ipv6Subnet',
      'storeTimeoutMs',
      'name',
      'events',
    ]);
  });

  test.each([
    ['redis://localhost'],
    ['redis://localhost:6379'],
    ['redis://localhost:6379/0'],
    ['redis://[::1]:6379/15'],
    ['rediss://user:p%40ss@redis.example:6380'],
  ])('accepts the URL %s', (redis) => {
    expect(problemsOf({ redis })).toEqual([]);
  });

  test.each([
    [''],
    ['localhost:6379'],
    ['http://localhost'],
    ['redis:///0'],
    ['redis://localhost/cache'],
    ['redis://user:%zz@localhost'],
    ['redis://localhost:port'],
  ])('refuses the URL %j', (redis) => {
    expect(problemsOf({ redis })).toEqual([expect.stringMatching(/^redis must/)]);
  });

  test('never show the password of a URL', () => {
    expect(problemsOf({ redis: 'redis://user:s3cret@localhost/cache' }).join()).not.toContain('s3cret');
    expect(problemsOf({ redis: 'redis://user:s3/cret@localhost' }).join()).not.toContain('cret');
  });

  test.each([[{}], [7], [null], [{ isOpen: false, isReady: false, connect() {} }]])(
    'refuse %p as a client',
    (redis) => {
      expect(problemsOf({ redis })).toEqual([expect.stringMatching(/^redis must be a client made with createClient/)]);
    },
  );

  test('refuse a cluster client, whose commands are sent in another way', () => {
    const method = () => {};
    const methods = { connect: method, sendCommand: method, on: method, off: method };
    const emitter = { getMaxListeners: method, setMaxListeners: method };
    const cluster = { isOpen: false, isReady: false, ...methods, ...emitter, masters: [] };
    expect(problemsOf({ redis: cluster })).toEqual([expect.stringContaining('clusters and sentinels')]);
  });

  test.each([['a:b'], ['a"b'], ['a\\b'], ['naïve'], ['']])('refuse %j as a name', (name) => {
    expect(problemsOf({ name })).toEqual([expect.stringMatching(/^name must/)]);
  });

  test('put the name into the prefix, and keep keys within 64 bytes', () => {
    expect(resolveIpRateLimitOptions({ name: 'log in', keyPrefix: 'app:' }).prefix).toBe('app:log in:');
    expect(problemsOf({ name: 'n'.repeat(25) })).toEqual([]);
    expect(problemsOf({ name: 'n'.repeat(26) })).toEqual(['keyPrefix and name must not be longer than 39 together']);
  });

  test('check trustProxy', () => {
    expect(problemsOf({ trustProxy: 1 })).toEqual([]);
    expect(() => resolveIpRateLimitOptions({ trustProxy: true as never })).toThrow(GatewayError);
  });
});
