import { once } from 'node:events';
import { type ClientHttp2Session, connect, constants } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { expect, test } from '@jest/globals';
import { ask } from '../support/ask.ts';
import { responseTo } from '../support/http2.ts';
import { type MadeCertificate, makeCertificate } from '../support/made-certificate.ts';
import { pause } from '../support/pause.ts';
import { NO_SPARE, TestClusters } from './clusters.ts';
import { until } from './until.ts';

const clusters = new TestClusters('2');

function tlsFiles(): Record<string, string> {
  const { cert, key } = makeOne();
  return { TLS_CERT: cert, TLS_KEY: key };
}

const makeOne = (): MadeCertificate => makeCertificate(clusters.path('.'), 'gateway', { names: ['DNS:a.test'] });

async function open(url: string): Promise<ClientHttp2Session> {
  const session = connect(url, { servername: 'a.test', rejectUnauthorized: false });
  session.on('error', () => {});
  await once(session, 'connect');
  return session;
}

const fingerprintOf = ({ socket }: ClientHttp2Session) => (socket as TLSSocket).getPeerCertificate().fingerprint256;

async function statusOn(session: ClientHttp2Session, path = '/'): Promise<number> {
  const stream = session.request({ ':path': path });
  stream.on('error', () => {});
  return (await responseTo(stream)).status;
}

/** Clients of HTTP/2 that do what RFC 9113 says about GOAWAY: they go to another connection, and repeat what was not processed. */
class Http2Load {
  readonly statuses = new Map<number, number>();
  readonly lost: string[] = [];
  readonly #running: Promise<void>[];
  #isOver = false;

  constructor(url: string, clients: number, streams: number) {
    this.#running = Array.from({ length: clients }, () => this.#client(url, streams));
  }

  get answered(): number {
    return this.statuses.get(200) ?? 0;
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#running);
  }

  async #client(url: string, streams: number): Promise<void> {
    while (!this.#isOver) {
      const session = await open(url);
      let isLeft = false;
      session.on('goaway', () => {
        isLeft = true;
      });
      const requests = async () => {
        while (!this.#isOver && !isLeft && !session.closed && !session.destroyed) await this.#request(session);
      };
      await Promise.all(Array.from({ length: streams }, requests));
      session.close();
    }
  }

  async #request(session: ClientHttp2Session): Promise<void> {
    const stream = session.request({ ':path': '/slow?ms=20' });
    stream.on('error', () => {});
    const { status, rstCode } = await responseTo(stream);
    if (rstCode === constants.NGHTTP2_REFUSED_STREAM) return;
    if (status === 0 || rstCode !== 0) this.lost.push(`status ${status}, code ${rstCode}`);
    else this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1);
    await pause('the pace of the load', 50);
  }
}

test('HTTP/2 with WORKERS=2: a renewed certificate is for new connections, SIGUSR2 loses no request, and SIGTERM lets running ones end', async () => {
  const { cluster } = await clusters.open({ ...NO_SPARE, ...tlsFiles() });
  const old = await Promise.all(Array.from({ length: 4 }, () => open(cluster.url)));
  const before = fingerprintOf(old[0] as ClientHttp2Session);
  const running = old.map((session) => statusOn(session, '/slow?ms=1500'));
  makeOne();
  await cluster.proc.said(/"msg":"configuration reloaded"/);
  const renewed = await Promise.all(Array.from({ length: 4 }, () => open(cluster.url)));
  expect(new Set(renewed.map(fingerprintOf)).size).toBe(1);
  expect(fingerprintOf(renewed[0] as ClientHttp2Session)).not.toBe(before);
  expect(await Promise.all(running)).toEqual([200, 200, 200, 200]);
  for (const session of [...old, ...renewed]) {
    expect(await statusOn(session)).toBe(200);
    session.close();
  }

  const workers = await cluster.pids();
  const load = new Http2Load(cluster.url, 4, 8);
  await until(() => load.answered > 200);
  cluster.proc.kill('SIGUSR2');
  await cluster.serving(2, workers);
  const { answered } = load;
  await until(() => load.answered > answered + 200);
  await load.stop();
  expect(load.lost).toEqual([]);
  expect([...load.statuses.keys()]).toEqual([200]);

  const sessions = await Promise.all(Array.from({ length: 4 }, () => open(cluster.url)));
  const last = sessions.map((session) => statusOn(session, '/slow?ms=2000'));
  await until(async () => (await ask(`${cluster.adminUrl}/api/backends`)).json.backends[0].inFlight === 4);
  cluster.proc.kill('SIGTERM');
  expect(await Promise.all(last)).toEqual([200, 200, 200, 200]);
  expect(await cluster.proc.exit()).toBe(0);
});
