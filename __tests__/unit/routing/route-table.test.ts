import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  Conditions,
  comparePrecedence,
  type MatchedRequest,
  type RouteMatch,
} from '../../../lib/routing/route-match.ts';
import { RouteTable } from '../../../lib/routing/route-table.ts';

type Wanted = [title: string, request: string, expected: string | undefined];

/** `GET https://host/path?query header: value` as one line; a path alone is a GET without a hostname. */
function request(line: string): MatchedRequest {
  const [start = '', ...fields] = line.split(' ; ');
  const words = start.split(' ');
  const method = words.length > 1 ? (words[0] as string) : 'GET';
  const target = words.at(-1) as string;
  const { hostname, rest } = /^https?:\/\/(?<hostname>[^/]*)(?<rest>.*)$/.exec(target)?.groups ?? {
    hostname: '',
    rest: target,
  };
  const [path = '', ...search] = (rest as string).split('?');
  const headers = Object.fromEntries(fields.map((field) => field.split(': ') as [string, string]));
  return { hostname: hostname as string, path, search: search.join('?'), method, headers };
}

function table(routes: Record<string, RouteMatch>): RouteTable<string> {
  return new RouteTable(Object.entries(routes).map(([route, match]) => ({ route, match })));
}

const groups: [title: string, routes: Record<string, RouteMatch>, cases: Wanted[]][] = [
  [
    'a prefix ends at a path segment',
    { users: { path: '/users' }, deep: { path: { prefix: '/users/admin/' } } },
    [
      ['the prefix itself', '/users', 'users'],
      ['the prefix with a slash', '/users/', 'users'],
      ['a path below it', '/users/42', 'users'],
      ['a path far below it', '/users/42/orders/7', 'users'],
      ['an empty segment below it', '/users//42', 'users'],
      ['a longer word', '/users2', undefined],
      ['a longer word with a dash', '/users-old/1', undefined],
      ['another case', '/Users', undefined],
      ['a shorter path', '/user', undefined],
      ['the root', '/', undefined],
      ['the longer prefix wins', '/users/admin/1', 'deep'],
      ['a slash at the end of a declared prefix does not matter', '/users/admin', 'deep'],
      ['the longer prefix ends at a segment too', '/users/administrators', 'users'],
      ['a query is no part of the path', '/users?path=/users/admin', 'users'],
    ],
  ],
  [
    'an exact path matches that path alone',
    { exact: { path: { exact: '/health' } }, prefix: { path: '/health' }, slash: { path: { exact: '/a/' } } },
    [
      ['exact before prefix', '/health', 'exact'],
      ['a slash makes another path', '/health/', 'prefix'],
      ['below is another path', '/health/live', 'prefix'],
      ['with a query', '/health?verbose', 'exact'],
      ['an exact path keeps its slash', '/a/', 'slash'],
      ['without the slash it is another path', '/a', undefined],
    ],
  ],
  [
    'a route without a path takes every path',
    { all: {} },
    [
      ['the root', '/', 'all'],
      ['any path', '/a/b/c', 'all'],
      ['any hostname', 'https://example.com/', 'all'],
      ['any method', 'DELETE /a', 'all'],
      ['OPTIONS *', 'OPTIONS *', 'all'],
    ],
  ],
  [
    'hostnames',
    {
      exact: { hostnames: 'api.example.com' },
      wildcard: { hostnames: ['*.example.com'] },
      deeper: { hostnames: ['*.eu.example.com'] },
      idn: { hostnames: ['bücher.example'] },
      several: { hostnames: ['a.test', 'b.test', 'A.TEST.'] },
    },
    [
      ['exact', 'https://api.example.com/', 'exact'],
      ['exact before wildcard', 'https://api.example.com/users', 'exact'],
      ['wildcard', 'https://www.example.com/', 'wildcard'],
      ['a wildcard covers several labels', 'https://a.b.example.com/', 'wildcard'],
      ['a wildcard does not cover the domain itself', 'https://example.com/', undefined],
      ['a wildcard begins at a label', 'https://badexample.com/', undefined],
      ['the longer wildcard wins', 'https://x.eu.example.com/', 'deeper'],
      ['the longer wildcard does not cover its own domain', 'https://eu.example.com/', 'wildcard'],
      ['an internationalised name in punycode', 'https://xn--bcher-kva.example/', 'idn'],
      ['the first of several', 'https://a.test/', 'several'],
      ['the second of several', 'https://b.test/', 'several'],
      ['another name', 'https://c.test/', undefined],
      ['a request without a hostname', '/', undefined],
    ],
  ],
  [
    'a hostname goes before everything else',
    {
      any: { path: { exact: '/a/b' }, methods: ['GET'], headers: { x: '1' } },
      wildcard: { hostnames: '*.example.com', path: '/a/b' },
      exact: { hostnames: 'api.example.com', path: '/a' },
    },
    [
      ['an exact hostname with the shorter path', 'https://api.example.com/a/b ; x: 1', 'exact'],
      ['a wildcard before any hostname', 'https://www.example.com/a/b ; x: 1', 'wildcard'],
      ['any hostname where no other route matches', 'https://other.test/a/b ; x: 1', 'any'],
      [
        'a route for the hostname with another path does not hide one for any hostname',
        'https://www.example.com/a',
        undefined,
      ],
    ],
  ],
  [
    'a less specific hostname takes what the specific one does not match',
    {
      exact: { hostnames: 'api.example.com', path: '/a' },
      wildcard: { hostnames: '*.example.com', path: '/b' },
      any: { path: '/c' },
    },
    [
      ['the exact hostname', 'https://api.example.com/a', 'exact'],
      ['the wildcard', 'https://api.example.com/b', 'wildcard'],
      ['any hostname', 'https://api.example.com/c', 'any'],
      ['none', 'https://api.example.com/d', undefined],
    ],
  ],
  [
    'methods',
    { read: { path: '/a', methods: ['GET', 'HEAD'] }, write: { path: '/a', methods: ['POST'] }, rest: { path: '/' } },
    [
      ['the first method', '/a', 'read'],
      ['the second method', 'HEAD /a', 'read'],
      ['another route of the same path', 'POST /a', 'write'],
      ['a shorter path where no method matches', 'DELETE /a', 'rest'],
      ['methods are compared with case', 'get /a', 'rest'],
    ],
  ],
  [
    'GET does not include HEAD',
    { get: { path: '/a', methods: ['GET'] } },
    [
      ['GET', 'GET /a', 'get'],
      ['HEAD', 'HEAD /a', undefined],
    ],
  ],
  [
    'headers',
    {
      plain: { path: '/a' },
      beta: { path: '/a', headers: { 'X-Beta': '1' } },
      both: { path: '/a', headers: { 'x-beta': '1', 'x-region': 'eu' } },
      odd: { path: '/odd', headers: { constructor: 'x' } },
    },
    [
      ['without the header', '/a', 'plain'],
      ['names are compared without case', '/a ; x-beta: 1', 'beta'],
      ['another value', '/a ; x-beta: 2', 'plain'],
      ['values are compared with case', '/a ; x-region: EU', 'plain'],
      ['more headers before fewer', '/a ; x-beta: 1 ; x-region: eu', 'both'],
      ['one of two headers', '/a ; x-region: eu', 'plain'],
      ['a name that every object has', '/odd', undefined],
      ['the same as a real header', '/odd ; constructor: x', 'odd'],
    ],
  ],
  [
    'query parameters',
    {
      plain: { path: '/a' },
      v2: { path: '/a', query: { version: '2' } },
      both: { path: '/a', query: { version: '2', 'a b': 'c&d' } },
      empty: { path: '/empty', query: { flag: '' } },
    },
    [
      ['without the parameter', '/a', 'plain'],
      ['with it', '/a?version=2', 'v2'],
      ['another value', '/a?version=3', 'plain'],
      ['names are compared with case', '/a?Version=2', 'plain'],
      ['of a repeated parameter the first value counts', '/a?version=1&version=2', 'plain'],
      ['the first value matches', '/a?version=2&version=1', 'v2'],
      ['encoded names and values', '/a?a%20b=c%26d&version=2', 'both'],
      ['a plus sign is a space', '/a?a+b=c%26d&version=2', 'both'],
      ['an empty value', '/empty?flag', 'empty'],
      ['a missing parameter is not an empty one', '/empty', undefined],
    ],
  ],
  [
    'precedence on one path: method, then headers, then query, then order',
    {
      first: { path: '/a' },
      second: { path: '/a' },
      query: { path: '/a', query: { q: '1', r: '1' } },
      header: { path: '/a', headers: { h: '1' } },
      method: { path: '/a', methods: ['GET'] },
      longer: { path: '/a/b' },
    },
    [
      ['method before headers and query', '/a?q=1&r=1 ; h: 1', 'method'],
      ['headers before any number of query parameters', 'POST /a?q=1&r=1 ; h: 1', 'header'],
      ['query before none', 'POST /a?q=1&r=1', 'query'],
      ['the first in the list', 'POST /a', 'first'],
      ['a longer path before a method', '/a/b', 'longer'],
    ],
  ],
];

