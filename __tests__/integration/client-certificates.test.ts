import { spawn } from 'node:child_process';
import { constants, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { IncomingHttpHeaders } from 'node:http';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { connect, createSecureContext, type SecureContext, type TlsOptions } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import express from 'express';
import {
  type ClientCertAuthOptions,
  type ClientRefusedEvent,
  clientCertAuth,
  GatewayEvents,
  hardenServer,
  http2Server,
  serviceRouter,
} from 'expressway';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { MadeCertificates } from '../support/made-certificate.ts';
import { RawClient } from '../support/raw-client.ts';
import { overHttp1, SECURE_PROTOCOLS } from '../support/secure-ask.ts';
import { listen } from '../support/servers.ts';

const DAY_MS = 86_400_000;
const certificates = new MadeCertificates();
const cleanup = new Cleanup();

beforeAll(() => {
  const make = certificates.make.bind(certificates);
  make('server', { names: ['DNS:a.test', 'DNS:b.test', 'IP:127.0.0.1'] });
  const authority = make('authority', { subject: '/C=SI/CN=Authority' });
  make('alice', { authority, subject: '/C=SI/O=Acme/CN=alice' });
  make('expired', { authority, days: -1 });
  make('of a server', { authority, extensions: ['extendedKeyUsage=serverAuth'] });
  make('self-signed', { subject: '/C=SI/O=Acme/CN=alice' });
  const other = make('other', { subject: '/C=SI/CN=Authority' });
  make('of another authority', { authority: other, subject: '/C=SI/O=Acme/CN=alice' });
});

afterEach(async () => {
  jest.restoreAllMocks();
  await cleanup.run();
});

afterAll(() => certificates.remove());

const pair = (name: string) => certificates.pair(name);
const certificateOf = (name: string) => new X509Certificate(pair(name).cert);
const fingerprintOf = (name: string) => certificateOf(name).fingerprint256.replaceAll(':', '').toLowerCase();

/** A backend that sends back the headers that it got, behind `clientCertAuth()` on a server that asks for certificates. */
async function gateway(given: ClientCertAuthOptions = {}, tls: TlsOptions = {}, trustProxy = false) {
  const backend = cleanup.add(await listen((req, res) => res.end(JSON.stringify(req.headers))));
  const events = new GatewayEvents();
  const refused: ClientRefusedEvent[] = [];
  events.on('clientRefused', (event) => refused.push(event));
  const asking = {
    requestCert: true,
    rejectUnauthorized: false,
    ca: readFileSync(certificates.files('authority').cert),
  };
  const running = await proxyGateway(
    { backends: [backend.url] },
    (app) => {
      app.set('trust proxy', trustProxy);
      app.use(clientCertAuth(given) as never);
    },
    (app) => hardenServer(http2Server(createServer({ ...pair('server'), ...asking, ...tls }, app)), { events }),
  );
  return { ...cleanup.add(running), refused };
}

/** What backends are told about certificates, in whichever spelling. */
const told = (headers: IncomingHttpHeaders) =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => /client.cert/.test(name)));

const REFUSED = [
  ['expired', 'CERT_HAS_EXPIRED'],
  ['of a server', 'INVALID_PURPOSE'],
  ['self-signed', 'DEPTH_ZERO_SELF_SIGNED_CERT'],
  ['of another authority', 'CERT_SIGNATURE_FAILURE'],
] as const;

