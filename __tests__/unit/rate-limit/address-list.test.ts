import { describe, expect, test } from '@jest/globals';
import { OptionsError } from '../../../lib/core/options.ts';
import { AddressList, assertAddressList } from '../../../lib/rate-limit/address-list.ts';

describe('a list of addresses', () => {
  test.each([
    ['192.0.2.1', '192.0.2.1', '192.0.2.2'],
    ['2001:db8::1', '2001:db8::1', '2001:db8::2'],
    ['192.0.2.1/32', '192.0.2.1', '192.0.2.0'],
    ['2001:db8::1/128', '2001:db8::1', '2001:db8::'],
    ['2001:db8::/64', '2001:db8::ffff', '2001:db8:0:1::1'],
    ['::ffff:192.0.2.0/120', '192.0.2.255', '192.0.3.0'],
    ['fe80::/64', 'fe80::1%eth0', 'fe80:0:0:1::1%eth0'],
    ['192.0.2.1', '192.0.2.1:443', '192.0.2.2:443'],
    ['2001:db8::1', '[2001:db8::1]:443', '[2001:db8::2]:443'],
  ])('with %s has %s, and not %s', (item, inside, outside) => {
    const list = new AddressList([item]);
    expect([list.has(inside), list.has(outside)]).toEqual([true, false]);
  });

  test.each(['', 'unknown', '%eth0', '[', '192.0.2.1/32'])('with all addresses does not have %j', (text) => {
    expect(new AddressList(['0.0.0.0/0', '::/0']).has(text)).toBe(false);
  });

  test('is checked ahead of its use, each bad item by its name', () => {
    expect(() => assertAddressList(['192.0.2.1', '2001:db8::/32'])).not.toThrow();
    expect(() => assertAddressList(['192.0.2.1', 'example.org'])).toThrow(OptionsError);
    expect(() => assertAddressList(['192.0.2.1', 'example.org', '::/129'])).toThrow(
      /(?!.*192\.0\.2\.1).*"example\.org".*"::\/129"/s,
    );
  });
});
