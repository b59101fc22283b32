import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { expect, test } from '@jest/globals';
import { Exchange } from '../../../lib/core/exchange.ts';
import { type ChangeFunction, ResponseRules } from '../../../lib/proxy/response/response-rules.ts';

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

test.each([
  [[], { location: 'http://shop.internal/a' }, 'http://shop.internal/a'],
  [['X-Forwarded-Prefix', '/told//'], { location: '/told/a' }, '/told/shop/a'],
  [['x-a', 'x-forwarded-prefix', '/told', 'x'], { location: '/told/a' }, '/shop/told/a'],
])('a backend that got %j, for a client that named no host: %j becomes %s', (sentFields, given, location) => {
  const one = exchange();
  delete one.req.headers.host;
  one.sentFields = sentFields;
  expect(new ResponseRules({ rewriteUrls: true }).apply(302, given, one)).toEqual({ location });
});

test.each([
  ['set-cookie', ['a', 'b']],
  ['www-authenticate', ['a', 'b']],
  ['proxy-authenticate', ['a', 'b']],
  ['x-list', 'a, b'],
])('%s that is added to another one: %j', (name, expected) => {
  const rules = new ResponseRules({ headers: { add: { [name]: 'b' } } });
  expect(rules.apply(200, { [name]: 'a' }, exchange())).toEqual({ [name]: expected });
});

test.each<[string, ChangeFunction, string]>([
  ['makes a list with a bad line', ({ headers }) => void Object.assign(headers, { 'x-bad': ['a', 'b\nc'] }), '"x-bad"'],
  ['makes a name with a space', ({ headers }) => void Object.assign(headers, { 'x bad': 'a' }), '"x bad"'],
  ['returns a promise', async () => undefined, 'response.change()'],
])('a change() that %s is an error of the app', (_what, change, named) => {
  const failing = () => new ResponseRules({ change }).apply(200, {}, exchange());
  expect(failing).toThrow(
    expect.objectContaining({ code: 'ERR_EXPRESSWAY_CALLBACK', message: expect.stringContaining(named) }),
  );
});
