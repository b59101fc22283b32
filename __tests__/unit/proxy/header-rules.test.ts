import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { Exchange } from '../../../lib/core/exchange.ts';
import { type HeaderRules, headerRules, requestHeaderRules, unknownFacts } from '../../../lib/proxy/header-rules.ts';

function apply(rules: HeaderRules, headers: Record<string, string> = {}) {
  const req = new IncomingMessage(new Socket());
  Object.assign(req.headers, headers);
  const res = new ServerResponse(req);
  res.setHeader('X-Request-Id', 'r-1');
  const exchange = new Exchange(req, res);
  exchange.route = 'one';
  exchange.consumer = { name: 'Zoë\r\nx: \ud83d\ude00', plan: 'gold' };
  const fields = Object.entries(headers).flat();
  requestHeaderRules(rules)(fields, exchange);
  return Object.fromEntries(fields.flatMap((name, at) => (at % 2 === 0 ? [[name, fields[at + 1]]] : [])));
}

describe('changes of headers', () => {
  test('remove, then set, then add', () => {
    const headers = { 'x-gone': '1', 'x-set': 'old', 'x-add': 'a', 'x-list': 'a, b', 'x-both': 'old' };
    expect(
      apply(
        {
          remove: ['X-Gone', 'x-both'],
          set: { 'X-Set': 'new', 'x-both': 'set' },
          add: { 'X-Add': 'b', 'x-list': 'c', 'x-new': '1', 'x-both': 'add' },
        },
        headers,
      ),
    ).toEqual({ 'x-set': 'new', 'x-both': 'set, add', 'x-add': 'a, b', 'x-list': 'a, b, c', 'x-new': '1' });
    expect(apply({}, headers)).toEqual(headers);
  });

  test('a value that reads like the name of a header to extend is no such header', () => {
    expect(apply({ add: { 'x-a': 'b' } }, { 'x-b': 'x-a' })).toEqual({ 'x-b': 'x-a', 'x-a': 'b' });
  });

  test('a fact that is not known is an empty text', () => {
    const req = new IncomingMessage(new Socket());
    const fields: string[] = [];
    const value = '{clientAddress}|{consumer}|{plan}|{route}|{service}|{host}|{requestId}';
    requestHeaderRules({ set: { 'x-a': value } })(fields, new Exchange(req, new ServerResponse(req)));
    expect(fields).toEqual(['x-a', '||||||']);
  });

  test('placeholders are replaced by facts of the request; unknown placeholders stay', () => {
    const value = '{route} {plan}{service} {requestId} {host} {nothing} {constructor} {toString} {__proto__} { route }';
    expect(apply({ set: { 'x-a': value } }, { host: 'a.example' })['x-a']).toBe(
      'one gold r-1 a.example {nothing} {constructor} {toString} {__proto__} { route }',
    );
  });

  test('characters of a fact that no header can hold are encoded', () => {
    expect(apply({ add: { 'x-a': '{consumer}' } })['x-a']).toBe('Zo%C3%AB%0D%0Ax: %F0%9F%98%80');
  });

  test('facts that do not exist are found before a request comes', () => {
    const rules = { set: { a: '{route}{rout}', b: '{constructor}' }, add: { c: '{plam} {plan}' } };
    expect([unknownFacts(rules), unknownFacts({})]).toEqual([['rout', 'constructor', 'plam'], []]);
  });
});

const problemsOf = (rules: unknown) => [headerRules(rules) ?? []].flat();

describe('rules for headers', () => {
  test.each([{}, { set: { 'X-A': 'a\t\xff' }, add: { 'x-b': '' }, remove: ['X-Host', 'x'] }, { set: {} }])(
    'accept %j',
    (rules) => {
      expect(problemsOf(rules)).toEqual([]);
    },
  );

  test.each([
    null,
    7,
    [],
    { set: null },
    { set: 'x' },
    { set: [] },
    { set: { 'x a': '1' } },
    { set: { Host: '1' } },
    { add: { 'Content-Length': '1' } },
    { add: { 'transfer-encoding': '1' } },
    { set: { 'x-a': 7 } },
    { set: { 'x-a': 'a\n' } },
    { set: { 'x-a': '\u0100' } },
    { remove: ['x a'] },
    { removed: [] },
  ])('refuse %j', (rules) => {
    expect(problemsOf(rules)).toHaveLength(1);
  });
});
