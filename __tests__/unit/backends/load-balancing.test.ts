import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { OptionsError, type RoundRobinProxyOptions, roundRobinProxy, type SelectionPolicy } from 'expressway';
import { selectionPolicy } from '../../../lib/backends/selection/load-balancing.ts';
import { plainPolicies } from '../../../lib/backends/selection/plain-policies.ts';
import { policies } from '../../../lib/backends/selection/policies.ts';
import type { PolicyEntry } from '../../../lib/backends/selection/selection-policy.ts';
import { exchange, type FakeBackend, manyBackends, pool, setCookies, word } from './fake-backend.ts';

const SECRET = 'a secret that has at least 32 characters';

/** What is wrong with the option, in the words of the error. */
function problemsOf(options: Partial<Record<keyof RoundRobinProxyOptions, unknown>>): readonly string[] {
  try {
    roundRobinProxy({ backends: ['http://a'], ...options } as never).close();
  } catch (error) {
    if (error instanceof OptionsError) return error.problems;
    throw error;
  }
  return [];
}

describe('the loadBalancing option', () => {
  test.each<[unknown]>([
    [undefined],
    ['round-robin'],
    ['weighted'],
    ['least-requests'],
    ['latency'],
    ['hash'],
    [{ policy: 'weighted' }],
    [{ policy: 'hash' }],
    [{ policy: 'hash', by: 'ip', loadFactor: 1 }],
    [{ policy: 'hash', by: { header: 'X-Tenant' }, loadFactor: Number.POSITIVE_INFINITY }],
    [{ policy: 'hash', by: { cookie: 'user' }, loadFactor: undefined }],
    [{ policy: 'hash', by: { query: 'room' } }],
    [{ policy: 'sticky', secret: SECRET }],
    [{ policy: 'sticky', secret: [SECRET, `${SECRET}!`], cookie: '__Host-lb', fallback: 'least-requests' }],
    [{ policy: 'sticky', secret: SECRET, sameSite: 'none', path: '/a', domain: '.example.com', maxAgeMs: 1 }],
    [{ policy: 'sticky', secret: SECRET, partitioned: true, path: undefined, domain: undefined }],
    [{ select: () => undefined }],
  ])('takes %j', (loadBalancing) => {
    expect(problemsOf({ loadBalancing })).toEqual([]);
  });

  const names = policies
    .flatMap(({ name, required }: PolicyEntry) => (required === undefined ? [`'${name}'`] : []))
    .join(', ');
  const plain = plainPolicies.map(({ name }) => `"${name}"`).join(', ');
  const list = `must be ${names}, { policy: 'sticky', secret }, or an object with a select() method`;

  test.each<[unknown, string[]]>([
    ['fastest', [`loadBalancing ${list}, got "fastest"`]],
    [null, [`loadBalancing ${list}, got null`]],
    [{}, [`loadBalancing ${list}, got an empty object`]],
    [{ policy: 'fastest' }, [`loadBalancing ${list}, got an object with policy`]],
    [{ policy: 'weighted', by: 'ip' }, ['loadBalancing: unknown option "by"']],
    [{ select: 1 }, [`loadBalancing ${list}, got an object with select`]],
    [() => undefined, [`loadBalancing ${list}, got a function`]],
    ['sticky', ["loadBalancing: needs a secret: { policy: 'sticky', secret }"]],
    [
      { policy: 'hash', by: 'url', loadFactor: 0.9, colour: 'blue' },
      [
        'loadBalancing: unknown option "colour"',
        `loadBalancing: by must be 'ip', { header: name }, { cookie: name } or { query: name }, got "url"`,
        'loadBalancing: loadFactor must be a number of at least 1, got 0.9',
      ],
    ],
    ...[
      { header: '' },
      { header: 'a b' },
      { cookie: 'a;b' },
      { header: 'a', cookie: 'b' },
      {},
      null,
      7,
      { query: '' },
      { path: 'a' },
    ].map((by): [unknown, string[]] => [
      { policy: 'hash', by },
      [expect.stringMatching(/^loadBalancing: by must be /) as unknown as string],
    ]),
    [{ policy: 'hash', loadFactor: Number.NaN }, ['loadBalancing: loadFactor must be a number of at least 1, got NaN']],
    [
      { policy: 'sticky', cookie: 'a=b', fallback: 'hash' },
      [
        'loadBalancing: secret: must be a string of at least 32 characters, or several such strings',
        'loadBalancing: cookie must be a cookie name, got "a=b"',
        `loadBalancing: fallback must be one of ${plain}, got "hash"`,
      ],
    ],
    [
      { policy: 'sticky', secret: SECRET, sameSite: 'Lax', path: 'a', domain: 'a;b', maxAgeMs: 0, partitioned: 1 },
      [
        'loadBalancing: sameSite must be one of "lax", "strict", "none", got "Lax"',
        'loadBalancing: path must be a path like /shop, without ; and spaces, got "a"',
        'loadBalancing: domain must be a domain like example.com, got "a;b"',
        'loadBalancing: maxAgeMs must be an integer from 1 to 2147483647, got 0',
        'loadBalancing: partitioned must be true or false, got 1',
      ],
    ],
    ...['/a; Domain=x', '/a b', '/\n', '/é', ''].map((path): [unknown, string[]] => [
      { policy: 'sticky', secret: SECRET, path },
      [expect.stringMatching(/^loadBalancing: path must be /) as unknown as string],
    ]),
    ...[{ path: '/a' }, { domain: 'example.com' }].map((attributes): [unknown, string[]] => [
      { policy: 'sticky', secret: SECRET, cookie: '__Host-lb', ...attributes },
      [expect.stringMatching(/^loadBalancing: cookie must not begin with __Host- beside/) as unknown as string],
    ]),
    ...['geheim', [], [SECRET, 'geheim'], 7].map((secret): [unknown, string[]] => [
      { policy: 'sticky', secret },
      ['loadBalancing: secret: must be a string of at least 32 characters, or several such strings'],
    ]),
  ])('refuses %j', (loadBalancing, problems) => {
    expect(problemsOf({ loadBalancing })).toEqual(problems);
  });

  test('lists its problems with all others, without the secret', () => {
    const problems = problemsOf({ loadBalancing: { policy: 'sticky', secret: 'geheim' }, slowStartMs: -1, via: '' });
    expect(problems.map((problem) => problem.split(/[ :]/)[0]).toSorted()).toEqual([
      'loadBalancing',
      'slowStartMs',
      'via',
    ]);
    expect(problems.join()).not.toContain('geheim');
  });
});

