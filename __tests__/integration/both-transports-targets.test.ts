import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Options } from 'http-proxy-middleware';
import { type Places, TransportPair } from '../support/transport-pair.ts';

let pair: TransportPair;
beforeAll(async () => {
  pair = await TransportPair.start();
});
afterAll(() => pair.close());

test.each<[string, (at: Places) => Options, string]>([
  [
    'an IPv6 address in parts',
    ({ port }) => ({ target: { protocol: 'http:', hostname: '::1', port } as never }),
    'HTTP/1.1 200 OK',
  ],
  [
    'no path, and ignorePath',
    ({ port }) => ({ target: { protocol: 'http:', hostname: '127.0.0.1', port } as never, ignorePath: true }),
    'HTTP/1.1 200 OK',
  ],
  [
    'a port in the host alone',
    ({ port }) => ({ target: { protocol: 'http:', host: `127.0.0.1:${port}` } as never }),
    'HTTP/1.1 504 Gateway Timeout',
  ],
  [
    'an IPv6 address in brackets, in the host alone',
    ({ port }) => ({ target: { protocol: 'http:', host: '[::1]', port } as never }),
    'HTTP/1.1 504 Gateway Timeout',
  ],
])('both transports read a target alike: %s', async (_name, options, status) => {
  const native = await pair.run({ options }, 'native');
  expect(await pair.run({ options }, 'undici')).toEqual(native);
  expect(native.status).toBe(status);
});
