import { expect, jest, test } from '@jest/globals';

const undici = await import('undici');
// As in Bun, which has the names of undici and hardly any of the methods.
jest.unstable_mockModule('undici', () => ({ ...undici, Client: class {} }));
const { circuitBreaker, ipRateLimit, roundRobinProxy, undiciTransport } = await import('expressway');
const { createProxyMiddleware } = await import('http-proxy-middleware');

test.each<[string, () => unknown]>([
  ['roundRobinProxy()', () => roundRobinProxy({ backends: ['http://127.0.0.1:1'] })],
  ['undiciTransport()', () => createProxyMiddleware({ target: 'http://127.0.0.1:1', plugins: [undiciTransport()] })],
])('where undici is replaced by something else, %s says so at construction', (_name, make) => {
  expect(make).toThrow(
    expect.objectContaining({ code: 'ERR_EXPRESSWAY_RUNTIME', message: expect.stringContaining('Bun') }),
  );
});

test('where undici is replaced by something else, the other middlewares can be made', () => {
  expect([typeof ipRateLimit(), typeof circuitBreaker()]).toEqual(['function', 'function']);
});
