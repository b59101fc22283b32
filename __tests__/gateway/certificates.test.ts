import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { readConfig } from '../../lib/gateway/config/config.ts';
import { LOOK_EVERY_MS } from '../../lib/observability/problems/problem-monitor.ts';
import { ask } from '../support/ask.ts';
import { type MadeCertificate, makeCertificate } from '../support/made-certificate.ts';
import { pause } from '../support/pause.ts';
import { TestClusters } from './clusters.ts';
import { closeAll, openBackend, openGateway } from './gateways.ts';
import { until } from './until.ts';

const DAY_MS = 86_400_000;
const clusters = new TestClusters('2');
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'expressway-certificates-'));
});

afterEach(async () => {
  jest.restoreAllMocks();
  await closeAll();
  rmSync(folder, { recursive: true });
});

const make = (file: string, names: readonly string[], days?: number) =>
  makeCertificate(folder, file, { names, ...(days && { days }) });

const listed = (...pairs: readonly MadeCertificate[]) => ({
  TLS_CERT: pairs.map(({ cert }) => cert).join(),
  TLS_KEY: pairs.map(({ key }) => key).join(),
});

/** The common name of the certificate that a client gets which asks for a name, or for none. */
async function given(url: string, servername = '', more: object = {}): Promise<string> {
  const port = Number(new URL(url).port);
  const socket = connect({ port, host: '127.0.0.1', servername, rejectUnauthorized: false, ...more });
  await once(socket, 'secureConnect');
  const { subject } = socket.getPeerCertificate();
  socket.destroy();
  return String(subject.CN);
}

const fingerprint = ({ cert }: MadeCertificate) => new X509Certificate(readFileSync(cert)).fingerprint256;

