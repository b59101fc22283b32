import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import express from 'express';
import { roundRobinProxy, undiciTransport, upgradeHandler } from 'expressway';
import fc from 'fast-check';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { Cleanup } from '../support/gateway.ts';
import { RawClient } from '../support/raw-client.ts';
import { type RecordedRequest, RecorderBackend } from '../support/recorder-backend.ts';
import { listen } from '../support/servers.ts';

type Headers = Record<string, unknown>;
type Edit = (headers: Headers) => void;

const cleanup = new Cleanup();
let backend: RecorderBackend;
let client: RawClient;
let port: number;
let edit: Edit = () => {};
/** What the backend had of each connection before the last request. */
let before: number[] = [];

beforeAll(async () => {
  backend = cleanup.add(await RecorderBackend.start());
  const app = express();
  app.use((req, _res, next) => {
    edit(req.headers);
    next();
  });
  const proxy = cleanup.add(roundRobinProxy({ backends: [backend.url], identityHeaders: ['X-Tenant', 'x-corp-*'] }));
  app.use('/roundRobinProxy', proxy);
  app.use('/undiciTransport', createProxyMiddleware({ target: backend.url, plugins: [undiciTransport()] }));
  const { server, port: ownPort } = cleanup.add(await listen(app));
  server.on('upgrade', upgradeHandler(app));
  port = ownPort;
  client = cleanup.add(await RawClient.connect(port));
});
afterAll(() => cleanup.run());

const PATHS = ['roundRobinProxy', 'undiciTransport'];

async function seen(path: string, lines: readonly string[], by: Edit = () => {}): Promise<RecordedRequest> {
  edit = by;
  backend.requests.length = 0;
  before = backend.received.map(({ length }) => length);
  client.send(`GET /${path} HTTP/1.1\r\nHost: gw\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`);
  expect((await client.response()).status).toBe(200);
  return backend.requests[0] as RecordedRequest;
}

/** All lines that an application may take for this header. */
const alike = (request: RecordedRequest, name: string): string[] =>
  request.fields.filter(([key]) => key.toLowerCase().replace(/[^a-z0-9]/g, '-') === name).map(([, value]) => value);

const set =
  (...entries: readonly (readonly [name: string, value: unknown])[]): Edit =>
  (headers) => {
    for (const [name, value] of entries) headers[name] = value;
  };
const remove =
  (name: string): Edit =>
  (headers) => {
    delete headers[name];
  };

