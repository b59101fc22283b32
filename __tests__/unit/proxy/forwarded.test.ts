import { describe, expect, test } from '@jest/globals';
import { forwardedElement } from '../../../lib/proxy/forwarded.ts';

describe('R42: forwardedElement', () => {
  test.each([
    ['192.0.2.1', 'shop.example', 'http', 'for=192.0.2.1;host=shop.example;proto=http'],
    ['2001:db8::1', 'shop.example', 'https', 'for="[2001:db8::1]";host=shop.example;proto=https'],
    ['fe80::1%eth0', undefined, 'http', 'for="[fe80::1]";proto=http'],
    [undefined, '', 'http', 'for=unknown;proto=http'],
    ['192.0.2.1', '[2001:db8::2]:8080', 'http', 'for=192.0.2.1;host="[2001:db8::2]:8080";proto=http'],
    ['192.0.2.1', 'a";for=6.6.6.6;x="\\', 'http', 'for=192.0.2.1;host="a\\";for=6.6.6.6;x=\\"\\\\";proto=http'],
    ['192.0.2.1', 'a', 'x;for=6.6.6.6', 'for=192.0.2.1;host=a;proto="x;for=6.6.6.6"'],
    ['192.0.2.1,6.6.6.6', 'a', 'http', 'for="192.0.2.1,6.6.6.6";host=a;proto=http'],
  ])('%s, %s, %s', (address, host, scheme, element) => {
    expect(forwardedElement(address, host, scheme)).toBe(element);
  });
});