describe.each(SECURE_PROTOCOLS)('clientCertAuth() over %s', (_name, ask) => {
  test('the backend learns whose certificate it is', async () => {
    const { port } = await gateway();
    const { status, got } = await ask(port, pair('alice'));
    expect(status).toBe(200);
    expect(told(got)).toEqual({
      'client-cert': `:${certificateOf('alice').raw.toString('base64')}:`,
      'x-client-cert-verify': 'SUCCESS',
      'x-client-cert-subject': 'CN=alice,O=Acme,C=SI',
      'x-client-cert-fingerprint': fingerprintOf('alice'),
    });
  });

  test.each(REFUSED)(
    'a certificate that is %s is not accepted, and says nothing but its fingerprint',
    async (name, reason) => {
      const strict = await ask((await gateway()).port, pair(name));
      expect(strict).toMatchObject({
        status: 403,
        got: { cause: 'client_denied', detail: expect.stringContaining(reason) },
      });
      const { status, got } = await ask((await gateway({ required: false })).port, pair(name));
      expect(status).toBe(200);
      expect(told(got)).toEqual({
        'x-client-cert-verify': `FAILED:${reason}`,
        'x-client-cert-fingerprint': fingerprintOf(name),
      });
    },
  );

  const FORGED = {
    'Client-Cert': ':AAAA:',
    client_cert: ':AAAA:',
    'Client-Cert-Chain': ':AAAA:',
    'X-Client-Cert-Verify': 'SUCCESS',
    x_client_cert_verify: 'SUCCESS',
    'x.client-cert_subject': 'CN=root',
    'X-Client-Cert-Fingerprint': 'aa',
  };

  test.each([false, true])(
    'headers of a client about certificates are removed (trust proxy: %s)',
    async (trustProxy) => {
      const { port } = await gateway({ required: false }, {}, trustProxy);
      expect(told((await ask(port, {}, FORGED)).got)).toEqual({ 'x-client-cert-verify': 'NONE' });
      const own = told((await ask(port, pair('alice'), FORGED)).got);
      expect(own).toEqual(told((await ask(port, pair('alice'))).got));
    },
  );

  test('a request without a certificate gets 403, and the next one on a connection with one does not', async () => {
    const { port } = await gateway();
    expect(await ask(port, {})).toMatchObject({ status: 403, got: { cause: 'client_denied' } });
    expect((await ask(port, pair('alice'))).status).toBe(200);
  });

  test.each([
    ['a.test', 'A.test.:8443', 200],
    ['a.test', 'b.test', 421],
    ['', '127.0.0.1', 200],
    ['', 'a.test', 421],
    ['a.test', '127.0.0.1', 421],
  ])(
    'asked for %j in TLS and for %j in HTTP, a client with a certificate gets %i',
    async (servername, host, status) => {
      const { port } = await gateway();
      const seen = await ask(port, { servername, ...pair('alice') }, { host });
      expect(seen.status).toBe(status);
      if (status === 421) expect(seen.got.cause).toBe('misdirected_request');
    },
  );

  test('a client without a certificate may ask for any host, and isSameHost decides for the others', async () => {
    const open = await gateway({ required: false });
    expect((await ask(open.port, {}, { host: 'b.test' })).status).toBe(200);
    const isSameHost = jest.fn<(servername: string, host: string) => boolean>((_servername, host) => host === 'b.test');
    const { port } = await gateway({ isSameHost });
    expect((await ask(port, pair('alice'), { host: 'B.test:1' })).status).toBe(200);
    expect((await ask(port, pair('alice'), { host: 'c.test' })).status).toBe(421);
    expect(isSameHost.mock.calls).toEqual([
      ['a.test', 'b.test'],
      ['a.test', 'c.test'],
    ]);
  });

  test.each<[string, () => never]>([
    [
      'throws nothing',
      () => {
        throw undefined;
      },
    ],
    [
      'throws a signal of Express',
      () => {
        throw 'route';
      },
    ],
    ['is async', () => Promise.resolve(false) as never],
    ['is async and rejects', () => Promise.reject() as never],
  ])('an isSameHost that %s admits no request', async (_what, isSameHost) => {
    const { port } = await gateway({ isSameHost });
    // The error page of Express, which is no JSON.
    await expect(ask(port, pair('alice'), { host: 'b.test' })).rejects.toThrow('<!DOCTYPE');
  });

  test('a certificate that expires while its connection is open is no longer accepted', async () => {
    const { port } = await gateway();
    const now = Date.now();
    expect((await ask(port, pair('alice'))).status).toBe(200);
    jest.spyOn(Date, 'now').mockReturnValue(now + 91 * DAY_MS);
    const { status, got } = await ask(port, pair('alice'));
    expect([status, got.detail]).toEqual([403, expect.stringContaining('CERT_HAS_EXPIRED')]);
  });

  test.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'a session of %s that is resumed has the certificate of before',
    async (version) => {
      const { port } = await gateway({ required: false });
      for (const [tls, verify] of [
        [pair('alice'), 'SUCCESS'],
        [pair('expired'), 'FAILED:CERT_HAS_EXPIRED'],
        [{}, 'NONE'],
      ] as const) {
        const options = { port, host: '127.0.0.1', servername: 'a.test', rejectUnauthorized: false };
        const protocol = { minVersion: version, maxVersion: version, ALPNProtocols: ['h2', 'http/1.1'] };
        const socket = connect({ ...options, ...protocol, ...tls });
        const [session] = await once(socket, 'session');
        socket.destroy();
        const again = connect({ ...options, ...protocol, session });
        await once(again, 'secureConnect');
        expect(again.isSessionReused()).toBe(true);
        again.destroy();
        // Without the certificate: the session has it.
        const { got } = await ask(port, { session, minVersion: version, maxVersion: version });
        expect(got['x-client-cert-verify']).toBe(verify);
      }
    },
  );
});

