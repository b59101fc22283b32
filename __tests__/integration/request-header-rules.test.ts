import { afterEach, describe, expect, jest, test } from '@jest/globals';
import express from 'express';
import { type HeaderRules, roundRobinProxy, serviceRouter } from 'expressway';
import { Cleanup } from '../support/gateway.ts';
import { rawRequest } from '../support/raw-client.ts';
import { RecorderBackend } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** Where rules can be given: to a proxy, to a service of a router, and to a route. */
const PLACES = {
  'roundRobinProxy()': (backend: string, requestHeaders: HeaderRules) =>
    cleanup.add(roundRobinProxy({ backends: [backend], requestHeaders })),
  'a service': (backend: string, requestHeaders: HeaderRules) =>
    cleanup.add(
      serviceRouter({ services: { a: { backends: [backend], requestHeaders } }, routes: [{ service: 'a' }] }),
    ),
  'a route': (backend: string, requestHeaders: HeaderRules) =>
    cleanup.add(
      serviceRouter({ services: { a: { backends: [backend] } }, routes: [{ service: 'a', requestHeaders }] }),
    ),
  'a mirrored service': (backend: string, requestHeaders: HeaderRules) =>
    cleanup.add(
      serviceRouter({
        services: { a: { backends: ['http://127.0.0.1:1'] }, copy: { backends: [backend], requestHeaders } },
        routes: [{ service: 'a', mirror: { service: 'copy' } }],
      }),
    ),
};
type Place = keyof typeof PLACES;
const EACH = Object.keys(PLACES) as Place[];

const SAID = ['X-Forwarded-For: 198.51.100.7', 'X-Forwarded-Proto: https', 'X-Forwarded-Host: shop.example'];

/** What the backend gets with these rules, behind a trusted peer unless `lines` say something else. */
async function seen(place: Place, rules: HeaderRules, lines: readonly string[] = SAID, trust: unknown = 1) {
  const backend = cleanup.add(await RecorderBackend.start());
  const app = express();
  app.set('trust proxy', trust);
  const { port } = cleanup.add(await listen(app.use(PLACES[place](backend.url, rules))));
  const head = ['GET / HTTP/1.1', 'Host: gw', 'Connection: close', ...lines];
  const { status } = await rawRequest(port, `${head.join('\r\n')}\r\n\r\n`);
  await eventually('the backend has it', () => backend.requests.length > 0);
  const values = (name: string) => backend.requests[0]?.all(name);
  return { status, values };
}

const UNCHANGED: Readonly<Record<string, readonly string[]>> = {
  'x-forwarded-for': ['198.51.100.7'],
  'x-forwarded-proto': ['https'],
  'x-forwarded-host': ['shop.example'],
};

