import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { readBackends } from '../../../lib/backends/backend-url.ts';
import { Discovery } from '../../../lib/backends/discovery/discovery.ts';
import { type DnsOptions, dnsDefaults } from '../../../lib/backends/discovery/discovery-options.ts';
import { dnsError, FakeResolver } from './discovery-fake-resolver.ts';

let resolver: FakeResolver;
let discovery: Discovery;
let said: string[];

beforeEach(() => {
  jest.useFakeTimers();
  resolver = new FakeResolver();
});

afterEach(() => {
  discovery.close();
  jest.useRealTimers();
});

const use = (list: Parameters<typeof readBackends>[0]): void => {
  discovery.follow(readBackends(list));
  discovery.advance();
};

/** Follows a list, and lets the first look at DNS happen. */
async function follow(list: Parameters<typeof readBackends>[0], options: DnsOptions = {}): Promise<void> {
  said = [];
  discovery = new Discovery(
    { ...dnsDefaults, resolver, ...options },
    {
      changed: () => said.push(`changed ${shown()}`),
      failed: (name, error, backends) => said.push(`failed ${name} ${backends} ${error.message}`),
      recovered: (name) => said.push(`recovered ${name}`),
    },
  );
  use(list);
  await jest.advanceTimersByTimeAsync(0);
}

const backends = () => discovery.backends().map(({ url }) => url.host);
const shown = () => backends().join(' ');
const pass = (ms: number) => jest.advanceTimersByTimeAsync(ms);

describe('dns://', () => {
  test('every address of either family is a backend on the port named', async () => {
    resolver.records.set('api', { a: ['10.0.0.2', '10.0.0.1'], aaaa: ['fd00::1'] });
    await follow(['dns://api:8080']);
    expect(backends()).toEqual(['10.0.0.1:8080', '10.0.0.2:8080', '[fd00::1]:8080']);
    expect(discovery.backends()[0]).toMatchObject({ name: 'api', weight: 1, url: { protocol: 'http:' } });
    expect(said).toEqual(['changed 10.0.0.1:8080 10.0.0.2:8080 [fd00::1]:8080']);
  });

  test('looks up one address family only if configured', async () => {
    resolver.records.set('api', { a: ['10.0.0.1'], aaaa: ['fd00::1'] });
    await follow(['dns://api:80'], { family: 4 });
    expect(resolver.asked).toEqual(['a api']);
    expect(backends()).toEqual(['10.0.0.1']);
    discovery.close();
    await follow(['dns://api:80'], { family: 6 });
    expect(backends()).toEqual(['[fd00::1]']);
  });

  test('a failure is reported again when its reason changes, and not while it stays', async () => {
    await follow(['dns://api:80']);
    for (const code of ['ESERVFAIL', 'ESERVFAIL', 'ETIMEOUT', 'ENOTFOUND', 'ENOTFOUND']) {
      resolver.records.set('api', { a: dnsError(code), aaaa: dnsError(code) });
      await pass(30_000);
    }
    resolver.records.set('api', { a: ['10.0.0.1'] });
    await pass(30_000);
    resolver.records.delete('api');
    await pass(300_000);
    expect(said.filter((one) => !one.startsWith('changed'))).toEqual([
      'failed dns://api:80 0 no address of api found',
      'failed dns://api:80 0 query ESERVFAIL',
      'failed dns://api:80 0 query ETIMEOUT',
      'failed dns://api:80 0 no address of api found',
      'recovered dns://api:80',
      'failed dns://api:80 1 no address of api found',
    ]);
  });

  test('an address of the other family, with a zone, or that is none is ignored: a resolver of the app may have all of them', async () => {
    const all = ['10.0.0.1', 'fd00::1', 'fe80::1%eth0', 'api', '', undefined as never];
    resolver.records.set('api', { a: all, aaaa: all });
    await follow(['dns://api:80']);
    expect(said).toEqual(['changed 10.0.0.1 [fd00::1]']);
  });

  test('order and duplicates in a DNS response change nothing', async () => {
    resolver.records.set('api', { a: ['10.0.0.2', '10.0.0.1', '10.0.0.2'] });
    await follow(['dns://api:80']);
    resolver.records.set('api', { a: ['10.0.0.1', '10.0.0.2'] });
    await pass(30_000);
    expect(resolver.count('a api')).toBe(2);
    expect(said).toEqual(['changed 10.0.0.1 10.0.0.2']);
  });

  test('is looked up again every refreshMs, and changes are applied', async () => {
    resolver.records.set('api', { a: ['10.0.0.1', '10.0.0.2'] });
    await follow(['dns://api:80']);
    resolver.records.set('api', { a: ['10.0.0.2', '10.0.0.3'] });
    await pass(29_999);
    expect(backends()).toEqual(['10.0.0.1', '10.0.0.2']);
    await pass(1);
    expect(backends()).toEqual(['10.0.0.2', '10.0.0.3']);
    expect(said).toEqual(['changed 10.0.0.1 10.0.0.2', 'changed 10.0.0.2 10.0.0.3']);
  });

  test.each([
    ['the TTL where that is shorter', { ttl: 7 }, 7_000],
    ['refreshMs where the TTL is longer', { ttl: 31 }, 30_000],
    ['a second at least', { ttl: 0 }, 1_000],
    ['refreshMs where the TTL makes no sense', { ttl: Number.NaN }, 30_000],
  ])('is looked up again after %s', async (_, records, ms) => {
    resolver.records.set('api', { a: ['10.0.0.1'], ...records });
    await follow(['dns://api:80']);
    await pass(ms - 1);
    expect(resolver.count('a api')).toBe(1);
    await pass(1);
    expect(resolver.count('a api')).toBe(2);
  });

  test('a refreshMs under a second is a second', async () => {
    resolver.records.set('api', { a: ['10.0.0.1'] });
    await follow(['dns://api:80'], { refreshMs: 1 });
    await pass(999);
    expect(resolver.count('a api')).toBe(1);
  });

  test('too many backends in one response are refused', async () => {
    resolver.records.set('api', { a: ['10.0.0.1'] });
    await follow(['dns://api:80']);
    resolver.records.set('api', { a: Array.from({ length: 1_001 }, (_, i) => `10.0.${i >> 8}.${i & 255}`) });
    await pass(30_000);
    expect(backends()).toEqual(['10.0.0.1']);
    expect(said.at(-1)).toBe('failed dns://api:80 1 1001 addresses, more than the 1000 that are allowed');
  });
});

