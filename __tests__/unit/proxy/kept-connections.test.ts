import { beforeEach, describe, expect, jest, test } from '@jest/globals';
import { isClosedByPeer, KeptConnections } from '../../../lib/proxy/transport/kept-connections.ts';
import { mockDateOnly } from '../../support/mock-time.ts';

const START = 1_800_000_000_000;
mockDateOnly(START);

interface Fake {
  readonly name: string;
  isFree: boolean;
  stats: { connected: boolean };
  freeSince: number;
}

let dropped: string[];
let kept: KeptConnections<Fake>;

beforeEach(() => {
  jest.setSystemTime(START);
  dropped = [];
  kept = new KeptConnections((connection) => dropped.push(connection.name));
});

/** A connection that became free just now. */
function free(name: string): Fake {
  const connection: Fake = { name, isFree: true, stats: { connected: true }, freeSince: Date.now() };
  kept.add(connection);
  return connection;
}

const later = (ms: number) => jest.setSystemTime(Date.now() + ms);
const reset = () => Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });

/** A check of a connection takes two turns of the event loop. */
async function turns(): Promise<void> {
  for (let i = 0; i < 3; i += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** The backend closes a connection that was free for this long. */
function closesAfter(idleMs: number): void {
  kept.ended({ name: 'closed', isFree: true, stats: { connected: false }, freeSince: Date.now() - idleMs }, reset());
}

describe('the free connections to a backend', () => {
  test('the one that was needed a short while ago is used before it times out, as long as the keep-alive time is unknown', () => {
    kept.observe(2);
    free('old');
    later(1_000);
    free('new');
    expect(kept.take(2)?.name).toBe('old');
  });

  test('the one that became free last is taken where all became free within the last second', () => {
    kept.observe(2);
    free('old');
    later(999);
    free('new');
    expect(kept.take(2)?.name).toBe('new');
  });

  test('one that has ended is removed wherever it is, and one that is not there changes nothing', () => {
    const [first, second, third] = [free('first'), free('second'), free('third')];
    const bound: Fake = { ...first, name: 'bound' };
    kept.remove(bound);
    expect(kept.length).toBe(3);
    kept.remove(second);
    kept.remove(first);
    expect([kept.length, kept.take(3)]).toEqual([1, third]);
  });

  test('they are idle if none was used since, or is still connected', () => {
    const since = START + 1_000;
    expect(kept.isIdleSince(since)).toBe(true);
    free('old');
    expect(kept.isIdleSince(since)).toBe(true);
    later(1_000);
    const recent = free('recent');
    expect(kept.isIdleSince(since)).toBe(false);
    recent.stats.connected = false;
    expect(kept.isIdleSince(since)).toBe(true);
  });

  test('one that ended before its first response says nothing about the keep-alive time', () => {
    kept.observe(2);
    kept.ended({ name: 'fresh', isFree: true, stats: { connected: false }, freeSince: 0 }, reset());
    free('old');
    later(1_000);
    free('new');
    expect(kept.take(2)?.name).toBe('old');
  });

  test('of one that the backend closed behind its last response, the object goes', () => {
    kept.observe(3);
    free('gone').stats.connected = false;
    later(1_000);
    free('other');
    free('new');
    expect(kept.take(3)?.name).toBe('new');
    expect([dropped, kept.length]).toEqual([['gone'], 1]);
  });

  test('after a close by the backend, no connection is used that the backend may be closing', () => {
    closesAfter(100);
    free('old');
    free('new');
    later(50);
    expect(kept.take(2)).toBeUndefined();
    // The oldest stays, to show when the backend closes.
    expect([dropped, kept.length]).toEqual([['new'], 1]);
    free('fresh');
    later(49);
    expect(kept.take(2)?.name).toBe('fresh');
  });
});

describe('one that stays open for much longer than the estimate', () => {
  /** How long a connection may be free to be used, in milliseconds. */
  function allowed(): number {
    for (let idleMs = 0; ; idleMs += 1) {
      const probe = free('probe');
      probe.freeSince = Date.now() - idleMs;
      if (kept.take(2)?.name !== 'probe') return idleMs;
    }
  }

  test('raises the estimate once, however many requests notice it meanwhile', async () => {
    closesAfter(100);
    free('open');
    later(411);
    for (let i = 0; i < 5; i += 1) expect(kept.take(1)).toBeUndefined();
    expect(allowed()).toBe(50);
    await turns();
    expect(allowed()).toBe(100);
  });

  test('raises the estimate again when it outlives that one, too', async () => {
    closesAfter(100);
    free('open');
    for (const idleMs of [411, 811]) {
      jest.setSystemTime(START + idleMs);
      kept.take(1);
      await turns();
    }
    expect(allowed()).toBe(200);
  });

  test.each<[string, (connection: Fake) => void]>([
    [
      'its end arrived meanwhile',
      ({ stats }) => {
        stats.connected = false;
      },
    ],
    [
      'it is in use meanwhile',
      (connection) => {
        connection.isFree = false;
      },
    ],
    [
      'it was used meanwhile, and is free again',
      (connection) => {
        connection.freeSince = Date.now();
      },
    ],
  ])('says nothing where %s', async (_name, change) => {
    closesAfter(100);
    const connection = free('open');
    later(411);
    expect(kept.take(1)).toBeUndefined();
    change(connection);
    kept.remove(connection);
    await turns();
    free('oldest').freeSince = Date.now() - 300;
    expect(allowed()).toBe(50);
  });
});

test.each([
  ['ECONNRESET', 'read ECONNRESET', true],
  ['UND_ERR_SOCKET', 'other side closed', true],
  // undici closes it, because of bytes without a request.
  ['UND_ERR_SOCKET', 'bad response', false],
  ['UND_ERR_INFO', 'socket idle timeout', false],
])('an end with %s, %s, comes from the backend: %s', (code, message, expected) => {
  expect(isClosedByPeer(Object.assign(new Error(message), { code }))).toBe(expected);
});
