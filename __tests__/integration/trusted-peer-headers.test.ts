import { afterEach, describe, expect, test } from '@jest/globals';
import express, { type Express, type Request } from 'express';
import { type ForwardingFields, serviceRouter } from 'expressway';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { rawRequest } from '../support/raw-client.ts';
import { RecorderBackend } from '../support/recorder-backend.ts';
import { listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const MODES = ['x-forwarded', 'forwarded', 'both'] as const;

/** What nginx says, as in docs/recipes.md. */
const SAID = ['X-Forwarded-For: 192.0.2.7', 'X-Forwarded-Proto: https', 'X-Forwarded-Host: shop.example:8443'];

/** The headers that a backend gets when a trusted peer passes on lines of its client. */
async function passedOn(
  forwardingFields: ForwardingFields,
  lines: readonly string[],
  { edit, said = SAID }: { edit?: (req: Request) => void; said?: readonly string[] } = {},
) {
  const backend = cleanup.add(await RecorderBackend.start());
  const prepare = (app: Express) => {
    app.set('trust proxy', 'loopback');
    app.use((req, _res, next) => {
      edit?.(req);
      next();
    });
  };
  const { port } = cleanup.add(await proxyGateway({ backends: [backend.url], forwardingFields }, prepare));
  const head = ['GET / HTTP/1.1', 'Host: gw.example', 'Connection: close', ...said, ...lines];
  await rawRequest(port, `${head.join('\r\n')}\r\n\r\n`);
  const [seen] = backend.requests;
  return (name: string) =>
    seen?.fields.filter(([one]) => one.toLowerCase().replace(/[^a-z0-9]/g, '-') === name).map(([, value]) => value);
}

const write = (name: string) => (req: Request) => {
  req.headers[name] = 'of the app';
};

const spellings = (name: string) => [name, name.toUpperCase(), name.replaceAll('-', '_'), name.replaceAll('-', '.')];

describe.each(MODES)('behind a trusted peer, with the forwarding fields %s', (mode) => {
  test.each(['forwarded', 'x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host'])(
    '%s of the client is not passed on, in any spelling',
    async (name) => {
      const isUsed = mode === 'both' || (name === 'forwarded') === (mode === 'forwarded');
      const list = 'for=10.0.0.1;host=admin.internal;proto=ftp';
      // In the plain spelling, it is what the peer says.
      const ofClient = spellings(name).filter((one) => name === 'forwarded' || one.toLowerCase() !== name);
      const values = (await passedOn(mode, [...ofClient.map((one) => `${one}: ${list}`)]))(name);
      expect(values).toHaveLength(isUsed ? 1 : 0);
      expect(String(values)).not.toMatch(/10\.0\.0\.1|admin|ftp/);
    },
  );

  test('Forwarded of the app is passed on where the gateway writes none', async () => {
    const values = (await passedOn(mode, ['Forwarded: for=10.0.0.1'], { edit: write('forwarded') }))('forwarded');
    expect([values?.length, values?.includes('of the app')]).toEqual([1, mode === 'x-forwarded']);
  });

  test.each([
    ['x-real-ip', '192.0.2.7'],
    ['x-client-ip', '192.0.2.7'],
    ['client-ip', '192.0.2.7'],
    ['x-cluster-client-ip', '192.0.2.7'],
    ['x-scheme', 'https'],
    ['x-url-scheme', 'https'],
    ['x-forwarded-scheme', 'https'],
    ['x-forwarded-protocol', 'https'],
    ['x-forwarded-ssl', 'on'],
    ['front-end-https', 'on'],
    ['x-forwarded-port', '8443'],
  ])('%s becomes what the gateway knows, in any spelling: %s', async (name, fact) => {
    const isDropped = mode === 'forwarded' && name.startsWith('x-forwarded');
    for (const spelling of spellings(name)) {
      const values = (await passedOn(mode, [`${spelling}: evil`]))(name);
      // No honest proxy writes underscores or dots.
      expect([spelling, values]).toEqual([spelling, isDropped || !/^[a-z-]+$/i.test(spelling) ? [] : [fact]]);
    }
    expect((await passedOn(mode, []))(name)).toEqual([]);
    expect((await passedOn(mode, [`${name}: evil`], { edit: write(name) }))(name)).toEqual(['of the app']);
  });

  test.each([
    'x-original-url',
    'x-original-uri',
    'x-original-method',
    'x-rewrite-url',
    'x-host',
    'x-http-host-override',
    'x-http-destinationurl',
    'x-forwarded-server',
    'x-remote-ip',
    'x-originating-ip',
  ])('%s is passed on from the app alone, in any spelling', async (name) => {
    for (const spelling of spellings(name)) {
      expect([spelling, (await passedOn(mode, [`${spelling}: evil`, 'X-Own: 1']))(name)]).toEqual([spelling, []]);
    }
    expect((await passedOn(mode, [`${name}: evil`], { edit: write(name) }))(name)).toEqual(['of the app']);
  });

  test.each(['cf-connecting-ip', 'true-client-ip', 'x-azure-clientip', 'x-ssl-client-cert', 'x-forwarded-user'])(
    '%s, which only the peer can know, is passed on',
    async (name) => {
      expect((await passedOn(mode, [`${name}: said`]))(name)).toEqual(['said']);
    },
  );
});

test.each([
  [['X-Forwarded-Proto: https', 'X-Forwarded-Host: [::1]'], '443'],
  [['X-Forwarded-Host: shop.example'], '80'],
  [[], '80'],
])('the port is that of the host, or of the scheme: %j', async (said, port) => {
  expect((await passedOn('both', ['X-Forwarded-Port: 1'], { said }))('x-forwarded-port')).toEqual([port]);
});

test.each([
  ['https', 'on', '443'],
  ['wss', 'on', '443'],
  ['http', 'off', '80'],
  ['ws', 'off', '80'],
])(
  'the scheme %s, with which proxies such as Traefik name WebSockets too: TLS is %s, and the port %s',
  async (scheme, tls, port) => {
    const lines = ['X-Forwarded-Port: 1', 'X-Forwarded-Ssl: x', 'Front-End-Https: x'];
    const field = await passedOn('both', lines, { said: [`X-Forwarded-Proto: ${scheme}`] });
    expect([field('x-forwarded-port'), field('x-forwarded-ssl'), field('front-end-https')]).toEqual([
      [port],
      [tls],
      [tls],
    ]);
  },
);

test.each([
  ['X-Forwarded-Proto: javascript', 'http', 'gw.example'],
  ['X-Forwarded-Proto: https://evil.example/?', 'http', 'gw.example'],
  ['X-Forwarded-Proto: HTTPS', 'https', 'gw.example'],
  ['X-Forwarded-Proto: wss', 'wss', 'gw.example'],
  ['X-Forwarded-Host: evil.example/path?', 'http', 'gw.example'],
  ['X-Forwarded-Host: user@evil.example', 'http', 'gw.example'],
  ['X-Forwarded-Host: "', 'http', 'gw.example'],
  ['X-Forwarded-Host: shop.example', 'http', 'shop.example'],
])('what a trusted peer says is neither a scheme nor a host does not count: %s', async (line, scheme, host) => {
  const field = await passedOn('both', [], { said: [line] });
  expect([field('x-forwarded-proto'), field('x-forwarded-host')]).toEqual([[scheme], [host]]);
  const router = serviceRouter({ services: {}, routes: [{ redirect: { fullPath: '/there' } }] });
  cleanup.add(router);
  const { port } = cleanup.add(await listen(express().set('trust proxy', 'loopback').use(router)));
  const head = `GET / HTTP/1.1\r\nHost: gw.example\r\nConnection: close\r\n${line}\r\n\r\n`;
  expect((await rawRequest(port, head)).field('location')).toBe(`${scheme}://${host}/there`);
});

test('what a trusted peer says is no address is none', async () => {
  const said = ['X-Forwarded-For: <script>'];
  const field = await passedOn('both', ['X-Real-IP: 1'], { said });
  expect([field('x-real-ip'), field('x-forwarded-for')]).toEqual([['unknown'], ['unknown']]);
});
