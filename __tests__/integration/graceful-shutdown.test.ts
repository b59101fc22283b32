import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { type RawData, WebSocket } from 'ws';
import { closeAll, openBackend } from '../gateway/gateways.ts';
import { endAll, Proc } from '../gateway/proc.ts';
import { until } from '../gateway/until.ts';
import { ask } from '../support/ask.ts';
import { RawClient } from '../support/raw-client.ts';
import { RecorderBackend } from '../support/recorder-backend.ts';
import { accepts } from '../support/servers.ts';
import { rawTunnel, SWITCHING } from '../support/tunnels.ts';

const ANY_PORT = { HOST: '127.0.0.1', PORT: '0', ADMIN_PORT: '0' };
const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

const closers: (() => unknown)[] = [];

afterEach(async () => {
  await endAll();
  for (const close of closers.splice(0)) await close();
  await closeAll();
});

/** The example gateway, as a process, and what a test asks of it. */
async function start(backend: string, env: Readonly<Record<string, string>> = {}) {
  const proc = new Proc('server.ts', { ...ANY_PORT, BACKENDS: backend, ...env });
  const url = await proc.said(/"url":"([^"]+)"/);
  const adminUrl = await proc.said(/"adminUrl":"([^"]+)"/);
  const port = Number(new URL(url).port);
  const inFlight = async () => (await ask(`${adminUrl}/status`)).json.backends[0].inFlight;
  return {
    proc,
    url,
    port,
    readiness: async () => (await ask(`${adminUrl}/readyz`)).status,
    running: (count: number) => until(async () => (await inFlight()) === count),
    refuses: () => until(async () => !(await accepts(port))),
  };
}

async function connectTo(port: number): Promise<RawClient> {
  const client = await RawClient.connect(port);
  closers.push(() => client.close());
  return client;
}

