import { once } from 'node:events';
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { readConfig } from '../../lib/gateway/config/config.ts';
import { MadeCertificates } from '../support/made-certificate.ts';
import { overHttp1, overHttp2, SECURE_PROTOCOLS } from '../support/secure-ask.ts';
import { TestClusters } from './clusters.ts';
import { closeAll, openBackend, openGateway } from './gateways.ts';
import { until } from './until.ts';

const DAY_MS = 86_400_000;
const clusters = new TestClusters('2');
const certificates = new MadeCertificates();

beforeAll(() => {
  const make = certificates.make.bind(certificates);
  make('a', { names: ['DNS:a.test', 'DNS:aa.test'] });
  make('b', { names: ['DNS:b.test'] });
  for (const name of ['one', 'two']) make(`of ${name}`, { authority: make(name) });
});

afterEach(async () => {
  jest.restoreAllMocks();
  await closeAll();
});

afterAll(() => certificates.remove());

const pair = (name: string) => certificates.pair(name);
const portOf = (url: string) => Number(new URL(url).port);

/** Variables of a gateway with both certificates, and a file of authorities that a test may change. */
function variables(more: Record<string, string> = {}): Record<string, string> {
  const [a, b] = [certificates.files('a'), certificates.files('b')];
  return { TLS_CERT: `${a.cert},${b.cert}`, TLS_KEY: `${a.key},${b.key}`, TLS_CLIENT_CA: trust('one'), ...more };
}

function trust(name: string): string {
  const file = join(certificates.folder, 'clients.pem');
  copyFileSync(certificates.files(name).cert, file);
  return file;
}

async function open(more: Record<string, string> = {}) {
  const backend = await openBackend('one');
  const opened = await openGateway([backend.url], variables(more));
  return { ...opened, port: portOf(opened.url) };
}

describe.each(SECURE_PROTOCOLS)('over %s', (_name, ask) => {
  test('TLS_CLIENT_CERT=require serves those with a certificate, and ends the handshake of all others', async () => {
    const { port, logged } = await open();
    expect(await ask(port, pair('of one'))).toMatchObject({
      status: 200,
      got: { 'x-client-cert-verify': 'SUCCESS', 'x-client-cert-subject': 'CN=of one' },
    });
    await expect(ask(port, {})).rejects.toThrow();
    await expect(ask(port, pair('of two'))).rejects.toThrow();
    const refused = logged
      .filter(({ msg }) => msg === 'client refused')
      .map(({ cause, detail, address }) => [cause, detail, address]);
    expect(refused).toEqual([
      ['client_denied', 'The client has no certificate.', '127.0.0.1'],
      ['client_denied', "The client's certificate is not accepted: UNABLE_TO_VERIFY_LEAF_SIGNATURE.", '127.0.0.1'],
    ]);
  });

  test('TLS_CLIENT_CERT=request serves all, and tells the backend which is which', async () => {
    const { port } = await open({ TLS_CLIENT_CERT: 'request' });
    const forged = { 'X-Client-Cert-Verify': 'SUCCESS', x_client_cert_subject: 'CN=root' };
    const verified = async (tls: object) => {
      const { status, got } = await ask(port, tls, forged);
      return [status, got['x-client-cert-verify'], got['x-client-cert-subject'], got.x_client_cert_subject];
    };
    expect(await verified({})).toEqual([200, 'NONE', undefined, undefined]);
    expect(await verified(pair('of one'))).toEqual([200, 'SUCCESS', 'CN=of one', undefined]);
    expect(await verified(pair('of two'))).toEqual([
      200,
      'FAILED:UNABLE_TO_VERIFY_LEAF_SIGNATURE',
      undefined,
      undefined,
    ]);
  });

  test.each([
    ['a.test', 'aa.test', 200],
    ['a.test', 'unknown.test', 200],
    ['', 'a.test', 200],
    ['a.test', 'b.test', 421],
    ['b.test', 'a.test', 421],
    ['', 'b.test', 421],
    ['b.test', 'b.test', 200],
  ])(
    'a request on a connection to %j for %j gets %i: another certificate of the gateway is another site',
    async (servername, host, status) => {
      const { port } = await open();
      expect((await ask(port, { ...pair('of one'), servername }, { host })).status).toBe(status);
    },
  );
});