test('on plain http the backend gets no facts of a certificate, even if the client sends some', async () => {
  const backend = cleanup.add(await listen((req, res) => res.end(JSON.stringify(req.headers))));
  const forged = [
    'Client-Cert: :AAAA:',
    'client_cert: :AAAA:',
    'X-Client-Cert-Verify: SUCCESS',
    'Client-Cert-Chain: :AA:',
  ];
  for (const [prepare, expected] of [
    [undefined, {}],
    [clientCertAuth({ required: false }), { 'x-client-cert-verify': 'NONE' }],
  ] as const) {
    const { port } = cleanup.add(
      await proxyGateway({ backends: [backend.url] }, (app) => void (prepare && app.use(prepare as never))),
    );
    const client = cleanup.add(await RawClient.connect(port));
    client.send(`${['GET / HTTP/1.1', 'Host: a.test', ...forged].join('\r\n')}\r\n\r\n`);
    expect(told(JSON.parse((await client.response()).content.toString()))).toEqual(expected);
  }
});

test('a WebSocket needs the certificate as well', async () => {
  const { port } = await gateway();
  const upgrade = 'GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n';
  const socket = connect({ port, host: '127.0.0.1', servername: 'a.test', rejectUnauthorized: false });
  socket.write(upgrade);
  const [head] = await once(socket, 'data');
  expect(String(head)).toMatch(/^HTTP\/1\.1 403 /);
  socket.destroy();
});

test('a route of serviceRouter() may need a certificate, and limit each subject', async () => {
  const backend = cleanup.add(await listen((req, res) => res.end(JSON.stringify(req.headers))));
  const router = cleanup.add(
    serviceRouter({
      services: { one: { backends: [backend.url] } },
      routes: [
        { path: '/', service: 'one' },
        {
          path: '/own',
          service: 'one',
          authentication: { clientCert: { headers: { 'x-user': 'subject' } } },
          rateLimit: { limit: '1/1m', key: 'consumer' },
        },
      ],
    }),
  );
  const asking = { requestCert: true, rejectUnauthorized: false, ca: pair('authority').cert };
  const app = express().use(router as never);
  const { port } = cleanup.add(await listen(app, createServer({ ...pair('server'), ...asking }, app)));
  expect((await overHttp1(port, {})).status).toBe(200);
  expect(await overHttp1(port, {}, {}, '/own')).toMatchObject({ status: 403, got: { cause: 'client_denied' } });
  const forged = { 'X-User': 'root' };
  expect(await overHttp1(port, pair('alice'), forged, '/own')).toMatchObject({
    status: 200,
    got: { 'x-user': 'CN=alice,O=Acme,C=SI' },
  });
  expect((await overHttp1(port, pair('alice'), forged, '/own')).status).toBe(429);
});

test('the consumer is the subject, or the fingerprint where that is empty', async () => {
  certificates.make('nameless', {
    authority: certificates.files('authority'),
    subject: '/',
    names: ['URI:spiffe://acme/alice'],
  });
  const backend = cleanup.add(await listen((req, res) => res.end(JSON.stringify(req.headers))));
  const { port } = cleanup.add(
    await proxyGateway(
      { backends: [backend.url], requestHeaders: { set: { 'x-who': '{consumer}' } } },
      (app) => void app.use(clientCertAuth() as never),
      (app) =>
        createServer(
          { ...pair('server'), requestCert: true, rejectUnauthorized: false, ca: pair('authority').cert },
          app,
        ),
    ),
  );
  expect((await overHttp1(port, pair('alice'))).got['x-who']).toBe('CN=alice,O=Acme,C=SI');
  const fingerprint = certificateOf('nameless').fingerprint256;
  const { got } = await overHttp1(port, pair('nameless'));
  expect(got['x-who']).toBe(fingerprint.replaceAll(':', '').toLowerCase());
});

