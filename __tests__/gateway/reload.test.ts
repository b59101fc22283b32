import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { ask } from '../support/ask.ts';
import { DnsServer } from '../support/dns-server.ts';
import { closeAll, openBackend, openGateway } from './gateways.ts';
import { endAll, Proc } from './proc.ts';
import { until } from './until.ts';

const ANY_PORT = { HOST: '127.0.0.1', PORT: '0', ADMIN_PORT: '0' };

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'expressway-reload-'));
  path = join(folder, 'backends.json');
});

afterEach(async () => {
  await endAll();
  await closeAll();
  rmSync(folder, { recursive: true });
});

/** As careful programs do it: whole, or not at all. */
function replaceFile(content: unknown): void {
  writeFileSync(`${path}.new`, typeof content === 'string' ? content : JSON.stringify(content));
  renameSync(`${path}.new`, path);
}

const served = async (url: string): Promise<string> => (await ask(url)).json.backend;

describe('BACKENDS_FILE', () => {
  test('takes precedence over BACKENDS, and changes of the file are applied', async () => {
    const [one, two, other] = [await openBackend('one'), await openBackend('two'), await openBackend('other')];
    replaceFile([one.url]);
    const { url, adminUrl, logged } = await openGateway([other.url], { BACKENDS_FILE: path });
    expect(await served(url)).toBe('one');
    replaceFile([{ url: two.url, weight: 2 }]);
    await until(async () => (await served(url)) === 'two');
    expect((await ask(`${adminUrl}/status`)).json.backends).toMatchObject([{ backend: two.url, weight: 2 }]);
    expect(logged).toContainEqual(
      expect.objectContaining({ level: 'info', msg: 'configuration reloaded', why: 'the file has changed' }),
    );
    expect(logged).toContainEqual(
      expect.objectContaining({ msg: 'backends changed', added: [two.url], removed: [one.url] }),
    );
  });

  test('a bad change is refused as a whole, with one error that lists all problems, and the old backends stay', async () => {
    const [one, two] = [await openBackend('one'), await openBackend('two')];
    replaceFile([one.url]);
    const { url, logged } = await openGateway([], { BACKENDS_FILE: path, BACKENDS: '' });
    const errors = () => logged.filter((line) => line.level === 'error');
    replaceFile([two.url, 'http://a/x', { url: 'ftp://b' }]);
    await until(() => errors().length > 0);
    expect(errors()).toEqual([
      expect.objectContaining({
        msg: 'reload refused: nothing changed',
        problems: [
          `BACKENDS_FILE ${path}: "http://a/x" must be an origin, without path: pathRewrite, or rewrite of a route, changes paths`,
          `BACKENDS_FILE ${path}: "ftp://b" must start with http:// or https://, dns:// or srv://`,
        ],
      }),
    ]);
    expect(await served(url)).toBe('one');
    replaceFile([two.url]);
    await until(async () => (await served(url)) === 'two');
    expect(errors()).toHaveLength(1);
  });

  test('a bad file fails the start, with a line for each problem', async () => {
    replaceFile(['http://a/x', 'http://user:geheim@b']);
    const proc = new Proc('server.ts', { ...ANY_PORT, BACKENDS_FILE: path });
    expect(await proc.exit()).toBe(1);
    expect(proc.stderr.trim().split('\n')).toEqual([
      `BACKENDS_FILE ${path}: "http://a/x" must be an origin, without path: pathRewrite, or rewrite of a route, changes paths`,
      `BACKENDS_FILE ${path}: a backend URL must not carry credentials`,
    ]);
    expect(proc.stdout).toBe('');
  });

  test("a change adapts the minimum of requests of the route's circuit to the number of backends", async () => {
    const backends = [await openBackend('one'), await openBackend('two')];
    for (const backend of backends) await ask(`${backend.url}/fail?on=1`, { method: 'POST' });
    const [one, two] = backends.map(({ url }) => url);
    replaceFile([one]);
    const { url, adminUrl } = await openGateway([], {
      BACKENDS: '',
      BACKENDS_FILE: path,
      CIRCUIT_MINIMUM_REQUESTS: '4',
      CIRCUIT_OPEN_MS: '60000',
    });
    const status = async () => (await ask(`${adminUrl}/status`)).json;
    replaceFile([one, two]);
    await until(async () => (await status()).backends.length === 2);
    for (let i = 0; i < 7; i += 1) expect((await ask(url)).status).toBe(500);
    expect((await status()).circuit.state).toBe('closed');
    expect((await ask(url)).status).toBe(500);
    expect((await status()).circuit.state).toBe('open');
  });
});