describe('failures of DNS lookups', () => {
  test.each([
    ['DNS is down', { a: dnsError('ESERVFAIL'), aaaa: dnsError('ESERVFAIL') }, 'query ESERVFAIL'],
    ['the name is gone', undefined, 'no address of api found'],
    ['the name has no addresses', {}, 'no address of api found'],
    ['the answer is empty', { a: [], aaaa: [] }, 'no address of api found'],
    ['the answer is no address', { a: ['nonsense'] }, 'no address of api found'],
  ])('the last good answer stays when %s', async (_, records, message) => {
    resolver.records.set('api', { a: ['10.0.0.1'], aaaa: ['fd00::1'] });
    await follow(['dns://api:80']);
    if (records === undefined) resolver.records.delete('api');
    else resolver.records.set('api', records);
    await pass(100_000);
    expect(backends()).toEqual(['10.0.0.1', '[fd00::1]']);
    expect(said).toEqual(['changed 10.0.0.1 [fd00::1]', `failed dns://api:80 2 ${message}`]);
  });

  test('are reported once, like the recovery, and again after it', async () => {
    await follow(['dns://api:80']);
    await pass(60_000);
    expect(said).toEqual(['failed dns://api:80 0 no address of api found', 'changed ']);
    resolver.records.set('api', { a: ['10.0.0.1'] });
    await pass(30_000);
    resolver.records.delete('api');
    await pass(90_000);
    expect(said.slice(2)).toEqual([
      'recovered dns://api:80',
      'changed 10.0.0.1',
      'failed dns://api:80 1 no address of api found',
    ]);
  });

  test('are tried again after 1, 2, 4, 8 and 16 s, then every 30 s', async () => {
    await follow(['dns://api:80']);
    const at: number[] = [];
    for (let second = 1; second <= 100; second += 1) {
      const before = resolver.count('a api');
      await pass(1_000);
      if (resolver.count('a api') > before) at.push(second);
    }
    expect(at).toEqual([1, 3, 7, 15, 31, 61, 91]);
  });

  test('an address family that fails keeps its addresses, while the other is updated', async () => {
    resolver.records.set('api', { a: ['10.0.0.1'], aaaa: ['fd00::1'] });
    await follow(['dns://api:80']);
    resolver.records.set('api', { a: ['10.0.0.2'], aaaa: dnsError('ETIMEOUT') });
    await pass(30_000);
    expect(backends()).toEqual(['10.0.0.2', '[fd00::1]']);
    expect(said.slice(1)).toEqual(['failed dns://api:80 2 query ETIMEOUT', 'changed 10.0.0.2 [fd00::1]']);
    resolver.records.set('api', { a: ['10.0.0.2'] });
    await pass(1_000);
    expect(backends()).toEqual(['10.0.0.2']);
  });

  test('a resolver that never responds fails after timeoutMs', async () => {
    resolver.records.set('api', { a: 'silent', aaaa: ['fd00::1'] });
    await follow(['dns://api:80'], { timeoutMs: 700 });
    await pass(699);
    expect(said).toEqual([]);
    // The timeout waits for two turns of the event loop, each a millisecond of fake time.
    await pass(1 + 2);
    expect(said).toEqual(['failed dns://api:80 1 no response within 700 ms', 'changed [fd00::1]']);
  });

  test('a resolver that throws at once is a failure like any other', async () => {
    const throws = () => {
      throw new Error('out of order');
    };
    await follow(['dns://api:80', 'srv://api'], {
      resolver: { resolve4: throws, resolve6: throws, resolveSrv: throws },
    });
    expect(said.filter((one) => one.startsWith('failed'))).toEqual([
      'failed srv://api 0 out of order',
      'failed dns://api:80 0 out of order',
    ]);
  });
});