describe.each(PATHS)(
  '%s: the value that a middleware sets in req.headers is the only one that the backend gets',
  (path) => {
    test.each<[string, string[], Edit, string[]]>([
      ['another spelling', ['x-user: evil'], set(['X-User', 'alice']), ['alice']],
      [
        'another spelling, of a header that the client repeats',
        ['x-user: evil', 'X-User: worse'],
        set(['X-USER', 'alice']),
        ['alice'],
      ],
      [
        'several spellings: the last one counts',
        ['x-user: evil'],
        set(['X-User', 'bob'], ['X-USER', 'alice']),
        ['alice'],
      ],
      ['a list in another spelling', ['x-user: evil'], set(['X-User', ['alice', 'admin']]), ['alice', 'admin']],
      ['a list', ['x-user: evil'], set(['x-user', ['alice', 'admin']]), ['alice', 'admin']],
      ['nothing in another spelling', ['x-user: evil'], set(['X-User', undefined]), []],
      ['a number in another spelling', ['x-user: evil'], set(['X-User', 7]), ['7']],
      ['the same name', ['X-User: evil'], set(['x-user', 'alice']), ['alice']],
      [
        'a copy of all headers',
        ['X-User: evil', 'X-A: 1'],
        (headers) => Object.assign(headers, { 'X-User': 'alice' }),
        ['alice'],
      ],
      ['beside an underscore of the client', ['X_User: evil'], set(['x-user', 'alice']), ['alice']],
      ['beside a dot of the client', ['X.User: evil'], set(['x-user', 'alice']), ['alice']],
      ['beside both of the client', ['x_user: evil', 'x-user: evil'], set(['x-user', 'alice']), ['alice']],
      ['with an underscore of its own', ['x-user: evil'], set(['x_user', 'alice']), ['alice']],
      ['a deletion', ['x-user: evil', 'X_User: evil'], remove('x-user'), []],
      [
        'what the client sent as well, beside an underscore',
        ['x-user: evil', 'X_User: evil'],
        set(['X-User', 'evil']),
        ['evil'],
      ],
    ])('%s', async (_title, lines, by, expected) => {
      expect(alike(await seen(path, lines, by), 'x-user')).toEqual(expected);
    });

    test.each<[string, string[], Edit, string[]]>([
      ['with another value', ['Connection: x-user', 'x-user: evil'], set(['x-user', 'alice']), ['alice']],
      [
        'with the value that the client sent',
        ['Connection: x-user', 'x-user: alice'],
        set(['x-user', 'alice']),
        ['alice'],
      ],
      [
        'with that value in another spelling',
        ['Connection: X-User', 'x-user: alice'],
        set(['X-User', 'alice']),
        ['alice'],
      ],
      [
        'with that value, the client naming it twice',
        ['Connection: close-not, x-user', 'Connection: x-user', 'x-user: alice'],
        set(['x-user', 'alice']),
        ['alice'],
      ],
      ['that the client did not send', ['Connection: x-user'], set(['x-user', 'alice']), ['alice']],
      [
        'by copying all headers',
        ['Connection: x-user', 'x-user: alice'],
        (headers) => {
          const copy = { ...headers, 'x-user': 'alice' };
          for (const name of Object.keys(headers)) delete headers[name];
          Object.assign(headers, copy);
        },
        ['alice'],
      ],
      [
        'after removing it',
        ['Connection: x-user', 'x-user: alice'],
        (headers) => {
          delete headers['x-user'];
          headers['x-user'] = 'alice';
        },
        ['alice'],
      ],
    ])('Connection does not remove a header that a middleware wrote %s', async (_title, lines, by, expected) => {
      expect(alike(await seen(path, lines, by), 'x-user')).toEqual(expected);
    });

    test.each<[string, string[], Edit]>([
      ['nobody wrote', ['Connection: x-user', 'x-user: evil'], () => {}],
      ['a middleware only read', ['Connection: x-user', 'x-user: evil'], (headers) => void headers['x-user']],
      ['is named and Connection deleted', ['Connection: x-user', 'x-user: evil'], remove('connection')],
      ['has a name like __proto__', ['Connection: __proto__', '__proto__: evil'], () => {}],
    ])('Connection removes a header that %s', async (_title, lines, by) => {
      const request = await seen(path, [...lines, 'X-Kept: 1'], by);
      expect(request.fields.map(([, value]) => value)).not.toContain('evil');
      expect(request.field('x-kept')).toBe('1');
    });

    test('the spelling of a client is kept when no middleware wrote the header', async () => {
      const request = await seen(
        path,
        ['X_User: a', 'x-user: b', 'X-Trace: 1'],
        set(['x-trace', '2'], ['x-more', '3']),
      );
      expect(request.fields.filter(([name]) => /^x[-_](user|trace|more)$/.test(name))).toEqual([
        ['x_user', 'a'],
        ['x-user', 'b'],
        ['x-trace', '2'],
        ['x-more', '3'],
      ]);
    });
  },
);

test("Connection does not remove a header that a middleware wrote into an upgrade request, even with the client's value", async () => {
  edit = set(['x-user', 'alice']);
  backend.requests.length = 0;
  const upgrade = cleanup.add(await RawClient.connect(port));
  upgrade.send(
    'GET /roundRobinProxy HTTP/1.1\r\nHost: gw\r\nConnection: Upgrade, x-user, x-gone\r\nUpgrade: websocket\r\nx-user: alice\r\nx-gone: 1\r\n\r\n',
  );
  await upgrade.response();
  expect([backend.requests[0]?.all('x-user'), backend.requests[0]?.all('x-gone')]).toEqual([['alice'], []]);
});