async function fingerprintAt(url: string): Promise<string> {
  const socket = connect({ port: Number(new URL(url).port), host: '127.0.0.1', rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const { fingerprint256 } = socket.getPeerCertificate();
  socket.destroy();
  return fingerprint256;
}

describe('several certificates', () => {
  test('each client gets the one for the name that it asks for, and the first for any other', async () => {
    const backend = await openBackend('one');
    const first = make('first', ['DNS:first.test', 'DNS:exact.wild.test']);
    const second = make('second', ['DNS:Second.test', 'IP:127.0.0.1']);
    const wild = make('wild', ['DNS:*.wild.test']);
    const { url } = await openGateway([backend.url], listed(first, second, wild));
    const got: Record<string, string> = {};
    for (const name of [
      '',
      'first.test',
      'second.test',
      'SECOND.test',
      'a.wild.test',
      'exact.wild.test',
      'b.a.wild.test',
      'wild.test',
      'unknown.test',
    ]) {
      got[name] = await given(url, name);
    }
    expect(got).toEqual({
      '': 'first',
      'first.test': 'first',
      'second.test': 'second',
      'SECOND.test': 'second',
      'a.wild.test': 'wild',
      'exact.wild.test': 'first',
      'b.a.wild.test': 'first',
      'wild.test': 'first',
      'unknown.test': 'first',
    });
    expect(await given(url, 'second.test', { maxVersion: 'TLSv1.2' })).toBe('second');
  });

  test('HTTP/2 works with each', async () => {
    const backend = await openBackend('one');
    const [first, second] = [make('first', ['DNS:first.test']), make('second', ['DNS:second.test'])];
    const { url } = await openGateway([backend.url], listed(first, second));
    for (const [name, { cert }] of Object.entries({ first, second })) {
      const session = connectHttp2(`https://127.0.0.1:${new URL(url).port}`, {
        servername: `${name}.test`,
        ca: readFileSync(cert),
      });
      const [headers] = await once(session.request({ ':path': '/' }), 'response');
      expect(headers[':status']).toBe(200);
      session.destroy();
    }
  });

  test('a reload takes all certificates, or keeps all old ones', async () => {
    const backend = await openBackend('one');
    const pairs = [make('first', ['DNS:first.test']), make('second', ['DNS:second.test'])];
    const { url, gateway, logged } = await openGateway([backend.url], listed(...pairs));
    make('first', ['DNS:first.test', 'DNS:more.test']);
    make('second', ['DNS:second.test', 'DNS:first.test']);
    await gateway.reload('SIGHUP');
    expect(logged).toContainEqual(
      expect.objectContaining({
        msg: 'reload refused: nothing changed',
        problems: [`TLS_CERT ${pairs[1]?.cert}: ${pairs[0]?.cert} is for first.test as well`],
      }),
    );
    expect(await given(url, 'second.test')).toBe('second');
    make('second', ['DNS:more.example']);
    await gateway.reload('SIGHUP');
    expect(await given(url, 'more.example')).toBe('second');
    expect(await given(url, 'second.test')).toBe('first');
  });

  test('a changed file is read again without a signal', async () => {
    const backend = await openBackend('one');
    const pairs = [make('first', ['DNS:first.test']), make('second', ['DNS:second.test'])];
    const { url, logged } = await openGateway([backend.url], listed(...pairs));
    make('second', ['DNS:second.test', 'DNS:new.test']);
    await until(async () => (await given(url, 'new.test')) === 'second');
    expect(logged).toContainEqual(
      expect.objectContaining({ msg: 'configuration reloaded', why: 'a certificate has changed' }),
    );
  });

  test('all workers get a changed file; if one file is invalid, all keep the old ones', async () => {
    const pairs = [make('first', ['DNS:first.test']), make('second', ['DNS:second.test'])];
    const { cluster } = await clusters.open(listed(...pairs));
    const before = fingerprint(pairs[0] as MadeCertificate);
    make('first', ['DNS:first.test', 'DNS:second.test']);
    await cluster.proc.said(/"msg":"reload refused: nothing changed"/);
    for (let i = 0; i < 6; i += 1) expect(await fingerprintAt(cluster.url)).toBe(before);
    const renewed = make('first', ['DNS:first.test']);
    await cluster.proc.said(/"msg":"configuration reloaded"/);
    for (let i = 0; i < 6; i += 1) expect(await fingerprintAt(cluster.url)).toBe(fingerprint(renewed));
  });
});

describe('certificates that cannot be used fail the start', () => {
  const start = (...pairs: readonly MadeCertificate[]) => openGateway(['http://127.0.0.1:9'], listed(...pairs));

  test('with a key of another', async () => {
    const [one, other] = [make('one', ['DNS:one.test']), make('other', ['DNS:other.test'])];
    await expect(start(one, { ...other, key: one.key })).rejects.toThrow(/TLS_CERT .*other.pem with TLS_KEY .*one.key/);
  });

  test('with a name that another has, or without a name', async () => {
    const [one, two] = [make('one', ['DNS:a.test']), make('two', ['DNS:b.test', 'DNS:a.test'])];
    await expect(start(one, two)).rejects.toThrow(/two.pem: .*one.pem is for a.test as well/);
    await expect(start(one, make('none', []))).rejects.toThrow(/none.pem: has no DNS name/);
    await start(make('none', []), one);
  });

  test('with other numbers of certificates and keys', () => {
    expect(() => readConfig({ TLS_CERT: 'a,b', TLS_KEY: 'a' })).toThrow(
      'TLS_KEY: must have as many files as TLS_CERT, 2, got 1',
    );
    expect(readConfig({ TLS_CERT: 'a, b', TLS_KEY: 'c, d' }).tls).toEqual([
      { cert: 'a', key: 'c' },
      { cert: 'b', key: 'd' },
    ]);
  });

  test('when all have expired', async () => {
    const [one, two] = [make('one', ['DNS:a.test'], 1), make('two', ['DNS:b.test'], 30)];
    const now = Date.now();
    jest.spyOn(Date, 'now').mockReturnValue(now + 2 * DAY_MS);
    await start(one, two);
    await expect(start(one)).rejects.toThrow(/one.pem: has expired, \d{4}-\d\d-\d\d/);
  });
});

test('with workers, a certificate that expires soon is one warning of the log', async () => {
  const { cluster } = await clusters.open(listed(make('soon', ['DNS:soon.test'], 5)));
  const warnings = () => cluster.proc.stdout.split('\n').filter((line) => line.includes('certificate_expiring'));
  await until(() => warnings().length > 0);
  // All processes look at the same interval: by then, each of them has looked.
  await pause('two looks of each process', 2 * LOOK_EVERY_MS);
  expect(warnings().filter((line) => line.includes('"worker":'))).toEqual([]);
  const { problems } = (await ask(`${cluster.adminUrl}/api/status`)).json;
  expect(problems.map(({ problem }: { problem: string }) => problem)).toContain('certificate_expiring');
});

test('a certificate that expires soon, or has expired, is a problem until it is renewed', async () => {
  const pairs = [make('soon', ['DNS:soon.test'], 5), make('late', ['DNS:late.test'], 90)];
  const { gateway, logged } = await openGateway(['http://127.0.0.1:9'], listed(...pairs));
  const texts = () =>
    (gateway.status() as { problems: { problem: string; title: string }[] }).problems
      .filter(({ problem }) => problem === 'certificate_expiring')
      .map(({ title }) => title);
  await until(() => texts().length > 0);
  expect(texts()).toEqual(['the certificate for soon.test expires in 4 days']);
  await until(() => logged.some(({ problem }) => problem === 'certificate_expiring'));
  make('soon', ['DNS:soon.test'], 90);
  await gateway.reload('SIGHUP');
  await until(() => texts().length === 0);
});
