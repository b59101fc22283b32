import { describe, expect, test } from '@jest/globals';
import { type HashBy, hashKey } from '../../../lib/backends/selection/hash.ts';
import { RendezvousHash } from '../../../lib/backends/selection/rendezvous-hash.ts';
import { exchange, type FakeBackend, manyBackends, pool, word } from './fake-backend.ts';

const byIp = (loadFactor = Number.POSITIVE_INFINITY) => new RendezvousHash(hashKey('ip'), loadFactor);
const ADDRESSES = Array.from({ length: 10_000 }, (_, index) => `192.0.${index >> 8}.${index & 255}`);
const EXCHANGES = ADDRESSES.map((address) => exchange({ address }));

const choices = (backends: readonly FakeBackend[], policy = byIp()) =>
  EXCHANGES.map((one) => policy.select(backends, one, [])?.origin);

const share = (found: readonly unknown[], origin: string) =>
  found.filter((one) => one === origin).length / found.length;

/** Pearson's statistic: about its degrees of freedom when all is even. */
function chiSquare(found: readonly (string | undefined)[], backends: readonly FakeBackend[]): number {
  const counts = new Map<string | undefined, number>();
  for (const one of found) counts.set(one, (counts.get(one) ?? 0) + 1);
  const expected = found.length / backends.length;
  return backends.reduce((sum, { origin }) => sum + ((counts.get(origin) ?? 0) - expected) ** 2 / expected, 0);
}

describe('rendezvous hash', () => {
  test('the same key goes to the same backend, on every gateway and in every order of the list', () => {
    const backends = manyBackends(20);
    expect(choices(backends)).toEqual(choices(manyBackends(20).toReversed()));
  });

  test.each([2, 3, 10, 100])('spreads neighbouring addresses evenly over %i backends', (count) => {
    const backends = manyBackends(count);
    // Six standard deviations above the mean.
    expect(chiSquare(choices(backends), backends)).toBeLessThan(count - 1 + 6 * Math.sqrt(2 * (count - 1)));
  });

  test('when a backend is removed, only its keys move, evenly to the others', () => {
    const backends = manyBackends(10);
    const before = choices(backends);
    const [gone, ...rest] = backends as [FakeBackend, ...FakeBackend[]];
    const after = choices(rest);
    const moved = after.filter((_, index) => before[index] === gone.origin);
    expect(moved.length / 10_000).toBeCloseTo(0.1, 1);
    expect(after.filter((origin, index) => before[index] !== gone.origin && origin !== before[index])).toEqual([]);
    expect(chiSquare(moved, rest)).toBeLessThan(8 + 6 * Math.sqrt(16));
  });

  test('when a backend is added, it gets its share of the keys and no other key moves', () => {
    const backends = manyBackends(11);
    const before = choices(backends.slice(0, 10));
    const after = choices(backends);
    const moved = after.filter((origin, index) => origin !== before[index]);
    expect(new Set(moved)).toEqual(new Set([backends[10]!.origin]));
    expect(Math.abs(moved.length - 10_000 / 11)).toBeLessThan(120);
  });

  test('an unavailable or tried backend loses its keys to others, and gets the same ones back', () => {
    const backends = manyBackends(5);
    const before = choices(backends);
    backends[2]!.available = false;
    const during = choices(backends);
    expect(during).toEqual(choices(backends.toSpliced(2, 1)));
    backends[2]!.available = true;
    expect(choices(backends)).toEqual(before);
    const policy = byIp();
    expect(EXCHANGES.map((one) => policy.select(backends, one, [backends[2]!])?.origin)).toEqual(during);
  });

  test('weights are kept, and a change of one moves only its own keys', () => {
    const backends = manyBackends(4, (index) => [5, 3, 1, 1][index] as number);
    const before = choices(backends);
    [0.5, 0.3, 0.1, 0.1].forEach((part, index) => {
      expect(Math.abs(share(before, backends[index]!.origin) - part)).toBeLessThan(0.02);
    });
    backends[1]!.weight = 1;
    const after = choices([...backends]);
    const moved = before.filter((origin, index) => origin !== after[index]);
    expect(new Set(moved)).toEqual(new Set([backends[1]!.origin]));
    expect(Math.abs(share(after, backends[1]!.origin) - 0.125)).toBeLessThan(0.02);
  });

  test('in slow start a backend gets its keys gradually, each once', () => {
    const backends = manyBackends(3);
    const all = choices(backends);
    let before = new Set<number>();
    for (const part of [0.1, 0.3, 0.6, 1]) {
      backends[0]!.share = part;
      const now = new Set(
        choices(backends).flatMap((origin, index) => (origin === backends[0]!.origin ? [index] : [])),
      );
      expect(Math.abs(now.size / 10_000 - part / (part + 2))).toBeLessThan(0.02);
      expect([...before].filter((index) => !now.has(index))).toEqual([]);
      before = now;
    }
    expect(choices(backends)).toEqual(all);
  });

  test('requests without a key rotate', () => {
    const policy = new RendezvousHash(hashKey({ header: 'X-Tenant' }), 1.25);
    expect(word(policy, pool(1, 1, 1), 6)).toBe('abcabc');
  });
});

