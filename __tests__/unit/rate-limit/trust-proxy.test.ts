import { describe, expect, test } from '@jest/globals';
import { GatewayError } from '../../../lib/core/errors.ts';
import { assertTrustProxy } from '../../../lib/rate-limit/trust-proxy.ts';

function errorOf(value: unknown): GatewayError {
  try {
    assertTrustProxy(value);
  } catch (error) {
    return error as GatewayError;
  }
  throw new Error('not refused');
}

describe('assertTrustProxy', () => {
  test.each([
    [undefined],
    [false],
    [0],
    [1],
    [3],
    ['loopback'],
    ['loopback, linklocal, uniquelocal'],
    ['10.0.0.0/8'],
    ['10.0.0.1,fd00::/8'],
    ['10.0.0.1/32, fd00::/64, ::1/128'],
    ['::ffff:10.0.0.1'],
    [['loopback', '192.0.2.0/24', '2001:db8::/32']],
    [[]],
    [(_address: string, hop: number) => hop < 1],
  ])('accepts %p', (value) => {
    expect(() => assertTrustProxy(value)).not.toThrow();
  });

  test.each([
    [-1],
    [1.5],
    [Number.NaN],
    [Number.POSITIVE_INFINITY],
    ['true'],
    ['1'],
    [''],
    ['10.0.0.0/0'],
    ['10.0.0.0/33'],
    ['10.0.0.0/08'],
    ['10.0.0.0/8.0'],
    ['10.0.0.0/8e0'],
    ['10.0.0/8'],
    ['/8'],
    ['::/129'],
    ['fe80::1%eth0'],
    ['proxy.example'],
    ['loopback,'],
    [['loopback', 'junk']],
    [['loopback', 7]],
    [[undefined]],
    [null],
    [{}],
    [1n],
    [Symbol('x')],
  ])('refuses %p', (value) => {
    const error = errorOf(value);
    expect(error).toBeInstanceOf(GatewayError);
    expect(error.code).toBe('ERR_EXPRESSWAY_TRUST_PROXY');
  });

  test('says why true is refused, and what to write instead', () => {
    expect(errorOf(true).message).toMatch(/must not be true.*X-Forwarded-For.*number of proxies/);
  });

  test('names the wrong members of a list', () => {
    expect(errorOf('loopback, true, 1').message).toMatch(/" true", " 1"/);
  });
});
