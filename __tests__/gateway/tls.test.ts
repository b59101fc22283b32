import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect as connectHttp2, type Settings } from 'node:http2';
import { request } from 'node:https';
import { connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { ConfigError, readConfig } from '../../lib/gateway/config/config.ts';
import { certificate } from '../support/certificate.ts';
import { Http2Client } from '../support/http2.ts';
import { closeAll, openBackend, openGateway } from './gateways.ts';
import { until } from './until.ts';

let folder: string;
let files: { TLS_CERT: string; TLS_KEY: string };

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'expressway-tls-'));
  files = { TLS_CERT: join(folder, 'cert.pem'), TLS_KEY: join(folder, 'key.pem') };
  writeFileSync(files.TLS_CERT, certificate.cert);
  writeFileSync(files.TLS_KEY, certificate.key);
});

afterEach(async () => {
  await closeAll();
  rmSync(folder, { recursive: true });
});

async function connected(url: string): Promise<TLSSocket> {
  const socket = connect({ port: Number(new URL(url).port), host: '127.0.0.1', rejectUnauthorized: false });
  socket.on('error', () => {});
  await once(socket, 'secureConnect');
  return socket;
}

async function answerOn(socket: TLSSocket, path = '/'): Promise<string> {
  socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  const [chunk] = (await once(socket, 'data')) as [Buffer];
  return chunk.toString().split('\r\n')[0] as string;
}

describe('HTTP2', () => {
  test.each([
    [{}, 'h2', ['h2', 'http/1.1']],
    [{ HTTP2: 'off' }, 'http/1.1', ['h2', 'http/1.1']],
    [{}, 'http/1.0', ['http/1.0']],
    [{ HTTP2: 'off' }, 'http/1.0', ['http/1.0']],
  ])('%j: agrees on %s with clients that offer %j', async (more, protocol, ALPNProtocols) => {
    const backend = await openBackend('one');
    const { url } = await openGateway([backend.url], { ...files, ...more });
    const socket = connect({
      port: Number(new URL(url).port),
      host: '127.0.0.1',
      rejectUnauthorized: false,
      ALPNProtocols,
    });
    await once(socket, 'secureConnect');
    expect(socket.alpnProtocol).toBe(protocol);
    socket.destroy();
  });

  test.each([
    [{}, 100],
    [{ HTTP2_MAX_CONCURRENT_STREAMS: '7' }, 7],
  ])('%j: a connection may have %d requests in progress', async (more, expected) => {
    const backend = await openBackend('one');
    const { url } = await openGateway([backend.url], { ...files, ...more });
    const session = connectHttp2(url, { rejectUnauthorized: false });
    const [{ maxConcurrentStreams }] = (await once(session, 'remoteSettings')) as [Settings];
    session.destroy();
    expect(maxConcurrentStreams).toBe(expected);
  });

  test('requests of HTTP/2 pass the limiter, and reach the backend as https', async () => {
    const backend = await openBackend('one');
    const { url } = await openGateway([backend.url], { ...files, RATE_LIMIT_MAX: '2' });
    const client = new Http2Client(Number(new URL(url).port));
    const responses = [];
    for (let i = 0; i < 3; i += 1) responses.push(await client.request());
    client.close();
    expect(responses.map(({ status }) => status)).toEqual([200, 200, 429]);
    expect(JSON.parse(responses[0]?.content.toString() ?? '').headers['x-forwarded-proto']).toBe('https');
  });
});

describe('TLS_CERT and TLS_KEY', () => {
  test('make the gateway serve HTTPS, and send X-Forwarded-Proto: https', async () => {
    const backend = await openBackend('one');
    const { url } = await openGateway([backend.url], files);
    expect(url).toMatch(/^https:/);
    const facts = await new Promise<{ headers: Record<string, string> }>((resolve, reject) => {
      request(url, { ca: certificate.cert, servername: 'localhost' }, (res) => {
        let text = '';
        res.setEncoding('utf8').on('data', (part: string) => {
          text += part;
        });
        res.on('end', () => resolve(JSON.parse(text)));
      })
        .on('error', reject)
        .end();
    });
    expect(facts.headers['x-forwarded-proto']).toBe('https');
  });

  test('are reloaded by reload(): new connections get the new certificate, open ones stay, bad files change nothing', async () => {
    const backend = await openBackend('one');
    const { gateway, url, logged } = await openGateway([backend.url], files);
    const old = await connected(url);
    const before = old.getPeerCertificate().fingerprint256;

    writeFileSync(files.TLS_CERT, 'nothing of use');
    await gateway.reload('SIGHUP');
    expect(logged).toContainEqual(expect.objectContaining({ level: 'error', msg: 'reload refused: nothing changed' }));
    const still = await connected(url);
    expect(still.getPeerCertificate().fingerprint256).toBe(before);
    still.destroy();

    const subject = [
      '-subj',
      '/CN=localhost',
      '-days',
      '2',
      '-nodes',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
    ];
    execFileSync('openssl', ['req', '-x509', ...subject, '-keyout', files.TLS_KEY, '-out', files.TLS_CERT], {
      stdio: 'ignore',
    });
    await gateway.reload('SIGHUP');
    const renewed = await connected(url);
    expect(renewed.getPeerCertificate().fingerprint256).not.toBe(before);
    expect(await answerOn(old)).toBe('HTTP/1.1 200 OK');
    expect(await answerOn(renewed)).toBe('HTTP/1.1 200 OK');
    old.destroy();
    renewed.destroy();
  });

  test('H02: shutdown waits for a running response, and only for the grace period for idle connections and unfinished handshakes', async () => {
    const backend = await openBackend('one');
    const { gateway, url } = await openGateway([backend.url], files);
    const idle = await connected(url);
    const silent = connectTcp(Number(new URL(url).port), '127.0.0.1').on('error', () => {});
    await once(silent, 'connect');
    const busy = await connected(url);
    let text = '';
    busy.on('data', (chunk) => {
      text += chunk;
    });
    busy.write('GET /slow?ms=3000 HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await until(
      () => gateway.status() && (gateway.status() as { backends: { inFlight: number }[] }).backends[0]?.inFlight === 1,
    );
    const gone = [once(idle.resume(), 'close'), once(silent.resume(), 'close')];
    const closing = gateway.close();
    await Promise.all(gone);
    expect(text).toBe('');
    await closing;
    await until(() => text.startsWith('HTTP/1.1 200 OK'));
    expect(text).toMatch(/\r\nconnection: close\r\n/i);
  });

  test('fail the start with the reason when they cannot be used', async () => {
    expect(() => readConfig({ TLS_CERT: files.TLS_CERT, BACKEND_KEY: 'x' })).toThrow(ConfigError);
    expect(() => readConfig({ TLS_CERT: files.TLS_CERT, BACKEND_KEY: 'x' })).toThrow(/TLS_CERT.*\n.*BACKEND_CERT/);
    await expect(openGateway([], { ...files, BACKENDS: '', TLS_KEY: join(folder, 'none') })).rejects.toThrow(
      /TLS_KEY .*no such file/,
    );
    writeFileSync(files.TLS_KEY, 'nothing');
    await expect(openGateway([], { ...files, BACKENDS: '' })).rejects.toThrow(/TLS_KEY .*no private key/);
    await expect(openGateway([], { BACKENDS: '', BACKEND_CA: join(folder, 'none') })).rejects.toThrow(
      /BACKEND_CA .*no such file/,
    );
  });
});
