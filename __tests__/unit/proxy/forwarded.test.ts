import { describe, expect, test } from '@jest/globals';
import { forwardedElement, forwardedList, nodeName } from '../../../lib/proxy/request/forwarding-headers.ts';

describe('R42: forwardedElement', () => {
  test.each([
    ['192.0.2.1', 'shop.example', 'http', 'for=192.0.2.1;host=shop.example;proto=http'],
    ['2001:db8::1', 'shop.example', 'https', 'for="[2001:db8::1]";host=shop.example;proto=https'],
    ['fe80::1%eth0', undefined, 'http', 'for="[fe80::1]";proto=http'],
    [undefined, '', 'http', 'for=unknown;proto=http'],
    ['192.0.2.1', '[2001:db8::2]:8080', 'http', 'for=192.0.2.1;host="[2001:db8::2]:8080";proto=http'],
    ['192.0.2.1', 'a";for=6.6.6.6;x="\\', 'http', 'for=192.0.2.1;host="a\\";for=6.6.6.6;x=\\"\\\\";proto=http'],
    ['192.0.2.1', 'a', 'x;for=6.6.6.6', 'for=192.0.2.1;host=a;proto="x;for=6.6.6.6"'],
    ['192.0.2.1,6.6.6.6', 'a', 'http', 'for=unknown;host=a;proto=http'],
  ])('%s, %s, %s', (address, host, scheme, element) => {
    expect(forwardedElement(address, host, scheme)).toBe(element);
  });
});

describe('the client that a trusted peer names', () => {
  test.each([
    ['192.0.2.1', 'for=192.0.2.1'],
    ['192.0.2.1:4711', 'for="192.0.2.1:4711"'],
    ['2001:db8::1', 'for="[2001:db8::1]"'],
    ['[2001:db8::1]', 'for="[2001:db8::1]"'],
    ['[2001:db8::1]:4711', 'for="[2001:db8::1]:4711"'],
    ['::ffff:192.0.2.1', 'for="[::ffff:192.0.2.1]"'],
    ['_hidden', 'for=_hidden'],
    ['unknown', 'for=unknown'],
    ...[
      'a"b',
      'a b',
      '',
      '192.0.2',
      '192.0.2.256',
      '192.0.2.1:port',
      '192.0.2.1:',
      '[2001:db8::1',
      '[192.0.2.1]',
      '2001:db8::g',
      '[::1]x',
      'host.example',
      'unknown.example',
      'x_hidden',
      'a;for=b',
      '192.0.2.1 ',
    ].map((text) => [text, 'for=unknown'] as const),
  ])('%j becomes %s', (address, expected) => {
    expect(forwardedElement(address, undefined, 'http')).toBe(`${expected};proto=http`);
    expect(nodeName(address)).toBe(expected === 'for=unknown' ? 'unknown' : address);
  });
});

describe('the list of a trusted peer', () => {
  const listOf = (forwarded: unknown) => forwardedList({ req: { headers: { forwarded } } } as never, 'for=us');

  test.each([
    'for=192.0.2.1',
    'for=192.0.2.1;proto=https, For="[2001:db8::1]:4711" ; by=_x',
    'for="a, b;c"',
    'for="a\\"b"',
    'secret=caf"\xe9"'.replace('caf', ''),
  ])('goes on where it is one: %s', (list) => expect(listOf(list)).toBe(`${list}, for=us`));

  test.each([
    undefined,
    '',
    'for="abc',
    'for=a"b',
    'for=a b',
    'for',
    'for=',
    '=a',
    'for=a,',
    'for=a;',
    'for="a"b="c"',
    ',',
    'for="a\\"',
    'for=\xe9',
    5,
  ])('starts a new field when the old one is invalid: %j', (list) => expect(listOf(list)).toBe('for=us'));

  test('is read in one pass, however nearly it is a list', () => {
    // With backtracking, these would take longer than anybody waits.
    expect(listOf(`${'for=a;'.repeat(5_000)}"`)).toBe('for=us');
    expect(listOf(`for="${'\\\\'.repeat(5_000)}`)).toBe('for=us');
    expect(listOf(`${'a'.repeat(50_000)} `)).toBe('for=us');
  });
});