describe('SIGHUP and the list of backends', () => {
  test('reloads BACKENDS_FILE 20 times without dropping a request of 50 connections', async () => {
    const backends = [await openBackend('one'), await openBackend('two'), await openBackend('three')];
    const urls = backends.map(({ url }) => url);
    replaceFile(urls);
    const proc = new Proc('server.ts', { ...ANY_PORT, BACKENDS_FILE: path, RATE_LIMIT_MAX: '1000000' });
    const url = await proc.said(/"url":"([^"]+)"/);
    const agent = new Agent({ keepAlive: true, maxSockets: 50 });
    let running = true;
    const statuses = new Map<number, number>();
    const clients = Array.from({ length: 50 }, async () => {
      while (running) {
        const { status } = await ask(`${url}/slow?ms=5`, { agent });
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }
    });
    for (let change = 1; change <= 20; change += 1) {
      replaceFile(urls.filter((_, index) => index !== change % 3));
      proc.kill('SIGHUP');
      await until(() => proc.stdout.split('"why":"SIGHUP"').length === change + 1);
    }
    running = false;
    await Promise.all(clients);
    agent.destroy();
    expect([...statuses.keys()]).toEqual([200]);
    expect(proc.stdout).toMatch(/"msg":"backends changed"/);
    expect(proc.stdout).not.toMatch(/"level":"(?:error|warn)"/);
    proc.kill('SIGTERM');
    expect(await proc.exit()).toBe(0);
  });

  test('reloads BACKENDS from the .env file that it came from', async () => {
    const [one, two] = [await openBackend('one'), await openBackend('two')];
    const env = join(folder, '.env');
    writeFileSync(env, `PORT=1\nBACKENDS=${one.url}\n`);
    const proc = new Proc('server.ts', { ...ANY_PORT, BACKENDS: one.url }, [], folder);
    const url = await proc.said(/"url":"([^"]+)"/);
    expect(await served(url)).toBe('one');
    writeFileSync(env, `PORT=1\nBACKENDS=${two.url}\n`);
    proc.kill('SIGHUP');
    await proc.said(/"why":"SIGHUP","from":".env".*"msg":"configuration reloaded"/);
    expect(await served(url)).toBe('two');
    writeFileSync(env, 'BACKENDS=http://a/x,http://b?y\n');
    proc.kill('SIGHUP');
    await proc.said(/"level":"error".*"from":".env".*"problems":\["BACKENDS: must be .*a\/x.*http:\/\/b/);
    expect(await served(url)).toBe('two');
  });

  test('logs when BACKENDS does not come from the .env file, or when the file is gone', async () => {
    const one = await openBackend('one');
    writeFileSync(join(folder, '.env'), 'BACKENDS=http://127.0.0.1:1\n');
    const elsewhere = new Proc('server.ts', { ...ANY_PORT, BACKENDS: one.url }, [], folder);
    const url = await elsewhere.said(/"url":"([^"]+)"/);
    elsewhere.kill('SIGHUP');
    await elsewhere.said(/"overridden":\["BACKENDS"\],"msg":"configuration reloaded"/);
    expect(await served(url)).toBe('one');
    rmSync(join(folder, '.env'));
    elsewhere.kill('SIGHUP');
    await elsewhere.said(/"level":"error".*\.env: cannot be read/);
    expect(await served(url)).toBe('one');
  });
});

test('the gateway looks up the names in BACKENDS before it listens', async () => {
  const dns = await DnsServer.start();
  try {
    const one = await openBackend('one');
    dns.records.set('api.test', { a: ['127.0.0.1'] });
    const { url, logged } = await openGateway([], {
      BACKENDS: `dns://api.test:${new URL(one.url).port}`,
      DNS_SERVERS: dns.address,
    });
    expect(await served(url)).toBe('one');
    expect(logged.map(({ msg }) => msg)).toEqual(['backends changed', 'listening']);
  } finally {
    await dns.close();
  }
});
