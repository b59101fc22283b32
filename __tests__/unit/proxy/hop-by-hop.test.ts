import { channel } from 'node:diagnostics_channel';
import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import {
  isHopByHop,
  isWritten,
  namedInConnection,
  watchNamed,
  watchRequests,
} from '../../../lib/proxy/request/hop-by-hop.ts';

test.each([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
])('%s is hop-by-hop', (name) => {
  expect(isHopByHop(name)).toBe(true);
});

test.each(['content-length', 'host', 'via', 'x-connection', 'constructor'])('%s is not', (name) => {
  expect(isHopByHop(name)).toBe(false);
});

describe('headers that Connection names', () => {
  test.each<[string | string[] | undefined, string[]]>([
    [undefined, []],
    ['', []],
    ['close', []],
    ['keep-alive', []],
    ['Close', ['close']],
    ['X-A', ['x-a']],
    ['close, X-A,\tx-b ,, X-a', ['close', 'x-a', 'x-b']],
    [
      ['x-a', 'x-b'],
      ['x-a', 'x-b'],
    ],
    // Without these, the message would be framed or routed in another way.
    ['Content-Length, Host, Date, Max-Forwards, x-a', ['x-a']],
  ])('%j: %j', (connection, names) => {
    expect([...namedInConnection(connection)].filter((name) => name !== 'close' || connection !== 'close')).toEqual(
      names,
    );
  });
});

describe('a header that a client names in Connection', () => {
  const requestWith = (headers: Record<string, string>) => {
    const req = new IncomingMessage(new Socket());
    Object.assign(req.headers, headers);
    watchNamed(req);
    return req;
  };

  test('reads as it came, and counts as written once a middleware writes it, with the same value too', () => {
    const req = requestWith({ connection: 'x-user, x-other', 'x-user': 'eve', 'x-other': '1' });
    expect([req.headers['x-user'], isWritten(req, 'x-user'), Object.keys(req.headers)]).toEqual([
      'eve',
      false,
      ['connection', 'x-user', 'x-other'],
    ]);
    req.headers['x-user'] = 'eve';
    expect([req.headers['x-user'], isWritten(req, 'x-user'), isWritten(req, 'x-other')]).toEqual(['eve', true, false]);
    req.headers['x-user'] = 'bob';
    expect(req.headers['x-user']).toBe('bob');
    delete req.headers['x-other'];
    expect([req.headers['x-other'], isWritten(req, 'x-other')]).toEqual([undefined, true]);
  });

  test('can be written again and deleted once a middleware has written it', () => {
    const req = requestWith({ connection: 'x-user', 'x-user': 'eve' });
    for (const name of ['bob', 'carol']) req.headers['x-user'] = name;
    expect([req.headers['x-user'], Object.keys(req.headers)]).toEqual(['carol', ['connection', 'x-user']]);
    delete req.headers['x-user'];
    watchNamed(req);
    expect([req.headers['x-user'], isWritten(req, 'x-user')]).toEqual([undefined, true]);
  });

  test('is watched once: headers written before a second watch stay known', () => {
    const req = requestWith({ connection: 'x-user', 'x-user': 'eve' });
    req.headers['x-user'] = 'bob';
    watchNamed(req);
    expect([req.headers['x-user'], isWritten(req, 'x-user')]).toEqual(['bob', true]);
  });

  test('that did not come counts as written when a middleware adds it, and is not there before', () => {
    const req = requestWith({ connection: 'x-user, constructor' });
    expect(Object.keys(req.headers)).toEqual(['connection']);
    req.headers['x-user'] = 'bob';
    expect(isWritten(req, 'x-user')).toBe(true);
  });

  test('is watched by one listener, however many proxies there are', () => {
    const looks = [0, 0];
    for (const round of looks.keys()) {
      watchRequests();
      channel('http.server.request.start').publish({
        get request() {
          looks[round]! += 1;
          return requestWith({});
        },
      });
    }
    // Other suites of this process may watch as well.
    expect(looks[1]).toBe(looks[0]);
    expect(looks[0]).toBeGreaterThan(0);
  });

  test('is not watched when Connection names no header', () => {
    const req = requestWith({ connection: 'keep-alive', 'x-user': 'bob' });
    req.headers['x-user'] = 'eve';
    expect(isWritten(req, 'x-user')).toBe(false);
  });
});