test.each([
  ['/C=SI/O=Ac\\\\me, Inc. \\+ <x>/CN=alice+UID=7', 'CN=alice+UID=7,O=Ac\\\\me\\, Inc. \\+ \\<x\\>,C=SI'],
  ['/O=Acme\nX-Admin: 1/CN=a "b" # ; =', 'CN=a \\"b\\" # \\; =,O=Acme\\0AX-Admin: 1'],
  ['/O= Čš 日 /CN=Zoë', 'CN=Zo\\C3\\AB,O=\\ \\C4\\8C\\C5\\A1 \\E6\\97\\A5\\20'],
])('the subject %j is one line of ASCII', async (subject, line) => {
  certificates.make('odd', { authority: certificates.files('authority'), subject });
  const { port } = await gateway();
  expect((await overHttp1(port, pair('odd'))).got['x-client-cert-subject']).toBe(line);
});

test('headers may have other names, and issuer and serial number', async () => {
  const { port } = await gateway({ headers: { 'X-User': 'subject', 'x-issuer': 'issuer', 'x-serial': 'serial' } });
  const { got } = await overHttp1(port, pair('alice'), { 'x-user': 'root', x_serial: '1' });
  expect(got).toMatchObject({
    'x-user': 'CN=alice,O=Acme,C=SI',
    'x-issuer': 'CN=Authority,C=SI',
    'x-serial': certificateOf('alice').serialNumber.toLowerCase(),
  });
  expect(told(got)).toEqual({});
});

describe('a server that ends handshakes without a good certificate', () => {
  test.each([
    [{}, 'The client has no certificate.'],
    ...REFUSED.map(([name, reason]) => [name, `The client's certificate is not accepted: ${reason}.`] as const),
  ])('%j: hardenServer() says why, and who it was', async (name, detail) => {
    const { port, refused } = await gateway({}, { rejectUnauthorized: true });
    const tls = typeof name === 'string' ? pair(name) : name;
    await expect(overHttp1(port, tls)).rejects.toThrow();
    expect(refused).toEqual([{ cause: 'client_denied', detail, address: '127.0.0.1', exchange: undefined }]);
  });
});

describe('names with authorities of their own', () => {
  /** A TLS session of openssl, which resumes under any name, unlike newer clients of Node. */
  async function resumedUnder(port: number, version: string): Promise<string> {
    const session = join(certificates.folder, `session-${version}`);
    const run = async (...args: string[]) => {
      const child = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, `-${version}`, ...args]);
      let text = '';
      child.stdout.on('data', (chunk) => {
        text += chunk;
      });
      child.stdin.on('error', () => {});
      // Sessions of TLS 1.3 come after the handshake.
      child.stdin.write('GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n');
      await once(child, 'close');
      return text;
    };
    const { cert, key } = certificates.files('alice');
    await run('-servername', 'a.test', '-sess_out', session, '-cert', cert, '-key', key, '-ign_eof');
    return run('-servername', 'b.test', '-sess_in', session, '-ign_eof');
  }

  async function open(secureOptions: number): Promise<number> {
    const contexts = new Map<string, SecureContext>();
    for (const [name, authority] of [
      ['a.test', 'authority'],
      ['b.test', 'other'],
    ] as const) {
      contexts.set(name, createSecureContext({ ...pair('server'), ca: pair(authority).cert }));
    }
    const SNICallback: NonNullable<TlsOptions['SNICallback']> = (name, done) => done(null, contexts.get(name));
    return (await gateway({}, { SNICallback, secureOptions })).port;
  }

  test('the certificate for one name is not accepted for another', async () => {
    const port = await open(constants.SSL_OP_NO_TICKET);
    expect((await overHttp1(port, pair('alice'))).status).toBe(200);
    const elsewhere = await overHttp1(port, { ...pair('alice'), servername: 'b.test' }, { host: 'b.test' });
    expect(elsewhere.status).toBe(403);
  });

  test.each(['tls1_2', 'tls1_3'])('%s: a session moves between names, unless tickets are off', async (version) => {
    expect(await resumedUnder(await open(0), version)).toMatch(/^Reused, /m);
    expect(await resumedUnder(await open(constants.SSL_OP_NO_TICKET), version)).toMatch(/^New, /m);
  });
});

test.each(['h2', 'http/1.1'])('a client of %s that renegotiates loses its connection', async (protocol) => {
  const { port } = await gateway();
  const socket = connect({
    port,
    host: '127.0.0.1',
    rejectUnauthorized: false,
    maxVersion: 'TLSv1.2',
    ALPNProtocols: [protocol],
    ...pair('alice'),
  });
  socket.on('error', () => {});
  await once(socket, 'secureConnect');
  socket.renegotiate({}, () => {});
  await once(socket.resume(), 'close');
});