describe('the policy of an option', () => {
  test('hashes by address without a bound, unless told otherwise', () => {
    const clients = Array.from({ length: 50 }, (_, index) => exchange({ address: `192.0.2.${index}` }));
    const picks = (policy: SelectionPolicy) => clients.map((one) => policy.select(manyBackends(5), one, [])?.origin);
    expect(picks(selectionPolicy('hash'))).toEqual(picks(selectionPolicy({ policy: 'hash', by: 'ip' })));
    const filled = (policy: SelectionPolicy) => {
      const backends = manyBackends(4);
      for (let request = 0; request < 32; request += 1)
        (policy.select(backends, exchange(), []) as FakeBackend).inFlight += 1;
      return Math.max(...backends.map(({ inFlight }) => inFlight));
    };
    expect(filled(selectionPolicy({ policy: 'hash', by: undefined as never }))).toBe(32);
    expect(filled(selectionPolicy({ policy: 'hash', loadFactor: 1.25 }))).toBe(10);
    expect(filled(selectionPolicy({ policy: 'hash', loadFactor: 2 }))).toBe(16);
    expect(filled(selectionPolicy({ policy: 'hash', loadFactor: Number.POSITIVE_INFINITY }))).toBe(32);
  });

  test('uses a sticky cookie with the default or the configured name', () => {
    const nameOf = (policy: SelectionPolicy) => {
      const one = exchange();
      policy.select(pool(1), one, []);
      return setCookies(one)[0]?.split('=')[0];
    };
    expect(nameOf(selectionPolicy({ policy: 'sticky', secret: SECRET }))).toBe('expressway-sticky');
    expect(nameOf(selectionPolicy({ policy: 'sticky', secret: SECRET, cookie: 'lb' }))).toBe('lb');
  });

  test('measures latency only for policies that need it', () => {
    const observing = (value: Parameters<typeof selectionPolicy>[0]) => selectionPolicy(value).observesLatency === true;
    expect(observing('latency')).toBe(true);
    expect(observing({ policy: 'sticky', secret: SECRET, fallback: 'latency' })).toBe(true);
    expect(observing({ observesLatency: true, select: () => undefined })).toBe(true);
    expect(observing({ select: () => undefined })).toBe(false);
    expect(observing('round-robin')).toBe(false);
  });
});

describe('the registry of policies', () => {
  const made = policies.map(
    (entry) =>
      [entry.name, entry, selectionPolicy({ ...entry.defaults, policy: entry.name, secret: SECRET } as never)] as const,
  );

  test.each(made)('%s picks the only available backend, with its defaults', (_name, _entry, policy) => {
    const backends = pool(1, 2, 3);
    for (const backend of backends.slice(1)) backend.available = false;
    expect(word(policy, backends, 5)).toBe('aaaaa');
    backends[0]!.available = false;
    expect(word(policy, backends, 1)).toBe('-');
  });

  test.each(made)('%s ignores weights where its entry says so', (_name, entry, policy) => {
    expect(policy.ignoresWeights === true).toBe(entry.weights !== 'respected');
  });

  test('has each name once', () => {
    expect(new Set(policies.map(({ name }) => name)).size).toBe(policies.length);
  });
});

