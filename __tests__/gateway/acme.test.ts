import type { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { beforeEach, describe, expect, test } from '@jest/globals';
import { type Authorization, crypto } from 'acme-client';
import { readConfig } from '../../lib/gateway/config/config.ts';
import { ask } from '../support/ask.ts';
import { makeCertificate } from '../support/made-certificate.ts';
import { describeWithPebble, Pebble } from '../support/pebble.ts';
import { RedisServer } from '../support/redis.ts';
import { closedPort } from '../support/servers.ts';
import { type Cluster, NO_SPARE, TestClusters } from './clusters.ts';
import { until } from './until.ts';

const clusters = new TestClusters('1');

const variables = (pebble: Pebble, more: Readonly<Record<string, string>> = {}) => ({
  NODE_EXTRA_CA_CERTS: pebble.ca,
  ACME_DIRECTORY_URL: pebble.directoryUrl,
  ACME_FOLDER: clusters.path('acme'),
  PORT: String(pebble.tlsPort),
  ...more,
});

const folderOf = (pebble: Pebble, root = 'acme') =>
  clusters.path(join(root, new URL(pebble.directoryUrl).host.replace(':', '-')));

/** The certificate that a client gets which asks for a name; nothing where the handshake fails. */
async function given(url: string, servername: string, more: object = {}) {
  const port = Number(new URL(url).port);
  const socket = connect({ port, host: '127.0.0.1', servername, rejectUnauthorized: false, ...more });
  try {
    await once(socket, 'secureConnect');
    return socket.getPeerX509Certificate();
  } catch {
    return undefined;
  } finally {
    socket.destroy();
  }
}

async function issued(url: string, name: string): Promise<X509Certificate> {
  let found: X509Certificate | undefined;
  await until(async () => {
    found = await given(url, name);
    return found?.issuer.includes('Pebble') === true && found.checkHost(name) === name;
  });
  return found as X509Certificate;
}

const problems = async ({ adminUrl }: Cluster): Promise<{ problem: string; subject: string; text: string }[]> =>
  (await ask(`${adminUrl}/status`)).json.problems;

describeWithPebble('a certificate for each name of ACME_DOMAINS', (pebble) => {
  test('comes by tls-alpn-01, over the port of the gateway alone', async () => {
    const { cluster } = await clusters.open(variables(pebble, { ACME_DOMAINS: 'a.example.com, b.example.com' }));
    await issued(cluster.url, 'a.example.com');
    await issued(cluster.url, 'b.example.com');
    const folder = folderOf(pebble);
    expect(readdirSync(folder).sort()).toEqual([
      'a.example.com.pem',
      'account.json',
      'b.example.com.pem',
      'challenges',
      'locks',
    ]);
    expect([...readdirSync(join(folder, 'challenges')), ...readdirSync(join(folder, 'locks'))]).toEqual([]);
    for (const file of ['a.example.com.pem', 'account.json']) {
      expect(statSync(join(folder, file)).mode & 0o777).toBe(0o600);
    }
  });

  test('comes by http-01, over HTTP_REDIRECT_PORT, from every worker', async () => {
    const http = { ACME_CHALLENGE: 'http-01', HTTP_REDIRECT_PORT: String(pebble.httpPort), WORKERS: '2', ...NO_SPARE };
    const { cluster } = await clusters.open(variables(pebble, { ACME_DOMAINS: 'a.example.com', ...http }));
    await issued(cluster.url, 'a.example.com');
    const unknown = await ask(`http://127.0.0.1:${pebble.httpPort}/.well-known/acme-challenge/abc`);
    expect(unknown.status).toBe(308);
  });

  test('comes by tls-alpn-01 with workers', async () => {
    const { cluster } = await clusters.open(
      variables(pebble, { ACME_DOMAINS: 'a.example.com', WORKERS: '2', ...NO_SPARE }),
    );
    await issued(cluster.url, 'a.example.com');
  });

  test('is kept over a restart, and renewed when it has expired', async () => {
    const env = variables(pebble, { ACME_DOMAINS: 'a.example.com' });
    const { cluster } = await clusters.open(env);
    const first = await issued(cluster.url, 'a.example.com');
    cluster.proc.kill('SIGTERM');
    expect(await cluster.proc.exit()).toBe(0);
    const again = await clusters.start({ BACKENDS: 'http://127.0.0.1:9', ...env });
    expect((await given(again.url, 'a.example.com'))?.fingerprint256).toBe(first.fingerprint256);
    again.proc.kill('SIGTERM');
    await again.proc.exit();

    // It ends the moment it begins.
    const authorization = { identifier: { type: 'dns', value: 'a.example.com' } } as Authorization;
    const expired = await crypto.createAlpnCertificate(authorization, '', await crypto.createPrivateEcdsaKey());
    writeFileSync(join(folderOf(pebble), 'a.example.com.pem'), expired.join('\n'));
    const renewing = await clusters.start({ BACKENDS: 'http://127.0.0.1:9', ...env });
    expect((await issued(renewing.url, 'a.example.com')).fingerprint256).not.toBe(first.fingerprint256);
  });

  test('comes for a name that a reload adds', async () => {
    clusters.writeEnv('ACME_DOMAINS=a.example.com\n');
    const { cluster } = await clusters.open(
      variables(pebble, { ACME_DOMAINS: 'a.example.com', EXPRESSWAY_ENV_PROPER: '' }),
    );
    await issued(cluster.url, 'a.example.com');
    clusters.writeEnv('ACME_DOMAINS=a.example.com,later.example.com\n');
    cluster.proc.kill('SIGHUP');
    await issued(cluster.url, 'later.example.com');
  });

  test('comes from an authority that asks for an account of its own', async () => {
    const strict = new Pebble();
    const key = 'zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W';
    await strict.start({ 'kid-1': key });
    try {
      const more = { ACME_DOMAINS: 'a.example.com', ACME_EMAIL: 'ops@example.com', ACME_EAB: `kid-1:${key}` };
      const { cluster } = await clusters.open(variables(strict, more));
      await issued(cluster.url, 'a.example.com');
      expect(cluster.proc.stdout).not.toContain(key);
    } finally {
      await strict.stop();
    }
  });

  test('that the authority refuses is a problem which says why, and keeps no other name from having one', async () => {
    await pebble.setFault('lost.example.com', 'set-servfail');
    const { cluster } = await clusters.open(variables(pebble, { ACME_DOMAINS: 'lost.example.com,a.example.com' }));
    await issued(cluster.url, 'a.example.com');
    expect(await given(cluster.url, 'lost.example.com')).not.toMatchObject({ subjectAltName: 'DNS:lost.example.com' });
    await until(async () => (await problems(cluster)).some(({ problem }) => problem === 'certificate_not_issued'));
    expect(await problems(cluster)).toContainEqual(
      expect.objectContaining({
        problem: 'certificate_not_issued',
        subject: 'lost.example.com',
        text: expect.stringMatching(/Could not resolve .*There is none yet\. Next attempt: \d{4}-/),
      }),
    );
    await cluster.proc.said(/"msg":"certificate not issued"/);
  });

  test('is the same for gateways that share a Redis, and any of them proves what another one orders', async () => {
    const redis = new RedisServer();
    await redis.start();
    try {
      const shared = { ACME_REDIS: 'on', REDIS_URL: redis.url };
      const { cluster: reached } = await clusters.open(variables(pebble, { ACME_DOMAINS: 'a.example.com', ...shared }));
      const own = { ACME_FOLDER: clusters.path('other'), PORT: '0' };
      const { cluster: other } = await clusters.open({
        ...variables(pebble, { ACME_DOMAINS: 'a.example.com,b.example.com', ...shared }),
        ...own,
      });
      const [one, same] = [await issued(reached.url, 'a.example.com'), await issued(other.url, 'a.example.com')];
      expect(same.fingerprint256).toBe(one.fingerprint256);
      await issued(other.url, 'b.example.com');
    } finally {
      await redis.kill();
    }
  });
});

describe('while a gateway awaits its first certificate', () => {
  let port: number;
  const start = () =>
    clusters.open({
      ACME_DOMAINS: 'a.example.com',
      ACME_DIRECTORY_URL: `https://127.0.0.1:${port}/dir`,
      ACME_FOLDER: clusters.path('acme'),
    });

  beforeEach(async () => {
    port = await closedPort();
  });

  test('it starts, fails handshakes, and says that the authority cannot be reached', async () => {
    const { cluster } = await start();
    expect(await given(cluster.url, 'a.example.com')).toBeUndefined();
    const text =
      /^No new certificate for a\.example\.com: the authority cannot be reached: connect ECONNREFUSED [\d.:]+\. There is none yet/;
    // On a busy machine there are others.
    await until(async () => (await problems(cluster)).some((one) => text.test(one.text ?? '')));
  });

  test('connections get as far as with any other certificate, however their first bytes come', async () => {
    const folder = clusters.path(`acme/127.0.0.1-${port}`);
    mkdirSync(folder, { recursive: true });
    const { cert, key } = makeCertificate(clusters.path(''), 'a', { names: ['DNS:a.example.com'] });
    writeFileSync(join(folder, 'a.example.com.pem'), readFileSync(key, 'utf8') + readFileSync(cert, 'utf8'));
    const { cluster } = await start();
    expect((await given(cluster.url, 'a.example.com'))?.subjectAltName).toBe('DNS:a.example.com');
    const served = Number(new URL(cluster.url).port);
    const relay = connectTcp(served, '127.0.0.1');
    // Each byte travels by itself.
    relay.setNoDelay(true);
    const write = relay.write.bind(relay);
    relay.write = ((data: Buffer, ...rest: never[]) => {
      for (const byte of data) write(Buffer.of(byte));
      const done = rest.find((one) => typeof one === 'function') as (() => void) | undefined;
      done?.();
      return true;
    }) as typeof relay.write;
    const slow = connect({ socket: relay, servername: 'a.example.com', rejectUnauthorized: false });
    await once(slow, 'secureConnect');
    slow.destroy();
    const plain = connectTcp(served, '127.0.0.1').on('error', () => {});
    plain.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    plain.resume();
    await once(plain, 'close');
    // A challenge that nobody has begun.
    expect(await given(cluster.url, 'a.example.com', { ALPNProtocols: ['acme-tls/1'] })).toBeUndefined();
    expect((await given(cluster.url, 'a.example.com'))?.subjectAltName).toBe('DNS:a.example.com');
  });
});

test.each<[Record<string, string>, string]>([
  [{ ACME_DOMAINS: '*.example.com' }, 'ACME_DOMAINS: must have no wildcards'],
  [{ ACME_DOMAINS: '192.0.2.1' }, 'ACME_DOMAINS: must be a list of DNS names'],
  [{ ACME_DOMAINS: 'localhost' }, 'ACME_DOMAINS: must be a list of DNS names'],
  [{ ACME_DOMAINS: 'a.example.com/x' }, 'ACME_DOMAINS: must be a list of DNS names'],
  [{ ACME_DOMAINS: 'a.example.com, A.example.com' }, 'ACME_DOMAINS: must have each name once'],
  [{ ACME_DOMAINS: 'a.example.com', ACME_CHALLENGE: 'http-01' }, 'ACME_CHALLENGE: http-01 needs HTTP_REDIRECT_PORT'],
  [{ ACME_DOMAINS: 'a.example.com', ACME_CHALLENGE: 'dns-01' }, 'ACME_CHALLENGE: must be one of'],
  [{ ACME_DOMAINS: 'a.example.com', ACME_REDIS: 'on' }, 'ACME_REDIS: needs REDIS_URL'],
  [{ ACME_DOMAINS: 'a.example.com', ACME_DIRECTORY_URL: 'http://a' }, 'ACME_DIRECTORY_URL: must be an https URL'],
  [{ ACME_DOMAINS: 'a.example.com', ACME_EMAIL: 'me' }, 'ACME_EMAIL: must be an email address'],
  [{ ACME_EAB: 'me' }, 'ACME_EAB: must be an identifier, a colon, and a key in base64url'],
])('%j is a mistake', (env, problem) => {
  expect(() => readConfig(env)).toThrow(problem);
});

test('names are compared as they travel: in lower case, and in ASCII', () => {
  const { acme, tls } = readConfig({ ACME_DOMAINS: 'API.Example.com, bücher.example' });
  expect(acme?.domains).toEqual(['api.example.com', 'xn--bcher-kva.example']);
  const file = 'acme/acme-v02.api.letsencrypt.org/api.example.com.pem';
  expect(tls?.[0]).toEqual({ cert: file, key: file, isAwaited: true });
});