/** The names of all headers, as they were sent. */
const namesOnWire = (): string[] =>
  backend.received
    .map((bytes, index) => bytes.subarray(before[index] ?? 0).toString('latin1'))
    .join('')
    .split('\r\n')
    .slice(1)
    .filter((line) => line !== '')
    .map((line) => line.slice(0, line.indexOf(':')));

describe('the case of request header names', () => {
  const LINES = [
    'X-CaMeL: 1',
    'content-LANGUAGE: de',
    'ACCEPT: a',
    'X-CaMeL: 2',
    'x-camel: 3',
    'If-None-Match: "a"',
    'SOAPAction: go',
  ];
  const OWN = ['host', 'connection', 'via', 'x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host'];
  const others = () => namesOnWire().filter((name) => !OWN.includes(name));

  test.each<[string, string[], Edit, string[]]>([
    ['is kept', ['X-CaMeL: 1', 'SOAPAction: go', 'ACCEPT: a'], () => {}, ['X-CaMeL', 'SOAPAction', 'ACCEPT']],
    [
      'is kept for each of several lines',
      LINES,
      () => {},
      ['X-CaMeL', 'X-CaMeL', 'x-camel', 'content-LANGUAGE', 'ACCEPT', 'If-None-Match', 'SOAPAction'],
    ],
    [
      'is kept beside what a middleware adds, which has its own',
      ['X-CaMeL: 1'],
      set(['X-Added', '1'], ['x-more', '2']),
      ['X-CaMeL', 'X-Added', 'x-more'],
    ],
    [
      'is kept beside what a middleware removes',
      ['X-CaMeL: 1', 'X-Gone: 1', 'SOAPAction: go'],
      remove('x-gone'),
      ['X-CaMeL', 'SOAPAction'],
    ],
    [
      'is kept for lines that Node joins or lists, beside what a middleware removes',
      ['COOKIE: a=1', 'cookie: b=2', 'Set-Cookie: c=3', 'SET-COOKIE: d=4', 'X-Gone: 1'],
      remove('x-gone'),
      ['COOKIE', 'Set-Cookie', 'SET-COOKIE'],
    ],
    [
      'is kept beside what Connection removes',
      ['Connection: x-gone', 'X-CaMeL: 1', 'X-Gone: 1'],
      () => {},
      ['X-CaMeL'],
    ],
  ])('%s', async (_title, lines, by, expected) => {
    await seen('roundRobinProxy', lines, by);
    expect(others()).toEqual(expected);
  });

  test('is lower with undiciTransport(), as with the native transport', async () => {
    await seen('undiciTransport', ['X-CaMeL: 1', 'SOAPAction: go']);
    expect(others()).toEqual(expect.arrayContaining(['x-camel', 'soapaction']));
  });
});

/** Names that objects have properties of. */
const ODD_NAMES = [
  '__proto__',
  'constructor',
  'toString',
  'hasOwnProperty',
  'valueOf',
  '__defineGetter__',
  'prototype',
  '1',
  '0x1',
  'length',
];

