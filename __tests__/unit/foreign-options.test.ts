import { expect, test } from '@jest/globals';
import { circuitBreaker, ipRateLimit, roundRobinProxy } from 'expressway';

test.each([
  ['roundRobinProxy', { target: 'http://localhost:1' }, 'unknown option "target": use backends, a list of origins'],
  ['roundRobinProxy', { backend: [] }, 'unknown option "backend": did you mean "backends"?'],
  ['roundRobinProxy', { backends: [], proxyTimeout: 1 }, 'unknown option "proxyTimeout": use responseTimeoutMs'],
  ['roundRobinProxy', { backends: [], retry: { attemps: 1 } }, 'retry: unknown option "attemps": did you mean'],
  ['circuitBreaker', { resetTimeout: 1 }, 'unknown option "resetTimeout": use openMs'],
  ['circuitBreaker', { failureRate: 1 }, 'unknown option "failureRate": did you mean "failureRatio"?'],
  ['ipRateLimit', { max: 1 }, 'unknown option "max": use limit'],
])('%s(%j) names the option to use instead', (name, options, message) => {
  const make = { roundRobinProxy, circuitBreaker, ipRateLimit }[name] as (options: object) => unknown;
  expect(() => make(options)).toThrow(message);
});
