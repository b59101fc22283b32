import type { IncomingMessage, ServerResponse } from 'node:http';
import { describe, expect, jest, test } from '@jest/globals';
import { addressKey, clientNetwork } from '../../../lib/core/address-key.ts';
import { Exchange } from '../../../lib/core/exchange.ts';
import { clientKey } from '../../../lib/rate-limit/client-key.ts';

describe('addressKey', () => {
  test.each([
    ['192.0.2.1', '192.0.2.1'],
    ['0.0.0.0', '0.0.0.0'],
    ['255.255.255.255', '255.255.255.255'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::FFFF:192.0.2.1', '192.0.2.1'],
    ['::ffff:c000:201', '192.0.2.1'],
    ['0:0:0:0:0:ffff:192.0.2.1', '192.0.2.1'],
    ['192.0.2.1:54321', '192.0.2.1'],
    ['2001:db8::1', '2001:db8::/56'],
    ['2001:DB8::1', '2001:db8::/56'],
    ['2001:0db8:0000:0000:0000:0000:0000:0001', '2001:db8::/56'],
    ['2001:db8:0:00ff:ffff:ffff:ffff:ffff', '2001:db8::/56'],
    ['2001:db8:0:0:1::192.0.2.1', '2001:db8::/56'],
    ['[2001:db8::1]:443', '2001:db8::/56'],
    ['[2001:db8::1]', '2001:db8::/56'],
    ['2001:db8:0:100::1', '2001:db8:0:100::/56'],
    ['2001:db8:aaaa:bbcc::1', '2001:db8:aaaa:bb00::/56'],
    ['fe80::1%eth0', 'fe80::/56'],
    ['::1', '::/56'],
    ['::', '::/56'],
    ['::192.0.2.1', '::/56'],
    ['64:ff9b::192.0.2.1', '64:ff9b::/56'],
  ])('%s is counted as %s', (address, key) => {
    expect(addressKey(address, 56)).toBe(key);
    expect(addressKey(key, 56) ?? key).toBe(key);
  });

  test.each([
    ['2001:db8:aaaa:bbcc::1', 64, '2001:db8:aaaa:bbcc::/64'],
    ['2001:db8:aaaa:bbcc::1', 60, '2001:db8:aaaa:bbc0::/60'],
    ['2001:db8:aaaa:bbcc::1', 48, '2001:db8:aaaa::/48'],
    ['2001:db8:aaaa:bbcc::1', 41, '2001:db8:aa80::/41'],
    ['2001:db8:aaaa:bbcc::1', 32, '2001:db8::/32'],
  ])('%s with /%i is counted as %s', (address, subnet, key) => {
    expect(addressKey(address, subnet)).toBe(key);
  });

  test.each([
    '',
    'unknown',
    'undefined',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.',
    '.1.2.3.4',
    '1..2.3',
    '01.2.3.4',
    '1.2.3.256',
    '1.2.3.4 ',
    '1.2.3.4\r\nSET x 1',
    '0x7f.1.1.1',
    '{tag}',
    '_hidden',
    'example.com',
    ':::',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '::g',
    '2001:db8::1]/@evil[::1',
    '2001:db8::/56',
    '[',
    '[]',
    'x'.repeat(100_000),
  ])('%j is no address', (text) => {
    expect(addressKey(text, 56)).toBeUndefined();
  });

  test('fits, with the longest prefix, in 64 bytes', () => {
    expect(addressKey('ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', 64)).toHaveLength(24);
  });
});

test.each([
  ['192.0.2.1', '192.0.2.1'],
  ['::ffff:10.0.0.1', '10.0.0.1'],
  ['2001:db8::1', '2001:db8::/56'],
  ['2001:db8:0:ff::1', '2001:db8::/56'],
  ['2001:db8:0:100::1', '2001:db8:0:100::/56'],
  ['fd00::1', 'fd00::1'],
  ['fe80::1%eth0', 'fe80::1%eth0'],
  ['::1', '::1'],
  ['unknown', undefined],
  ['fdxy', undefined],
  ['fc', undefined],
  ['fe80::1::2', undefined],
  ['127.example', undefined],
])('caps count %s as %s', (address, client) => {
  expect(clientNetwork(address)).toBe(client);
});

describe('clientKey', () => {
  interface Peer {
    remoteAddress?: string;
    server?: { address(): unknown };
  }

  function exchangeOf(socket: Peer | undefined, ip?: string, trusted = false) {
    const app = { get: () => () => trusted };
    // Express's is inherited too: one of the request's own is what a middleware defined.
    const req = Object.assign(Object.create({ ip }), { socket, app }) as IncomingMessage;
    return new Exchange(req, { on: jest.fn(), prependListener: jest.fn() } as unknown as ServerResponse);
  }

  test('is that of the peer, or that which a trusted peer forwards', () => {
    const peer = { remoteAddress: '::ffff:192.0.2.9' };
    expect(clientKey(exchangeOf(peer, '198.51.100.1'), 56)).toBe('192.0.2.9');
    expect(clientKey(exchangeOf(peer, '198.51.100.1', true), 56)).toBe('198.51.100.1');
  });

  test('counts the proxy that forwards no address', () => {
    expect(clientKey(exchangeOf({ remoteAddress: '192.0.2.9' }, 'unknown', true), 56)).toBe('192.0.2.9');
  });

  test('has no key for a client that has left', () => {
    expect(clientKey(exchangeOf({}), 56)).toBeUndefined();
    expect(clientKey(exchangeOf(undefined), 56)).toBeUndefined();
    expect(clientKey(exchangeOf({ server: { address: () => ({ port: 80 }) } }), 56)).toBeUndefined();
    expect(clientKey(exchangeOf({ server: { address: () => null } }), 56)).toBeUndefined();
  });

  test('has one key for the peers of a Unix socket, unless a trusted one forwards an address', () => {
    const server = { address: () => '/run/gateway.sock' };
    expect(clientKey(exchangeOf({ server }), 56)).toBe('unix');
    expect(clientKey(exchangeOf({ server }, '2001:db8::1'), 56)).toBe('2001:db8::/56');
  });
});