describe('bounded load', () => {
  test('one popular key fills its backend up to the load factor, then its next choices', () => {
    const backends = manyBackends(4);
    const policy = byIp(1.25);
    for (let request = 1; request <= 100; request += 1) {
      const backend = policy.select(backends, EXCHANGES[0]!, []) as FakeBackend;
      backend.inFlight += 1;
      for (const { inFlight } of backends) expect(inFlight).toBeLessThanOrEqual(Math.ceil((1.25 * request) / 4));
    }
    const filled = backends.map(({ inFlight }) => inFlight).toSorted((a, b) => b - a);
    expect(filled).toEqual([32, 31, 31, 6]);
  });

  test('is by weight, and without it one key has one backend', () => {
    const backends = manyBackends(2, (index) => (index === 0 ? 3 : 1));
    const policy = byIp(1);
    for (let request = 0; request < 100; request += 1)
      (policy.select(backends, EXCHANGES[0]!, []) as FakeBackend).inFlight += 1;
    expect(backends.map(({ inFlight }) => inFlight)).toEqual([75, 25]);
    expect(new Set(Array.from({ length: 50 }, () => byIp().select(backends, EXCHANGES[0]!, [])))).toHaveProperty(
      'size',
      1,
    );
  });

  test('counts available backends only, and never refuses a request', () => {
    const backends = manyBackends(3);
    backends[0]!.available = false;
    backends[0]!.inFlight = 1_000;
    const policy = byIp(1);
    for (let request = 0; request < 100; request += 1)
      (policy.select(backends, EXCHANGES[0]!, []) as FakeBackend).inFlight += 1;
    expect(backends.map(({ inFlight }) => inFlight)).toEqual([1_000, 50, 50]);
    backends[1]!.available = false;
    backends[2]!.inFlight = 1_000_000;
    expect(policy.select(backends, EXCHANGES[0]!, [])).toBe(backends[2]);
    expect(policy.select(backends, EXCHANGES[0]!, [backends[2]!])).toBeUndefined();
  });

  test('holds in a large pool too, and asks few backends', () => {
    const backends = manyBackends(200);
    const policy = byIp(1.25);
    for (let request = 0; request < 2_000; request += 1) {
      (policy.select(backends, EXCHANGES[request % 10]!, []) as FakeBackend).inFlight += 1;
    }
    // The count of requests in flight may be a few picks old.
    expect(Math.max(...backends.map(({ inFlight }) => inFlight))).toBeLessThanOrEqual(13);
    for (const backend of backends) {
      backend.inFlight = 0;
      backend.asked = 0;
    }
    for (let request = 0; request < 1_000; request += 1) policy.select(backends, EXCHANGES[request]!, []);
    expect(backends.reduce((sum, { asked }) => sum + asked, 0)).toBeLessThan(50_000);
  });
});

describe('the key', () => {
  const cases: [HashBy, Parameters<typeof exchange>[0], string | undefined][] = [
    ['ip', { address: '198.51.100.7' }, '198.51.100.7'],
    ['ip', { address: '::ffff:198.51.100.7' }, '198.51.100.7'],
    [{ header: 'X-Tenant' }, { headers: { 'x-tenant': 'a' } }, 'a'],
    [{ header: 'x-tenant' }, { headers: { 'x-tenant': '' } }, undefined],
    [{ header: 'x-tenant' }, {}, undefined],
    [{ header: 'set-cookie' }, { headers: { 'set-cookie': ['a', 'b'] } }, 'a,b'],
    [{ cookie: 'user' }, { headers: { cookie: 'a=b; user=7; c=d' } }, '7'],
    [{ cookie: 'user' }, { headers: { cookie: 'user=' } }, undefined],
    [{ cookie: 'user' }, { headers: { cookie: 'myuser=7; users=8; user' } }, undefined],
    [{ cookie: 'user' }, {}, undefined],
  ];

  test.each(cases)('by %j of %j is %j', (by, request, expected) => {
    expect(hashKey(by)(exchange(request))).toBe(expected);
  });
});
