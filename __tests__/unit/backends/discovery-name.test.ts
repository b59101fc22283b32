import { describe, expect, test } from '@jest/globals';
import { backendList, readBackends } from '../../../lib/backends/backend-url.ts';

const read = (text: string, weight = 1) => readBackends([{ url: text, weight }])[0];

const problem = (text: string, weight = 1): string => String(backendList([{ url: text, weight }]) ?? '');

describe('a name to discover', () => {
  test.each([
    ['dns://api:8080', { url: 'dns://api:8080', kind: 'dns', name: 'api', port: 8080, protocol: 'http:' }],
    ['DNS://API.Example.:80/', { url: 'dns://api.example:80', name: 'api.example', port: 80, protocol: 'http:' }],
    ['dns+https://api:443', { url: 'dns+https://api:443', kind: 'dns', name: 'api', port: 443, protocol: 'https:' }],
    ['dns://bücher.example:1', { name: 'xn--bcher-kva.example' }],
    ['srv://_http._tcp.api.example', { url: 'srv://_http._tcp.api.example', kind: 'srv', port: undefined }],
  ])('%s', (text, expected) => {
    expect(problem(text)).toBe('');
    expect(read(text)).toMatchObject({ weight: 1, ...expected });
  });

  test.each([
    ['dns://api', /"dns:\/\/api" must have a port from 1 to 65535, like dns:\/\/api:8080/],
    ['dns://api:0', /must have a port/],
    ['dns://api:65536', /must have a port/],
    ['dns://api:', /must have a port/],
    ['dns://10.0.0.1:80', /names an address: write it as http:\/\/10\.0\.0\.1:80/],
    ['dns://[::1]:80', /must be like dns:\/\/name:port/],
    ['dns://api:80/path', /without path/],
    ['dns://api:80?x', /without path/],
    ['dns:api:80', /must be like/],
    ['dns://a b:80', /must be like/],
    ['dns+tls://api:80', /must be like/],
    ['srv://api:80', /must not have a port/],
    ['srv+https://api', /TLS is not offered for srv:\/\/, only for dns\+https/],
    ['ftp://api', /must start with http:\/\/ or https:\/\/, dns:\/\/ or srv:\/\//],
  ])('refuses %s', (text, why) => {
    expect(problem(text)).toMatch(why);
    expect(() => read(text)).toThrow(why);
  });

  test('does not show a password in its error', () => {
    expect(problem('dns://user:geheim@api:80')).toBe('a backend URL must not carry credentials');
  });

  test('has a weight for its backends, except srv, whose records have one', () => {
    expect(read('dns://api:80', 7)).toMatchObject({ weight: 7 });
    expect(read('srv://api', 0)).toMatchObject({ weight: 0 });
    expect(problem('srv://api', 2)).toMatch(/must not have a weight of 2/);
    expect(problem('dns://api:80', -1)).toMatch(/weight must be an integer/);
  });

  test('may be in the list once only', () => {
    expect(backendList(['dns://a:80', 'dns://A:80/'])).toEqual(['"dns://a:80" is named twice']);
    expect(backendList(['dns://a:80', 'dns://a:81', 'dns+https://a:80', 'srv://a', 'http://a'])).toBeUndefined();
  });
});
