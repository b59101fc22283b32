import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { expect, test } from '@jest/globals';
import { Exchange } from '../../../lib/core/exchange.ts';
import { ResponseRules } from '../../../lib/proxy/response/response-rules.ts';

function exchange() {
  const req = new IncomingMessage(new Socket());
  req.headers.host = 'example.com';
  const one = new Exchange(req, new ServerResponse(req));
  one.prefixes = { client: '/shop', backend: '', host: undefined };
  one.backend = 'http://127.0.0.1:3003';
  return one;
}

test.each([
  [{ location: '/a' }, { location: '/shop/a' }],
  [{ location: 'http://127.0.0.1:3003/a' }, { location: 'http://example.com/shop/a' }],
  [{ refresh: '1; url=/a' }, { refresh: '1; url=/shop/a' }],
  [{ 'content-location': '/a' }, { 'content-location': '/shop/a' }],
  [{ 'set-cookie': 'a=1; Path=/a' }, { 'set-cookie': ['a=1; Path=/shop/a'] }],
  [{ 'set-cookie': ['a=1; Path=/a', 'b=2'] }, { 'set-cookie': ['a=1; Path=/shop/a', 'b=2'] }],
  [{ 'x-url': '/a' }, { 'x-url': '/a' }],
  // Of two, nobody knows which one counts.
  [{ location: ['/a', '/b'] }, { location: ['/a', '/b'] }],
])('URLs in %j become %j, each header by itself, and those that were given stay', (given, expected) => {
  const before = structuredClone(given);
  expect(new ResponseRules({ rewriteUrls: true }).apply(200, given, exchange())).toEqual(expected);
  expect(given).toEqual(before);
  expect(new ResponseRules({}).apply(200, given, exchange())).toEqual(given);
});