describe.each(EACH)('rules of %s', (place) => {
  test.each(Object.keys(UNCHANGED))('remove, replace or extend %s, and nothing else', async (name) => {
    const without = await seen(place, { remove: [name.toUpperCase()] });
    for (const [one, values] of Object.entries(UNCHANGED))
      expect([one, without.values(one)]).toEqual([one, one === name ? [] : values]);
    const other = await seen(place, { set: { [name]: 'other' } });
    for (const [one, values] of Object.entries(UNCHANGED))
      expect([one, other.values(one)]).toEqual([one, one === name ? ['other'] : values]);
    const more = await seen(place, { add: { [name]: 'more' } });
    expect(more.values(name)).toEqual([`${UNCHANGED[name]}, more`]);
  });

  test('change Via', async () => {
    const via = ['Via: 1.1 edge'];
    expect((await seen(place, { remove: ['via'] }, via)).values('via')).toEqual([]);
    expect((await seen(place, { set: { Via: '1.1 mine' } }, via)).values('via')).toEqual(['1.1 mine']);
    expect((await seen(place, { add: { via: '1.1 more' } }, via)).values('via')).toEqual([
      expect.stringMatching(/^1\.1 edge, 1\.1 expressway-\w+, 1\.1 more$/),
    ]);
  });

  test('are of no effect on how the gateway reads the request', async () => {
    const warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    try {
      const rules = {
        set: {
          'x-forwarded-for': '203.0.113.1',
          'x-client': '{clientAddress} {scheme}',
          'x-real-ip': '{clientAddress}',
        },
        remove: ['x-forwarded-proto', 'upgrade-insecure-requests'],
      };
      const { status, values } = await seen(place, rules, ['X-Client: evil', 'X_Real_IP: evil'], false);
      if (place !== 'a mirrored service') expect(status).toBe(200);
      expect(values('x-client')).toEqual(['127.0.0.1 http']);
      expect([values('x-real-ip'), values('x_real_ip')]).toEqual([['127.0.0.1'], []]);
      expect(warned).not.toHaveBeenCalled();
    } finally {
      warned.mockRestore();
    }
  });

  test('win over what a client writes in any spelling, and names in Connection', async () => {
    const lines = ['X_User: evil', 'x-user: evil', 'Connection: x-user, x-list', 'X.List: evil'];
    const { values } = await seen(place, { set: { 'X-User': 'alice' }, add: { 'X-List': 'b' } }, lines);
    for (const [name, expected] of [
      ['x-user', ['alice']],
      ['x_user', []],
      ['x-list', ['b']],
      ['x.list', []],
    ] as const)
      expect([name, values(name)]).toEqual([name, expected]);
  });

  test.each([
    'connection',
    'content-length',
    'expect',
    'host',
    'http2-settings',
    'keep-alive',
    'proxy',
    'proxy-authorization',
    'proxy-connection',
    'te',
    'trailer',
    'transfer-encoding',
    'Transfer_Encoding',
    'upgrade',
  ])('cannot set %s, and say so', (name) => {
    for (const kind of ['set', 'add'])
      expect(() => PLACES[place]('http://127.0.0.1:1', { [kind]: { [name]: '1' } })).toThrow(
        `"${name}" is not a header that can be set: the proxy writes it itself, or never forwards it`,
      );
  });

  test.each(['connection', 'content-length', 'Host', 'transfer-encoding', 'upgrade'])(
    'cannot remove %s, and say so',
    (name) => {
      expect(() => PLACES[place]('http://127.0.0.1:1', { remove: [name] })).toThrow(
        `must be a header that can be removed: the proxy writes ${name} itself`,
      );
    },
  );

  test('may remove what is never forwarded', async () => {
    const { values } = await seen(place, { remove: ['te', 'expect', 'keep-alive', 'proxy'] }, ['TE: trailers']);
    expect(values('te')).toEqual([]);
  });
});

test('the rules of a route come before those of its service', async () => {
  const backend = cleanup.add(await RecorderBackend.start());
  const router = serviceRouter({
    services: { a: { backends: [backend.url], requestHeaders: { remove: ['x-gone'], add: { 'x-list': 'service' } } } },
    routes: [{ service: 'a', requestHeaders: { set: { 'x-gone': '1', 'x-list': 'route' } } }],
  });
  const { port } = cleanup.add(await listen(express().use(cleanup.add(router))));
  await rawRequest(port, 'GET / HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n');
  expect([backend.requests[0]?.all('x-gone'), backend.requests[0]?.all('x-list')]).toEqual([[], ['route, service']]);
});

test('each attempt gets the rules once', async () => {
  const [dead, live] = [
    cleanup.add(await RecorderBackend.start((socket) => void socket.resetAndDestroy())),
    cleanup.add(await RecorderBackend.start()),
  ];
  const proxy = roundRobinProxy({ backends: [dead.url, live.url], requestHeaders: { add: { 'x-list': 'b' } } });
  const { port } = cleanup.add(await listen(express().use(cleanup.add(proxy))));
  await rawRequest(port, 'GET / HTTP/1.1\r\nHost: gw\r\nConnection: close\r\nX-List: a\r\n\r\n');
  expect(live.requests[0]?.all('x-list')).toEqual(['a, b']);
});