test('a changed file of authorities is in force at once, for sessions that are resumed as well', async () => {
  const { port, gateway, logged } = await open({ TLS_CLIENT_CERT: 'request' });
  const socket = connect({
    port,
    host: '127.0.0.1',
    servername: 'a.test',
    rejectUnauthorized: false,
    ...pair('of one'),
  });
  const [session] = await once(socket, 'session');
  socket.destroy();
  trust('two');
  await gateway.reload('SIGHUP');
  const verified = async (tls: object) => (await overHttp1(port, tls)).got['x-client-cert-verify'];
  for (const servername of ['a.test', 'b.test', '']) {
    const host = servername || 'a.test';
    const { got } = await overHttp1(port, { ...pair('of one'), servername }, { host });
    expect(got['x-client-cert-verify']).toBe('FAILED:UNABLE_TO_VERIFY_LEAF_SIGNATURE');
  }
  expect(await verified({ session })).toBe('NONE');
  expect(await verified(pair('of two'))).toBe('SUCCESS');
  trust('one');
  await until(() => logged.some(({ why }) => why === 'a certificate has changed'));
  expect(await verified(pair('of one'))).toBe('SUCCESS');
});

test.each([
  ['no certificate', 'has no certificate in PEM form'],
  ['-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n', 'clients.pem: '],
])('a file of authorities with %j changes nothing at a reload, and fails a start', async (text, problem) => {
  const { port, gateway, logged } = await open();
  const file = trust('one');
  writeFileSync(file, text);
  await gateway.reload('SIGHUP');
  expect(logged).toContainEqual(
    expect.objectContaining({
      msg: 'reload refused: nothing changed',
      problems: [expect.stringContaining(`TLS_CLIENT_CA ${file}`)],
    }),
  );
  expect((await overHttp1(port, pair('of one'))).status).toBe(200);
  const again = openGateway(['http://127.0.0.1:9'], { ...variables(), TLS_CLIENT_CA: writtenTo('bad.pem', text) });
  await expect(again).rejects.toThrow(problem.replace('clients', 'bad'));
});

function writtenTo(name: string, text: string): string {
  const file = join(certificates.folder, name);
  writeFileSync(file, text);
  return file;
}

test('an authority that expires soon is a problem, and one that has expired fails the start', async () => {
  const { gateway } = await open();
  const now = Date.now();
  const titles = () => (gateway.status() as { problems: { title: string }[] }).problems.map(({ title }) => title);
  jest.spyOn(Date, 'now').mockImplementation(() => now + 80 * DAY_MS);
  await until(() => titles().includes('the certificate for CN=one expires in 9 days'));
  jest.spyOn(Date, 'now').mockImplementation(() => now + 100 * DAY_MS);
  await expect(open()).rejects.toThrow(/clients.pem: all of its certificates have expired/);
});

test('the variables: TLS_CLIENT_CA needs TLS_CERT, and TLS_CLIENT_CERT is require or request', () => {
  expect(() => readConfig({ TLS_CLIENT_CA: 'a' })).toThrow(/^TLS_CLIENT_CA: needs TLS_CERT and TLS_KEY/);
  expect(() => readConfig({ TLS_CLIENT_CERT: 'on' })).toThrow(/^TLS_CLIENT_CERT: must be one of require, request/);
});

test('each worker asks, follows the file, and keeps asking when the variable goes', async () => {
  const env = variables({ TLS_CLIENT_CERT: 'request' });
  clusters.writeEnv(`TLS_CLIENT_CA=${env.TLS_CLIENT_CA}\n`);
  const { cluster } = await clusters.open(env);
  const verified = async (name: string) => {
    const all = [];
    for (let i = 0; i < 4; i += 1) {
      const ask = i % 2 === 0 ? overHttp1 : overHttp2;
      all.push((await ask(portOf(cluster.url), pair(name))).got['x-client-cert-verify']);
    }
    return [...new Set(all)].join();
  };
  expect(await verified('of one')).toBe('SUCCESS');
  trust('two');
  await until(async () => (await verified('of two')) === 'SUCCESS', 20_000);
  expect(await verified('of one')).toBe('FAILED:UNABLE_TO_VERIFY_LEAF_SIGNATURE');
  clusters.writeEnv('LOG_LEVEL=info\n');
  cluster.proc.kill('SIGHUP');
  await cluster.proc.said(/needs a restart: TLS_CLIENT_CA/);
  expect(await verified('of one')).toBe('FAILED:UNABLE_TO_VERIFY_LEAF_SIGNATURE');
});
