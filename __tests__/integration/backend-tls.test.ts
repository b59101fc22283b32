import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import type { Server } from 'node:http';
import { createSecureServer } from 'node:http2';
import { createServer, type ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { afterEach, describe, expect, test } from '@jest/globals';
import { GatewayEvents, type RoundRobinProxyOptions, roundRobinProxy } from 'expressway';
import { certificate } from '../support/certificate.ts';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { Http2Backend, respondWithStatus } from '../support/http2-backend.ts';
import { eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const { cert, key } = certificate;

/** A backend over https; says whether the client proved itself. */
async function secureBackend(options: ServerOptions = {}): Promise<number> {
  const server = createServer({ cert, key, ...options }, (req, res) => {
    res.end(String((req.socket as TLSSocket).authorized));
  });
  return cleanup.add(await listen(() => {}, server as unknown as Server)).port;
}

const gatewayTo = async (url: string, more: Partial<RoundRobinProxyOptions> = {}) =>
  cleanup.add(await proxyGateway({ backends: [url], ...more }));

async function refusal(url: string) {
  const response = await fetch(url);
  const { cause } = (await response.json()) as { cause: string };
  return [response.status, cause, response.headers.get('proxy-status')];
}

const UNTRUSTED = [502, 'tls_certificate_error', 'expressway; error=tls_certificate_error'];

describe('backends over https', () => {
  test('an untrusted certificate gets no request', async () => {
    const port = await secureBackend();
    expect(await refusal((await gatewayTo(`https://localhost:${port}`)).url)).toEqual(UNTRUSTED);
  });

  test('tls.ca trusts an authority; the name is still checked, against serverName if set', async () => {
    const port = await secureBackend();
    const trusted = await gatewayTo(`https://localhost:${port}`, { tls: { ca: cert } });
    expect((await fetch(trusted.url)).status).toBe(200);
    const wrong = await gatewayTo(`https://localhost:${port}`, { tls: { ca: cert, serverName: 'other.test' } });
    expect(await refusal(wrong.url)).toEqual(UNTRUSTED);
    const named = await gatewayTo(`https://127.0.0.1:${port}`, { tls: { ca: [cert], serverName: 'api.test' } });
    expect((await fetch(named.url)).status).toBe(200);
  });

  const passphrase = 'right';
  const encrypted = createPrivateKey(key).export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase });
  test.each<[string, NonNullable<RoundRobinProxyOptions['tls']>]>([
    ['tls.cert and tls.key', { cert, key }],
    ['tls.passphrase, which opens tls.key,', { cert, key: encrypted, passphrase }],
  ])('%s authenticate the gateway', async (_name, proof) => {
    const port = await secureBackend({ requestCert: true, rejectUnauthorized: true, ca: cert });
    const known = await gatewayTo(`https://localhost:${port}`, { tls: { ca: cert, ...proof } });
    expect(await (await fetch(known.url)).text()).toBe('true');
  });

  // With TLS 1.3, the refusal comes after the gateway's side of the handshake.
  test.each(
    (['http1', 'http2'] as const).flatMap((protocol) => [
      { protocol, version: 'TLSv1.2' as const },
      { protocol, version: 'TLSv1.3' as const },
    ]),
  )('a backend that refuses the gateway for its certificate has that cause ($protocol, $version)', async (row) => {
    const { protocol, version } = row;
    const errors: string[] = [];
    const events = new GatewayEvents();
    events.on('attemptFailed', ({ outcome }) => {
      if (outcome.kind === 'failed') errors.push(String(outcome.error));
    });
    const options = { requestCert: true, ca: cert, minVersion: version, maxVersion: version };
    const port = await secureBackend({ ...options, ALPNProtocols: ['h2', 'http/1.1'] });
    const gateway = await gatewayTo(`https://localhost:${port}`, {
      protocol,
      events,
      tls: { ca: cert },
      connectTimeoutMs: 30_000,
    });
    expect((await refusal(gateway.url)).slice(0, 2)).toEqual([502, 'tls_protocol_error']);
    expect(errors.join()).toMatch(/alert/);
  });

  test('rejectUnauthorized: false accepts any certificate', async () => {
    const port = await secureBackend();
    const gateway = await gatewayTo(`https://localhost:${port}`, { tls: { rejectUnauthorized: false } });
    expect((await fetch(gateway.url)).status).toBe(200);
  });

  test('a backend that does not speak TLS has an error of its own', async () => {
    const plain = cleanup.add(await listen((_req, res) => res.end()));
    const gateway = await gatewayTo(plain.url.replace('http:', 'https:'));
    expect((await refusal(gateway.url)).slice(0, 2)).toEqual([502, 'tls_protocol_error']);
  });

  test.each<[string, NonNullable<RoundRobinProxyOptions['tls']>, string]>([
    ['with the same authorities and the same proof', { ca: cert, cert, key }, 'healthy'],
    ['and fail where the traffic would', { cert, key }, 'unhealthy'],
    ['and for the same name', { ca: cert, cert, key, serverName: 'other.test' }, 'unhealthy'],
  ])('health checks use TLS %s', async (_name, tls, verdict) => {
    const port = await secureBackend({ requestCert: true, rejectUnauthorized: true, ca: cert });
    const healthCheck = { path: '/healthz', intervalMs: 20, unhealthyIntervalMs: 20 };
    const { proxy } = await gatewayTo(`https://localhost:${port}`, { tls, healthCheck });
    await eventually('there is a verdict', () => proxy.status()[0]?.health === verdict);
  });

  test.each<[string, string | undefined, string]>([
    ['the name of the option', 'api.test', 'healthy'],
    ['the name of the option, which it lacks', 'other.test', 'unhealthy'],
    ['the address in the URL', undefined, 'healthy'],
  ])('health checks over HTTP/2 check the certificate for %s', async (_name, serverName, verdict) => {
    const { url } = cleanup.add(await Http2Backend.start((stream) => respondWithStatus(stream, '0'), { secure: true }));
    const { proxy } = await gatewayTo(url, {
      protocol: 'http2',
      tls: { ca: cert, ...(serverName && { serverName }) },
      healthCheck: { path: '/healthz', intervalMs: 20, unhealthyIntervalMs: 20 },
    });
    await eventually('there is a verdict', () => proxy.status()[0]?.health === verdict);
  });
});