describe('srv://', () => {
  const srv = (name: string, port: number, weight = 0, priority = 0) => ({ name, port, weight, priority });

  test('takes target, port and weight from the records, and every address of each target', async () => {
    resolver.records.set('_http._tcp.api', { srv: [srv('one', 81, 10), srv('two', 82, 30)] });
    resolver.records.set('one', { a: ['10.0.0.1', '10.0.0.2'] });
    resolver.records.set('two', { a: ['10.0.0.3'], ttl: 3 });
    await follow(['srv://_http._tcp.api']);
    expect(discovery.backends().map(({ url, weight, name }) => `${url.host} ${weight} ${name}`)).toEqual([
      '10.0.0.1:81 1 one',
      '10.0.0.2:81 1 one',
      '10.0.0.3:82 3 two',
    ]);
    await pass(3_000);
    expect(resolver.count('srv _http._tcp.api')).toBe(2);
  });

  test('uses the servers of the best priority that have an address', async () => {
    resolver.records.set('api', { srv: [srv('spare', 80, 0, 2), srv('main', 80, 0, 1)] });
    resolver.records.set('spare', { a: ['10.0.0.9'] });
    await follow(['srv://api']);
    expect(backends()).toEqual(['10.0.0.9']);
    resolver.records.set('main', { a: ['10.0.0.1'] });
    await pass(30_000);
    expect(backends()).toEqual(['10.0.0.1']);
  });

  test('a target that fails keeps its last addresses; records that fail keep all', async () => {
    resolver.records.set('api', { srv: [srv('one', 80), srv('two', 80)] });
    resolver.records.set('one', { a: ['10.0.0.1'] });
    resolver.records.set('two', { a: ['10.0.0.2'] });
    await follow(['srv://api']);
    resolver.records.set('one', { a: dnsError('ESERVFAIL') });
    resolver.records.set('two', { a: ['10.0.0.3'] });
    await pass(30_000);
    expect(backends()).toEqual(['10.0.0.1', '10.0.0.3']);
    resolver.records.delete('one');
    await pass(30_000);
    expect(backends()).toEqual(['10.0.0.1', '10.0.0.3']);
    resolver.records.set('api', { srv: 'silent' });
    await pass(60_000);
    expect(backends()).toEqual(['10.0.0.1', '10.0.0.3']);
  });

  test('a service that does not exist in DNS is a failure: the known backends stay', async () => {
    resolver.records.set('api', { srv: [srv('one', 80)] });
    resolver.records.set('one', { a: ['10.0.0.1'] });
    await follow(['srv://api']);
    resolver.records.set('api', { srv: [srv('', 0)] });
    await pass(30_000);
    expect(backends()).toEqual(['10.0.0.1']);
    expect(said.at(-1)).toBe('failed srv://api 1 the SRV records name no server');
  });

  test('follows a change of weight alone', async () => {
    resolver.records.set('api', { srv: [srv('one', 80, 1), srv('two', 80, 1)] });
    for (const [index, name] of ['one', 'two'].entries()) resolver.records.set(name, { a: [`10.0.0.${index}`] });
    await follow(['srv://api']);
    resolver.records.set('api', { srv: [srv('one', 80, 1), srv('two', 80, 5)] });
    await pass(30_000);
    expect(discovery.backends().map(({ weight }) => weight)).toEqual([1, 5]);
    expect(said).toHaveLength(2);
  });
});

