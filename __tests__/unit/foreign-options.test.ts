import { expect, test } from '@jest/globals';
import { circuitBreaker, http2Server, ipRateLimit, roundRobinProxy, serviceRouter } from 'expressway';

test.each([
  ['roundRobinProxy', { target: 'http://localhost:1' }, 'unknown option "target": use backends, a list of origins'],
  ['roundRobinProxy', { backend: [] }, 'unknown option "backend": did you mean "backends"?'],
  ['roundRobinProxy', { backends: [], proxyTimeout: 1 }, 'unknown option "proxyTimeout": use responseTimeoutMs'],
  ['roundRobinProxy', { backends: [], retry: { attemps: 1 } }, 'retry: unknown option "attemps": did you mean'],
  ['roundRobinProxy', { autoRewrite: true }, 'unknown option "autoRewrite": use response: { rewriteUrls: true }'],
  ['roundRobinProxy', { onError: () => {} }, 'unknown option "onError": use errorResponses()'],
  ['roundRobinProxy', { proxyReqPathResolver: () => '/' }, 'unknown option "proxyReqPathResolver": use pathRewrite'],
  ['roundRobinProxy', { userResDecorator: () => '' }, 'unknown option "userResDecorator": use changeBody()'],
  // The first two are on already, and the third is not "forwarded".
  ['roundRobinProxy', { preserveHeaderKeyCase: true }, 'header names keep their case'],
  ['roundRobinProxy', { preserveHostHdr: true }, 'it is on unless changeOrigin is true'],
  ['roundRobinProxy', { forward: 'http://localhost:1' }, 'use mirror of a route of serviceRouter()'],
  ['serviceRouter', { services: { a: { pathRewrite: {} } } }, 'unknown option "pathRewrite": use rewrite of a route'],
  ['serviceRouter', { authentication: { a: { forward: {} } } }, 'unknown option "forward": use forwardAuth'],
  ['serviceRouter', { authentication: { a: { basicAuth: {} } } }, 'unknown option "basicAuth": use basic'],
  ['http2Server', { key: 'PEM' }, 'unknown option "key": put it into tls'],
  ['circuitBreaker', { resetTimeout: 1 }, 'unknown option "resetTimeout": use openMs'],
  ['circuitBreaker', { failureRate: 1 }, 'unknown option "failureRate": did you mean "failureRatio"?'],
  ['ipRateLimit', { message: 'slow down' }, 'errorResponses() gives it the format of your app'],
  ['ipRateLimit', { max: 1 }, 'unknown option "max": use limit'],
])('%s(%j) names the option to use instead', (name, options, message) => {
  const http2 = (options: object) => http2Server(() => undefined, options);
  const make = { roundRobinProxy, circuitBreaker, ipRateLimit, serviceRouter, http2Server: http2 }[name] as (
    options: object,
  ) => unknown;
  expect(() => make(options)).toThrow(message);
});