describe.each(PATHS)('%s forwards headers by any name', (path) => {
  test.each(ODD_NAMES)('%s', async (name) => {
    const alone = await seen(path, ['X-A: 1', `${name}: first`, 'X-B: 2']);
    expect([alone.all(name.toLowerCase()), alone.field('x-a'), alone.field('x-b')]).toEqual([['first'], '1', '2']);
    const twice = await seen(path, [`${name}: first`, 'X-A: 1', `${name.toUpperCase()}: second`], set(['x-a', '3']));
    expect([twice.all(name.toLowerCase()), twice.field('x-a')]).toEqual([['first', 'second'], '3']);
  });

  test('in any order, number and spelling, with all bytes', async () => {
    const name = fc.oneof(
      fc.stringMatching(/^[xX][-_.][a-cA-C]{1,2}$/),
      fc.constantFrom('Accept', 'accept', 'Cookie', '__proto__', 'Constructor', '12', 'X-User'),
    );
    const value = fc.stringMatching(/^[!-~\xa1-\xff]([ -~\x80-\xff]{0,6}[!-~\xa1-\xff])?$/);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(name, value), { maxLength: 12 }), async (lines) => {
        const request = await seen(
          path,
          lines.map(([key, text]) => `${key}: ${text}`),
        );
        for (const key of new Set(lines.map(([spelling]) => spelling.toLowerCase()))) {
          const sent = lines.filter(([spelling]) => spelling.toLowerCase() === key).map(([, text]) => text);
          // RFC 9110 §5.3 lets a recipient join lines; Node joins those of Cookie.
          const join = key === 'cookie' ? '; ' : ', ';
          expect(request.all(key).join(join)).toBe(sent.join(join));
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe('an untrusted client cannot send identity headers', () => {
  const NAMES =
    'Client-IP X-Client-IP X-Originating-IP CF-Connecting-IP CF-Connecting-IPv6 Fly-Client-IP X-Azure-ClientIP X-Azure-SocketIP ' +
    'X-Forwarded-Email X-Forwarded-Groups X-Forwarded-Preferred-Username X-Forwarded-Access-Token X-Forwarded-Anything X-Forwarded ' +
    'X-Original-URI X-Original-URL X-Original-Method X-SSL-Client-Cert X-SSL-Client-Verify X-SSL-Anything SSL-Client-Verify ' +
    'Forwarded X-Real-IP X-Cluster-Client-IP X-Envoy-External-Address X-Original-Forwarded-For X-Remote-Addr X-Remote-IP ' +
    'True-Client-IP Fastly-Client-IP DO-Connecting-IP X-Vercel-Forwarded-For X-NF-Client-Connection-IP WL-Proxy-Client-IP ' +
    'X-AppEngine-User-IP CloudFront-Viewer-Address Front-End-Https X-Scheme X-Url-Scheme X-Host X-Rewrite-URL X-Remote-User Remote-User ' +
    'X-Auth-Request-Email X-Consumer-Username X-MS-Client-Principal-Name X-Client-Cert X-Tenant X-Corp-User';
  const spellings = (name: string) => [
    name,
    name.toUpperCase(),
    name.replaceAll('-', '_'),
    name.replaceAll('-', '.'),
    name.replace('-', '_'),
  ];

  test.each(NAMES.split(' '))('in %s, in any spelling', async (name) => {
    for (const spelling of spellings(name)) {
      const request = await seen('roundRobinProxy', [`${spelling}: evil`, 'X-Own: kept']);
      expect([spelling, request.fields.filter(([, value]) => value === 'evil'), request.field('x-own')]).toEqual([
        spelling,
        [],
        'kept',
      ]);
    }
  });

  test.each(NAMES.split(' ').map((name) => name.toLowerCase()))('a middleware can, in %s', async (name) => {
    const request = await seen('roundRobinProxy', [`${name}: evil`], set([name, 'alice']));
    expect(request.fields.filter(([, value]) => /evil|alice/.test(value))).toEqual(
      name === 'forwarded' || !/^x-forwarded-(for|host|proto)$/.test(name) ? [[name, 'alice']] : [],
    );
  });

  test.each([
    'User-Agent',
    'X-Request-Id',
    'X-Client-Version',
    'Origin',
    'X-Ip',
    'X-Correlation-Id',
    'X-User',
    'X-HTTP-Method-Override',
    'X-Clientip-Hint',
    'X-Description',
    'Remote',
  ])('other headers are forwarded: %s', async (name) => {
    expect((await seen('roundRobinProxy', [`${name}: kept`])).all(name.toLowerCase())).toEqual(['kept']);
  });
});