describe('a list of DNS names', () => {
  test('keeps its order, and the first to name an origin has it', async () => {
    resolver.records.set('api', { a: ['10.0.0.1', '10.0.0.2'] });
    await follow([{ url: 'http://10.0.0.2', weight: 5 }, 'dns://api:80', 'http://10.0.0.3']);
    expect(backends()).toEqual(['10.0.0.2', '10.0.0.1', '10.0.0.3']);
    expect(discovery.backends()[0]).toMatchObject({ weight: 5 });
  });

  test('of plain backends asks DNS nothing and sets no timer', async () => {
    await follow(['http://a', 'http://b']);
    expect(discovery.settled).toBe(true);
    expect(jest.getTimerCount()).toBe(0);
    expect(resolver.asked).toEqual([]);
  });

  test('a name that stays keeps its addresses, and gets its new weight', async () => {
    resolver.records.set('api', { a: ['10.0.0.1'] });
    await follow(['dns://api:80']);
    resolver.records.delete('api');
    use([{ url: 'dns://api:80', weight: 4 }, 'http://a']);
    expect(discovery.settled).toBe(true);
    expect(discovery.backends().map(({ url, weight }) => `${url.host} ${weight}`)).toEqual(['10.0.0.1 4', 'a 1']);
    expect(resolver.asked).toHaveLength(2);
  });

  test('a removed name is not looked up any more, and late responses are ignored', async () => {
    resolver.records.set('api', { a: ['10.0.0.1'] });
    await follow(['dns://api:80']);
    use(['dns://other:80']);
    use(['http://a']);
    await pass(100_000);
    expect(resolver.asked).toEqual(['a api', 'aaaa api', 'a other', 'aaaa other']);
    expect(said).toEqual(['changed 10.0.0.1']);
    expect(jest.getTimerCount()).toBe(0);
  });
});

describe('ready()', () => {
  test('waits until each name was looked up, with or without success', async () => {
    resolver.records.set('slow', { a: 'silent', aaaa: 'silent' });
    await follow(['dns://missing:80', 'dns://slow:80'], { timeoutMs: 100 });
    let ready = false;
    void discovery.ready().then(() => {
      ready = true;
    });
    await pass(99);
    expect(ready).toBe(false);
    await pass(1 + 2);
    expect(ready).toBe(true);
    await discovery.ready();
  });

  test('close() ends the wait and all lookups', async () => {
    resolver.records.set('slow', { a: 'silent', aaaa: 'silent' });
    await follow(['dns://slow:80']);
    const ready = discovery.ready();
    discovery.close();
    await ready;
    await pass(100_000);
    expect(said).toEqual([]);
    expect(resolver.asked).toHaveLength(2);
  });
});
