import { once } from 'node:events';
import { Agent } from 'node:http';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { ask } from '../support/ask.ts';
import { Cleanup } from '../support/gateway.ts';
import { pause } from '../support/pause.ts';
import { accepts, listen } from '../support/servers.ts';
import { endAll, Proc } from './proc.ts';
import { until } from './until.ts';

const ANY_PORT = { HOST: '127.0.0.1', PORT: '0', ADMIN_PORT: '0' };

const cleanup = new Cleanup();
let occupant: Server | undefined;

async function occupyPort(): Promise<string> {
  occupant = createServer().listen(0, '127.0.0.1');
  await once(occupant, 'listening');
  return String((occupant.address() as AddressInfo).port);
}

/** The program in front of one backend, with a request under way until `respond()` is called. */
async function startBusy(env: Readonly<Record<string, string>> = {}) {
  let respond = () => {};
  const backend = await listen((_req, res) => {
    respond = () => res.setHeader('content-type', 'application/json').end('{"backend":"one"}');
  });
  cleanup.add(backend);
  const proc = new Proc('server.ts', { ...ANY_PORT, BACKENDS: backend.url, SHUTDOWN_TIMEOUT_MS: '60000', ...env });
  const url = await proc.said(/"url":"([^"]+)"/);
  const adminUrl = await proc.said(/"adminUrl":"([^"]+)"/);
  const agent = new Agent({ keepAlive: true });
  const asked = ask(url, { agent }).finally(() => agent.destroy());
  // A rejection is looked at later.
  asked.catch(() => {});
  const inFlight = async () => (await ask(`${adminUrl}/status`)).json.backends[0].inFlight;
  await until(async () => (await inFlight()) === 1);
  const isStopping = async () => (await ask(`${adminUrl}/readyz`)).status === 503;
  return { proc, url, adminUrl, asked, isStopping, respond: () => respond() };
}

afterEach(async () => {
  await endAll();
  await cleanup.run();
  occupant?.close();
  occupant = undefined;
});

describe('npm start', () => {
  test('logs its addresses in one line, and stops at once when it is idle', async () => {
    const proc = new Proc('server.ts', ANY_PORT);
    const url = await proc.said(/"url":"([^"]+)".*"msg":"listening"}\n/);
    expect(proc.stdout.trim().split('\n')).toHaveLength(1);
    expect(new URL(url).hostname).toBe('127.0.0.1');
    proc.kill('SIGTERM');
    expect(await proc.exit()).toBe(0);
  });

  test('refuses a bad configuration with a line for each bad variable', async () => {
    const bad = { PORT: 'x', BACKENDS: 'ftp://a', TRUST_PROXY: 'true', RATE_LIMIT_MAX: '0', LOG_LEVEL: 'loud' };
    const proc = new Proc('server.ts', bad);
    expect(await proc.exit()).toBe(1);
    const lines = proc.stderr.trim().split('\n');
    expect(lines.map((line) => line.split(':')[0])).toEqual(Object.keys(bad));
    expect(proc.stdout).toBe('');
  });

  test('refuses values that contradict each other, without a stack trace', async () => {
    const both = { RATE_LIMIT_MAX: '1000000000', RATE_LIMIT_WINDOW_MS: '2147483647' };
    const proc = new Proc('server.ts', { ...ANY_PORT, ...both });
    expect(await proc.exit()).toBe(1);
    expect(proc.stderr).toMatch(/^RATE_LIMIT_MAX: .*\n$/);
    expect(proc.stdout).toBe('');
  });

  test.each([
    ['PORT', 'gateway'],
    ['ADMIN_PORT', 'admin listener'],
  ])('says in one line that %s is in use', async (variable, what) => {
    const port = await occupyPort();
    const proc = new Proc('server.ts', { ...ANY_PORT, [variable]: port });
    expect(await proc.exit()).toBe(1);
    expect(proc.stderr).toBe(`${variable}: the ${what} cannot listen on 127.0.0.1:${port}: the port is in use\n`);
    expect(proc.stdout).toBe('');
  });

  test.each([
    ['HOST', 'gateway'],
    ['ADMIN_HOST', 'admin listener'],
  ])('says that %s is not an address of this machine', async (variable, what) => {
    const proc = new Proc('server.ts', { ...ANY_PORT, [variable]: '192.0.2.1' });
    expect(await proc.exit()).toBe(1);
    expect(proc.stderr).toBe(
      `${variable}: the ${what} cannot listen on 192.0.2.1:0: this machine has no such address\n`,
    );
  });

  test('SIGTERM makes it not ready, closes its listener, lets the running request end, and exits with 0', async () => {
    const { proc, url, asked, isStopping, respond } = await startBusy();
    proc.kill('SIGTERM');
    await until(isStopping);
    await until(async () => !(await accepts(Number(new URL(url).port))));
    respond();
    const answer = await asked;
    expect(answer).toMatchObject({ status: 200, json: { backend: 'one' } });
    expect(answer.headers.connection).toBe('close');
    expect(await proc.exit()).toBe(0);
    expect(proc.stdout).toMatch(/"signal":"SIGTERM".*"msg":"stopping"/);
    expect(proc.stdout).toMatch(/"msg":"stopped"}\n$/);
  });

  test('cuts running requests at SHUTDOWN_TIMEOUT_MS and exits with 0', async () => {
    const { proc, asked } = await startBusy({ SHUTDOWN_TIMEOUT_MS: '5000' });
    proc.kill('SIGTERM');
    await expect(asked).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect(await proc.exit()).toBe(0);
    expect(proc.stdout).toMatch(/"level":"warn".*"requests":1,"streams":0,"upgrades":0,"msg":"shutdown timeout/);
  });

  test('a second signal of another kind stops it at once', async () => {
    const { proc, asked, isStopping } = await startBusy();
    proc.kill('SIGTERM');
    await until(isStopping);
    proc.kill('SIGINT');
    expect(await proc.exit()).toBe('SIGINT');
    await expect(asked).rejects.toThrow();
  });

  test('stops gracefully when one Ctrl-C arrives twice, from the terminal and from npm', async () => {
    const { proc, asked, isStopping, respond } = await startBusy();
    proc.kill('SIGINT');
    await pause('the second one comes right after it: within half a second, however slow the machine is', 50);
    proc.kill('SIGINT');
    await until(isStopping);
    respond();
    expect((await asked).status).toBe(200);
    expect(await proc.exit()).toBe(0);
  });
});