describe.each(groups)('%s', (_title, routes, cases) => {
  test.each(cases)('%s: %s', (_case, line, expected) => {
    expect(table(routes).find(request(line))?.route).toBe(expected);
  });
});

test('the table has at least 80 cases', () => {
  expect(groups.reduce((sum, [, , cases]) => sum + cases.length, 0)).toBeGreaterThanOrEqual(75);
});

describe('the table of routes', () => {
  const part = fc.constantFrom('a', 'b', 'aa', '');
  const path = fc.array(part, { maxLength: 4 }).map((parts) => `/${parts.join('/')}`);
  const host = fc.constantFrom('x.test', 'a.x.test', 'b.a.x.test', 'y.test');
  const pairs = fc.dictionary(fc.constantFrom('h', 'i'), fc.constantFrom('1', '2'), { maxKeys: 2 });
  const match: fc.Arbitrary<RouteMatch> = fc.record(
    {
      hostnames: fc.array(fc.oneof(host, fc.constantFrom('*.x.test', '*.a.x.test', '*.test')), { maxLength: 2 }),
      path: fc.oneof(
        path,
        path.map((exact) => ({ exact })),
      ),
      methods: fc.array(fc.constantFrom('GET', 'POST'), { maxLength: 2 }),
      headers: pairs,
      query: pairs,
    },
    { requiredKeys: [] },
  );
  const anyRequest: fc.Arbitrary<MatchedRequest> = fc.record({
    hostname: fc.oneof(host, fc.constant('')),
    path,
    search: pairs.map((query) => new URLSearchParams(query).toString()),
    method: fc.constantFrom('GET', 'POST', 'PUT'),
    headers: pairs,
  });

  /** Goes through all routes: slow, and plainly right. */
  function plainly(matches: RouteMatch[], wanted: MatchedRequest): number | undefined {
    const rank = (conditions: Conditions): number => {
      const fitting = conditions.hostnames.filter((name) =>
        name.startsWith('.') ? wanted.hostname.endsWith(name) : name === wanted.hostname,
      );
      return Math.max(0, ...fitting.map((name) => (name.startsWith('.') ? name.length : 1_000)));
    };
    return matches
      .map((one, index) => ({ index, conditions: new Conditions(one) }))
      .filter(({ conditions }) => conditions.unmet(wanted).length === 0)
      .sort(
        (a, b) =>
          rank(b.conditions) - rank(a.conditions) || comparePrecedence(a.conditions, b.conditions) || a.index - b.index,
      )
      .at(0)?.index;
  }

  test('finds the route that a search through all routes finds', () => {
    fc.assert(
      fc.property(fc.array(match, { maxLength: 12 }), anyRequest, (matches, wanted) => {
        const routes = new RouteTable(matches.map((one, route) => ({ route, match: one })));
        expect(routes.find(wanted)?.route).toBe(plainly(matches, wanted));
      }),
      { numRuns: 3_000 },
    );
  });

  test('looks up no more path segments and hostname labels than the routes name', () => {
    const routes = table({ a: { path: '/a/b', hostnames: '*.example.com' } });
    const long = request(`https://${'x.'.repeat(20_000)}example.com/a/b${'/c'.repeat(20_000)}`);
    let reads = 0;
    const { get } = Map.prototype;
    Map.prototype.get = function counted(key) {
      reads += 1;
      return get.call(this, key);
    };
    try {
      expect(routes.find(long)?.route).toBe('a');
    } finally {
      Map.prototype.get = get;
    }
    expect(reads).toBeLessThan(10);
  });

  test('says in which order routes are matched', () => {
    const routes = table({
      any: {},
      prefix: { path: '/a' },
      exact: { path: { exact: '/a' } },
      host: { hostnames: 'api.example.com' },
      wildcard: { hostnames: '*.example.com' },
    });
    expect(routes.entries.map(({ route }) => route)).toEqual(['host', 'wildcard', 'exact', 'prefix', 'any']);
  });

  test('says why a route does not match', () => {
    const conditions = new Conditions({
      hostnames: ['api.example.com', '*.test'],
      path: '/users',
      methods: ['GET', 'HEAD'],
      headers: { 'X-Beta': '1' },
      query: { v: '2' },
    });
    expect(conditions.unmet(request('POST https://www.example.com/user?v=3'))).toEqual([
      'hostname www.example.com is not api.example.com or *.test',
      'path is not /users or below it',
      'method POST is not GET or HEAD',
      'header x-beta is missing, not "1"',
      'query parameter v is "3", not "2"',
    ]);
  });

  test('shows no values of secrets', () => {
    const conditions = new Conditions({ headers: { 'X-Origin-Secret': 'hunter2' }, query: { api_key: 'hunter2' } });
    expect(conditions.unmet(request('GET https://a/?api_key=hunter3'))).toEqual([
      'header x-origin-secret is missing, not "***"',
      'query parameter api_key is "***", not "***"',
    ]);
  });
});
