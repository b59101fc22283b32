import { describe, expect, test } from '@jest/globals';
import { GatewayError } from '../../../lib/core/errors.ts';
import { OptionsError } from '../../../lib/core/options.ts';
import { NAMES_WITH_BURST } from '../../../lib/rate-limit/algorithms/registry.ts';
import { IP_RATE_LIMIT_DEFAULTS, type IpRateLimitOptions } from '../../../lib/rate-limit/ip-rate-limit-options.ts';
import {
  FOREIGN_LIMITER_OPTIONS,
  IP_RATE_LIMIT_CHECKS,
  LIMITER_OPTIONS,
  resolveIpRateLimitOptions,
} from '../../../lib/rate-limit/ip-rate-limit-settings.ts';

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
    const quotas = [{ limit: 100, windowMs: 60_000, burst: 100 }];
    const settings = { ...IP_RATE_LIMIT_DEFAULTS, prefix: 'expressway:rl:ip:', quotas };
    expect(resolveIpRateLimitOptions(undefined)).toEqual(settings);
    expect(resolveIpRateLimitOptions({ limit: undefined, redis: undefined })).toEqual(settings);
  });

  test('take leases of a share, and not for fixed windows', () => {
    for (const lease of [true, false, {}, { share: 0.5 }, { share: undefined }])
      expect(problemsOf({ lease })).toEqual([]);
    for (const lease of [0.25, 'on', null, { share: 0 }, { share: 0.51 }, { share: '0.2' }, { most: 5 }]) {
      expect(problemsOf({ lease })).toEqual([expect.stringMatching(/^lease must be true, false or \{ share \}/)]);
    }
    expect(problemsOf({ lease: true, algorithm: 'fixed-window' })).toEqual([
      'lease is not for the algorithm fixed-window',
    ]);
    expect(problemsOf({ lease: false, algorithm: 'fixed-window' })).toEqual([]);
  });

  test('names all problems in one error', () => {
    const problems = problemsOf({
      limit: 0,
      windowMs: 2 ** 35,
      redis: 'http://localhost',
      keyPrefix: 'with space',
      ipv6Subnet: 65,
      storeTimeoutMs: 0,
      name: 'a"b',
      events: {},
      max: 5,
    });
    expect(problems.map((problem) => problem.split(/[: ]/)[0])).toEqual([
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
    ['redis+cluster://one:7000,two'],
    ['rediss+sentinel://one,two:26380/mymaster/1?sentinel_password=x'],
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
    ['redis://one,two'],
    ['redis+cluster://one/1'],
    ['redis+sentinel://one'],
    ['redis+other://one'],
    ['redis://localhost?ssl_ca_certs=ca.pem'],
    ['rediss://localhost?ssl_ca_certs=/no/such/file.pem'],
  ])('refuses the URL %j', (redis) => {
    expect(problemsOf({ redis })).toEqual([expect.stringMatching(/^redis: must/)]);
  });

  test('of Redis are checked alike where several limiters share them', () => {
    const { redis } = IP_RATE_LIMIT_CHECKS;
    expect([redis?.('redis://localhost'), redis?.(undefined)]).toEqual([undefined, undefined]);
    expect(redis?.('http://localhost')).toEqual([expect.stringMatching(/must/)]);
    expect(redis?.({ host: 'localhost' })).toMatch(
      /these are settings: pass the client that createClient\(\) makes from them/,
    );
  });

  test('never show the password of a URL', () => {
    expect(problemsOf({ redis: 'redis://user:s3cret@localhost/cache' }).join()).not.toContain('s3cret');
    expect(problemsOf({ redis: 'redis://user:s3/cret@localhost' }).join()).not.toContain('cret');
  });

  test.each([
    ['localhost:6379', 'use redis://localhost:6379'],
    ['redis', 'use redis://redis'],
    ['[::1]:6379', 'use redis://[::1]:6379'],
    ['user:secret@host', 'like redis://localhost:6379'],
    ['valkey://localhost', 'must start with redis://'],
    ['', 'like redis://localhost:6379'],
    [6379, 'a URL like redis://localhost:6379, got 6379'],
    [true, 'a URL like redis://localhost:6379, got true'],
    [() => {}, 'call the function'],
    [Promise.resolve(), 'await the promise'],
    [new URL('redis://localhost'), 'pass its href'],
    [{ createClient() {} }, 'pass the result of createClient() of the package'],
    [{ host: 'localhost', port: 6379 }, 'these are settings: pass the client that createClient() makes from them'],
    [{ url: 'redis://localhost' }, 'these are settings: pass the client that createClient() makes from them'],
    [{ socket: {} }, 'these are settings: pass the client that createClient() makes from them'],
    [[], 'a URL like redis://localhost:6379'],
  ])('say what to pass in place of %p as redis', (redis, hint) => {
    expect(problemsOf({ redis })).toEqual([expect.stringContaining(hint)]);
    expect(problemsOf({ redis }).join()).not.toContain('secret');
  });

  test.each([
    ['max', 'use limit'],
    ['keyGenerator', 'use key'],
    ['handler', 'the limiter sends 429 itself'],
    ['message', 'the limiter sends 429 itself'],
    ['store', 'use redis'],
    ['skipFailedRequests', 'a request counts when it comes'],
    ['windowMS', 'did you mean "windowMs"?'],
    ['algoritm', 'did you mean "algorithm"?'],
  ])('say what to use in place of %s', (name, hint) => {
    expect(problemsOf({ [name]: 1 })).toEqual([expect.stringContaining(`unknown option "${name}": ${hint}`)]);
  });

  test('every hint names an option that there is', () => {
    for (const hint of Object.values(FOREIGN_LIMITER_OPTIONS)) {
      const named = /^use (\w+)/.exec(hint)?.[1];
      if (named !== undefined) expect(LIMITER_OPTIONS).toContain(named);
    }
    for (const foreign of Object.keys(FOREIGN_LIMITER_OPTIONS)) expect(LIMITER_OPTIONS).not.toContain(foreign);
  });

  test.each([[{}], [7], [null], [{ isOpen: false, isReady: false, connect() {} }]])(
    'refuse %p as a client',
    (redis) => {
      expect(problemsOf({ redis })).toEqual([expect.stringMatching(/^redis must be a client made with createClient/)]);
    },
  );

  test.each([['a:b'], ['a"b'], ['a\\b'], ['naïve'], ['']])('refuse %j as a name', (name) => {
    expect(problemsOf({ name })).toEqual([expect.stringMatching(/^name must/)]);
  });

  test('put the name into the prefix, and keep keys within 64 bytes', () => {
    expect(resolveIpRateLimitOptions({ name: 'log in', keyPrefix: 'app:' }).prefix).toBe('app:log in:');
    expect(problemsOf({ name: 'n'.repeat(25) })).toEqual([]);
    expect(problemsOf({ name: 'n'.repeat(26) })).toEqual(['keyPrefix and name must not be longer than 39 together']);
  });

  test.each([
    [{ windows: '100/1m, 1000/1h' }, [100, 60_000, 1_000, 3_600_000]],
    [{ windows: '5/s,70/15m , 9/2d' }, [5, 1_000, 70, 900_000, 9, 172_800_000]],
    [{ windows: [{ limit: 3, windowMs: 500 }] }, [3, 500]],
  ])('read %j', (options, numbers) => {
    const { quotas } = resolveIpRateLimitOptions(options);
    expect(quotas.flatMap(({ limit, windowMs }) => [limit, windowMs])).toEqual(numbers);
  });

  test.each([
    [''],
    ['100'],
    ['100/1x'],
    ['0/1m'],
    ['1/0m'],
    ['1/367d'],
    ['1/60s, 2/1m'],
    ['1.5/1m'],
    [[]],
    [[{ limit: 1 }]],
    [[null]],
    [7],
    ['1/1s,1/2s,1/3s,1/4s,1/5s,1/6s,1/7s,1/8s,1/9s'],
  ])('refuse %j as windows', (windows) => {
    expect(problemsOf({ windows })).toEqual([expect.stringMatching(/^windows must be 1 to 8 windows/)]);
  });

  test.each([[['192.0.2.1', '192.0.2.0/24', '0.0.0.0/0', '2001:db8::/32', '::1', '::ffff:192.0.2.0/120']], [[]]])(
    'accept %j as addresses',
    (allow) => {
      expect(problemsOf({ allow, deny: allow })).toEqual([]);
    },
  );

  test.each([['192.0.2.1'], [['192.0.2.0/33']], [['192.0.2.0/']], [['192.0.2.0/-1']], [['::ffff:192.0.2.0/95']]])(
    'refuse %j as addresses',
    (allow) => {
      expect(problemsOf({ allow })).toEqual([expect.stringMatching(/^allow must be a list/)]);
    },
  );

  test.each([[['fe80::1%eth0']], [['example.org']], [['2001:db8::/129']], [['192.0.2.0/0x10']], [[7]], [['']]])(
    'refuse %j as addresses',
    (deny) => {
      expect(problemsOf({ deny })).toEqual([expect.stringMatching(/^deny must be a list/)]);
    },
  );

  test.each([
    [{}],
    [null],
    [7],
    [{ ask() {} }],
    [{ processes: 2 }],
    [{ ask: 1, processes: 2 }],
    [{ ask() {}, processes: 0 }],
    [{ ask() {}, processes: 1.5 }],
    [{ ask() {}, processes: '2' }],
  ])('refuse %p as a counter', (counter) => {
    expect(problemsOf({ counter })).toEqual([expect.stringMatching(/^counter must have a function ask and processes/)]);
  });

  test('accept a counter, and not beside redis', () => {
    const counter = { ask() {}, processes: 1 };
    expect(problemsOf({ counter })).toEqual([]);
    expect(problemsOf({ counter, redis: 'redis://localhost' })).toEqual(['counter cannot be combined with redis']);
  });

  test.each([{ limit: 5 }, { windowMs: 5_000 }, { burst: 5 }])('refuse windows beside %p', (one) => {
    expect(problemsOf({ algorithm: 'token-bucket', windows: '1/1s', ...one })).toEqual([
      'windows replaces limit, windowMs and burst',
    ]);
  });

  test('say in the message whose they are', () => {
    for (const options of [{ limit: 0 }, { name: 'n'.repeat(26) }])
      expect(() => resolveIpRateLimitOptions(options)).toThrow(/^ipRateLimit: /);
  });

  test('names all that do not go together', () => {
    expect(problemsOf({ windows: '1/1s', limit: 5, burst: 3 })).toEqual([
      'windows replaces limit, windowMs and burst',
      `burst is for the algorithm ${NAMES_WITH_BURST}`,
    ]);
    expect(problemsOf({ algorithm: 'token-bucket', limit: () => 5, burst: 3 })).toEqual([
      'burst cannot be given with a function as limit',
    ]);
    const fixed = {
      algorithm: 'fixed-window',
      windows: '1/1s',
      cost: () => 1,
      keySecret: 'x'.repeat(16),
    };
    expect(problemsOf(fixed)).toHaveLength(3);
    expect(problemsOf({ limit: 10 ** 12, windowMs: 60_000 })).toEqual([expect.stringContaining('below 2^53')]);
    expect(problemsOf({ algorithm: 'fixed-window', limit: 10 ** 12, windowMs: 60_000 })).toEqual([]);
  });

  test('never show a bad keySecret', () => {
    expect(problemsOf({ keySecret: 'hunter2' })).toEqual(['keySecret: must be a text of at least 16 characters']);
  });

  test('check trustProxy', () => {
    expect(problemsOf({ trustProxy: 1 })).toEqual([]);
    expect(() => resolveIpRateLimitOptions({ trustProxy: true as never })).toThrow(GatewayError);
  });
});