describe('warnings about weights', () => {
  const warn = jest.spyOn(process, 'emitWarning');
  beforeEach(() => {
    warn.mockReset();
  });

  const warnings = async (loadBalancing: unknown, [first = [], ...more]: number[][]) => {
    const backends = (weights: number[]) => weights.map((weight, index) => ({ url: `http://b${index}`, weight }));
    const proxy = roundRobinProxy({ backends: backends(first), loadBalancing: loadBalancing as never });
    for (const weights of more) proxy.setBackends(backends(weights));
    await proxy.close();
    return warn.mock.calls.map(([, options]) => (options as { code: string }).code);
  };
  const sticky = { policy: 'sticky', secret: SECRET };
  const own = { select: (backends: readonly unknown[]) => backends[0] };

  test.each<[string, unknown, number[][]]>([
    ['round-robin', 'round-robin', [[1, 2]]],
    [
      'round-robin, in a later list',
      'round-robin',
      [
        [1, 1],
        [3, 1],
        [4, 1],
      ],
    ],
    ['sticky', sticky, [[5, 1]]],
    ['a policy of its own that says so', { ...own, ignoresWeights: true }, [[5, 1]]],
  ])('that %s ignores are reported once', async (_what, loadBalancing, lists) => {
    expect(await warnings(loadBalancing, lists)).toEqual(['WARN_EXPRESSWAY_WEIGHTS']);
  });

  test.each<[string, unknown, number[][]]>([
    [
      'round-robin, which are all the same or 0',
      'round-robin',
      [
        [2, 2, 0],
        [1, 1],
      ],
    ],
    ['weighted', 'weighted', [[1, 2]]],
    ['least-requests', 'least-requests', [[1, 2]]],
    ['latency', 'latency', [[1, 2]]],
    ['hash', 'hash', [[1, 2]]],
    ['sticky, whose fallback is weighted', { ...sticky, fallback: 'weighted' }, [[1, 2]]],
    ['a policy of its own', own, [[1, 2]]],
  ])('are not emitted for %s', async (_what, loadBalancing, lists) => {
    expect(await warnings(loadBalancing, lists)).toEqual([]);
  });
});

describe('a custom policy', () => {
  const warn = jest.spyOn(process, 'emitWarning');
  beforeEach(() => {
    jest.useFakeTimers({ now: 1_700_000_000_000 });
    warn.mockReset();
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  test('decides, keeps its `this`, and may pick nothing', () => {
    class Last implements SelectionPolicy {
      readonly #picks = { nothing: false };
      select<B>(backends: readonly B[]): B | undefined {
        return this.#picks.nothing ? undefined : backends.at(-1);
      }
      stop(): void {
        this.#picks.nothing = true;
      }
    }
    const last = new Last();
    const policy = selectionPolicy(last);
    expect(word(policy, pool(1, 1, 1), 3)).toBe('ccc');
    last.stop();
    expect(word(policy, pool(1, 1, 1), 1)).toBe('-');
    expect(warn).not.toHaveBeenCalled();
  });

  test.each<[string, SelectionPolicy]>([
    [
      'throws',
      {
        select: () => {
          throw new Error('a bug');
        },
      },
    ],
    ['picks one that is not available', { select: (backends) => backends[0] }],
    ['picks a stranger', { select: () => pool(1)[0] as never }],
    ['gives a promise', { select: (async () => undefined) as never }],
    ['gives null', { select: () => null as never }],
  ])('that %s does no harm: round robin, and a warning a minute', (_what, custom) => {
    const policy = selectionPolicy(custom);
    const backends = pool(1, 1, 1);
    backends[0]!.available = false;
    expect(word(policy, backends, 4)).toBe('bcbc');
    expect(warn).toHaveBeenCalledTimes(1);
    expect(warn.mock.calls[0]?.[1]).toMatchObject({ type: 'ExpresswayPolicyWarning', detail: expect.any(String) });
    jest.advanceTimersByTime(60_000);
    word(policy, backends, 2);
    expect(warn).toHaveBeenCalledTimes(2);
  });

  test('that picks a backend that was already tried does no harm', () => {
    const policy = selectionPolicy({ select: (backends) => backends[0] });
    const backends = pool(1, 1);
    expect(policy.select(backends, exchange(), [backends[0]!])).toBe(backends[1]);
    expect(warn).toHaveBeenCalledTimes(1);
  });
});