// An address must not be sent as the name of a server (RFC 6066 §3).
test.each(['http1', 'http2'] as const)(
  'requests and health checks reach an IPv6 address over TLS (%s)',
  async (protocol) => {
    const names = new Set<unknown>();
    const server = createSecureServer({ cert, key, allowHTTP1: true }, (_req, res) => void res.end('six'));
    server.on('secureConnection', ({ servername }) => names.add(servername));
    await new Promise<void>((resolve) => server.listen(0, '::1', resolve));
    cleanup.add({ close: () => server.close() });
    const gateway = await gatewayTo(`https://[::1]:${(server.address() as AddressInfo).port}`, {
      protocol,
      tls: { rejectUnauthorized: false },
      healthCheck: { path: '/healthz' },
    });
    expect(await (await fetch(gateway.url)).text()).toBe('six');
    await eventually('it is healthy', () => gateway.proxy.status()[0]?.health === 'healthy');
    expect(names).toEqual(new Set([false]));
  },
);

test('invalid TLS options throw at construction', () => {
  const make = (tls: unknown) => () => roundRobinProxy({ backends: ['https://a'], tls } as never);
  expect(make({ cert })).toThrow(/tls: cert and key must be given together/);
  expect(make({ ca: 'nothing' })).toThrow(/tls: ca has no certificate/);
  expect(make({ ca: '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----' })).toThrow(
    /tls: ca has a damaged certificate/,
  );
  expect(make({ cert, key: 'no key' })).toThrow(/tls: key has no private key/);
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  expect(make({ cert, key: privateKey.export({ type: 'pkcs8', format: 'pem' }) })).toThrow(
    /tls: cert and key: the key does not belong to the certificate/,
  );
  expect(make({ nope: 1, rejectUnauthorized: 'no' })).toThrow(/nope.*rejectUnauthorized/);
});