describe('SIGTERM', () => {
  test('lets a slow request, a finite event stream, a kept connection and a half-sent head complete', async () => {
    const { url: backend } = await openBackend('one');
    const { proc, url, port, running, refuses } = await start(backend);
    const [kept, half] = [await connectTo(port), await connectTo(port)];
    kept.send(GET);
    expect((await kept.response()).field('connection')).toBe('keep-alive');
    half.send('GET / HTTP/1.1\r\nHo');
    const slow = ask(`${url}/slow?ms=1500`);
    const stream = ask(`${url}/stream`);
    await running(2);
    proc.kill('SIGTERM');
    await refuses();
    kept.send(GET);
    half.send('st: a\r\n\r\n');
    for (const client of [kept, half]) {
      const { status, fields } = await client.response();
      expect([status, fields]).toEqual([200, expect.arrayContaining([['connection', 'close']])]);
    }
    expect(await slow).toMatchObject({ status: 200, headers: { connection: 'close' } });
    expect((await stream).text.match(/^id: /gm)).toHaveLength(5);
    expect(await proc.exit()).toBe(0);
    expect(proc.stdout).not.toContain('"level":"warn"');
  });

  test('at the deadline flushes and closes WebSockets, ends event streams, resets requests, and exits with 0', async () => {
    const silent = await RecorderBackend.start((connection, { target }) => {
      if (target === '/events') {
        connection.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: one\n\n');
      } else if (target === '/stuck') {
        connection.pause().write(SWITCHING);
      }
    });
    closers.push(() => silent.close());
    const { url: backend } = await openBackend('one');
    // Long enough for an echo, and for its end, on a busy machine.
    const env = { SHUTDOWN_TIMEOUT_MS: '7000', LOAD_BALANCING: 'round-robin' };
    const webSockets = await start(backend, env);
    const requests = await start(silent.url, env);
    const socket = new WebSocket(webSockets.url.replace('http', 'ws'));
    closers.push(() => socket.terminate());
    await once(socket, 'open');
    const [waits, streams] = [await connectTo(requests.port), await connectTo(requests.port)];
    // The backend does not read, so the gateway still has bytes for it at the deadline.
    const floods = await rawTunnel(requests.port, '/stuck');
    closers.push(() => floods.close());
    floods.socket.write(Buffer.alloc(64 * 1_048_576));
    waits.send(GET);
    streams.send('GET /events HTTP/1.1\r\nHost: a\r\n\r\n');
    await streams.until((bytes) => bytes.includes('data: one'));
    await requests.running(3);

    const closed = once(socket, 'close');
    webSockets.proc.kill('SIGTERM');
    requests.proc.kill('SIGTERM');
    await webSockets.refuses();
    const echoed = once(socket, 'message') as Promise<[RawData]>;
    socket.send('still here');
    expect(String((await echoed)[0])).toBe('one: still here');
    // 1006: closed without a word in its own protocol, which only its two ends speak.
    expect((await closed)[0]).toBe(1006);
    expect((await streams.response()).framingComplete).toBe(true);
    await waits.closed();
    expect(waits.closedBy).toBe('ECONNRESET');
    expect([await webSockets.proc.exit(), await requests.proc.exit()]).toEqual([0, 0]);
    expect(webSockets.proc.stdout).toMatch(
      /"level":"warn".*"requests":0,"streams":0,"upgrades":1,"msg":"shutdown time/,
    );
    expect(requests.proc.stdout).toMatch(/"level":"warn".*"requests":1,"streams":1,"upgrades":1,"msg":"shutdown time/);
  });

  test('is not ready during SHUTDOWN_LEAD_MS, but serves everything, new connections included', async () => {
    const { url: backend } = await openBackend('one');
    const { proc, url, readiness, refuses } = await start(backend, {
      SHUTDOWN_LEAD_MS: '7000',
      SHUTDOWN_TIMEOUT_MS: '30000',
    });
    expect(await readiness()).toBe(200);
    const agent = new Agent({ keepAlive: true });
    closers.push(() => agent.destroy());
    proc.kill('SIGTERM');
    await until(async () => (await readiness()) === 503);
    expect(await ask(url, { agent })).toMatchObject({ status: 200, headers: { connection: 'keep-alive' } });
    expect(await ask(url)).toMatchObject({ status: 200 });
    await refuses();
    expect(await proc.exit()).toBe(0);
  });

  test('a second signal of another kind stops it at once', async () => {
    const { url: backend } = await openBackend('one');
    const { proc, url, running, readiness } = await start(backend);
    const asked = ask(`${url}/slow?ms=60000`);
    const cut = expect(asked).rejects.toThrow();
    await running(1);
    proc.kill('SIGINT');
    await until(async () => (await readiness()) === 503);
    proc.kill('SIGTERM');
    expect(await proc.exit()).toBe('SIGTERM');
    await cut;
  });

  test('a lead time that leaves no shutdown time fails the start', async () => {
    const proc = new Proc('server.ts', { ...ANY_PORT, SHUTDOWN_LEAD_MS: '9500' });
    expect(await proc.exit()).toBe(1);
    expect(proc.stderr).toMatch(/^SHUTDOWN_LEAD_MS: must leave some of SHUTDOWN_TIMEOUT_MS .*\n$/);
  });
});

describe('a process that hangs reading a file that never ends', () => {
  let folder: string;
  let pipe: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'expressway-pipe-'));
    pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
  });

  afterEach(() => rmSync(folder, { recursive: true }));

  /** Reads the pipe, which has no writer, and stops on signals. `process.exit()` alone would wait for that read. */
  async function reading(stop: string, options: string): Promise<Proc> {
    const script = join(folder, 'script.ts');
    const lib = new URL('../../lib/index.ts', import.meta.url);
    writeFileSync(
      script,
      `import { readFile } from 'node:fs/promises';
       import { stopOnSignals } from '${lib}';
       void readFile('${pipe}');
       process.on('exit', (code) => console.log('exit', code));
       stopOnSignals(${stop}, ${options});
       setInterval(() => {}, 1_000);
       console.log('running');`,
    );
    const proc = new Proc(script);
    await proc.said(/running/);
    proc.kill('SIGTERM');
    return proc;
  }

  test('a second signal ends it', async () => {
    const proc = await reading('() => { console.log("stopping"); return new Promise(() => {}); }', '{}');
    await proc.said(/stopping/);
    proc.kill('SIGINT');
    expect(await proc.exit()).toBe('SIGINT');
    expect(proc.stdout).toContain('exit 130');
  });

  test('timeoutMs ends it', async () => {
    const proc = await reading('() => new Promise(() => {})', '{ timeoutMs: 300 }');
    expect(await proc.exit()).toBe('SIGKILL');
    expect(proc.stdout).toContain('exit 137');
    expect(proc.stderr).toContain('The process did not stop within 300 ms: it is killed');
  });

  test.each(['BACKENDS_FILE', 'TLS_CERT', 'BACKEND_CA'])('%s that names a pipe fails the start', async (name) => {
    const proc = new Proc('server.ts', { ...ANY_PORT, TLS_KEY: name === 'TLS_CERT' ? pipe : '', [name]: pipe });
    expect(await proc.exit()).toBe(1);
    expect(proc.stderr).toMatch(new RegExp(`^${name} ${pipe}: .*(?:not a regular file|it is a pipe)`));
  });
});
