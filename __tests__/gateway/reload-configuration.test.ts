import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { ask } from '../support/ask.ts';
import { certificate } from '../support/certificate.ts';
import { describeWithRedis } from '../support/redis.ts';
import { listen } from '../support/servers.ts';
import { closeAll, openBackend } from './gateways.ts';
import { endAll, Proc } from './proc.ts';

const ANY_PORT = { HOST: '127.0.0.1', PORT: '0', ADMIN_PORT: '0' };

let folder: string;
const closers: (() => Promise<void>)[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'expressway-configuration-'));
});

afterEach(async () => {
  await endAll();
  await closeAll();
  for (const close of closers.splice(0)) await close();
  rmSync(folder, { recursive: true });
});

type Variables = Readonly<Record<string, string>>;

function writeEnv(variables: Variables): void {
  const lines = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
  writeFileSync(join(folder, '.env'), lines.join('\n'));
}

/** The gateway, with all that is not about ports in its `.env` file. */
async function start(
  variables: Variables,
): Promise<{ proc: Proc; url: string; reload(v: Variables): Promise<string> }> {
  writeEnv(variables);
  // What `--env-file` does.
  const proc = new Proc('server.ts', { ...ANY_PORT, ...variables }, [], folder);
  const url = await proc.said(/"url":"([^"]+)"/);
  let reloads = 0;
  return {
    proc,
    url,
    async reload(changed) {
      writeEnv(changed);
      proc.kill('SIGHUP');
      reloads += 1;
      return proc.said(new RegExp(`(?:[\\s\\S]*?"why":"SIGHUP"){${reloads}}(.*)\\n`));
    },
  };
}

const remaining = async (url: string): Promise<string | undefined> =>
  String((await ask(url)).headers.ratelimit).match(/"ip";r=(\d+)/)?.[1];

describe('SIGHUP and the configuration', () => {
  test('updates the status page to the settings in force, without those that need a restart', async () => {
    const { proc, reload } = await start({ RATE_LIMIT_MAX: '10', MAX_BODY_BYTES: '7' });
    const adminUrl = await proc.said(/"adminUrl":"([^"]+)"/);
    await reload({ RATE_LIMIT_MAX: '5', MAX_BODY_BYTES: '8' });
    const { settings } = (await ask(`${adminUrl}/api/config`)).json;
    expect(settings).toContainEqual({ name: 'RATE_LIMIT_MAX', value: '5', isDefault: false });
    expect(settings).toContainEqual({ name: 'MAX_BODY_BYTES', value: '7', isDefault: false });
  });

  test('applies limits and log level at once, and names settings that need a restart', async () => {
    const { url: BACKENDS } = await openBackend('one');
    const { proc, url, reload } = await start({ BACKENDS, RATE_LIMIT_MAX: '10' });
    expect(await remaining(url)).toBe('9');
    const line = await reload({ BACKENDS, RATE_LIMIT_MAX: '2', LOG_LEVEL: 'debug', IDLE_TIMEOUT_MS: '1' });
    expect(line).toMatch(/"limits":\{.*"limit":2,.*"logLevel":"debug"/);
    await proc.said(/"level":"warn".*"variables":\["IDLE_TIMEOUT_MS"\],"msg":"needs a restart: IDLE_TIMEOUT_MS"/);
    expect([await remaining(url), await remaining(url)]).toEqual(['1', '0']);
    expect((await ask(url)).status).toBe(429);
    await proc.said(/"level":"debug".*client over its limit/);
    // Nothing about the limits has changed: their counts go on.
    expect(await reload({ BACKENDS, RATE_LIMIT_MAX: '2' })).not.toContain('limits');
    expect((await ask(url)).status).toBe(429);
  });

  test('changes nothing when any setting is bad', async () => {
    const [one, two] = [await openBackend('one'), await openBackend('two')];
    const { proc, url, reload } = await start({ BACKENDS: one.url, RATE_LIMIT_MAX: '10' });
    const good = { BACKENDS: two.url, RATE_LIMIT_MAX: '5', LOG_LEVEL: 'debug' };
    const bad: readonly Variables[] = [
      { RATE_LIMIT_MAX: 'many' },
      { BACKEND_CA: join(folder, 'none.pem') },
      { RATE_LIMIT_MAX: '1000000000', RATE_LIMIT_WINDOW_MS: '2147483647' },
    ];
    for (const one of bad) {
      expect(await reload({ ...good, ...one })).toMatch(/"problems":\[".*"msg":"reload refused: nothing changed"/);
    }
    writeFileSync(join(folder, 'none.pem'), 'nothing of use');
    expect(await reload({ ...good, BACKEND_CA: join(folder, 'none.pem') })).toMatch(
      /BACKEND_CA .*none\.pem: has no certificate in PEM form/,
    );
    expect((await ask(url)).json.backend).toBe('one');
    expect(await remaining(url)).toBe('8');
    expect(proc.stdout).not.toContain('"level":"debug"');
    await reload(good);
    expect((await ask(url)).json.backend).toBe('two');
    expect(await remaining(url)).toBe('3');
  });

  test('logs why it cannot read the file', async () => {
    const { url: BACKENDS } = await openBackend('one');
    const { proc, url } = await start({ BACKENDS, RATE_LIMIT_MAX: '10' });
    const path = join(folder, '.env');
    rmSync(path);
    proc.kill('SIGHUP');
    expect(await proc.said(/"why":"SIGHUP"(.*)\n/)).toContain('".env: cannot be read: there is no such file"');
    mkdirSync(path);
    proc.kill('SIGHUP');
    expect(await proc.said(/(?:[\s\S]*?"why":"SIGHUP"){2}(.*)\n/)).toMatch(
      /"\.env: cannot be read: EISDIR.*reload refused/,
    );
    expect(await remaining(url)).toBe('9');
  });

  test('logs why it cannot read a file that did not exist before', async () => {
    const { url: BACKENDS } = await openBackend('one');
    const proc = new Proc('server.ts', { ...ANY_PORT, BACKENDS }, [], folder);
    await proc.said(/"url":"([^"]+)"/);
    mkdirSync(join(folder, '.env'));
    proc.kill('SIGHUP');
    expect(await proc.said(/"why":"SIGHUP"(.*)\n/)).toMatch(/"\.env: cannot be read: EISDIR.*reload refused/);
  });

  test('checks new backend connections with the new BACKEND_CA', async () => {
    const backend = await listen(
      () => {},
      createServer(certificate, (_, res) => void res.end('safe')),
    );
    closers.push(backend.close);
    const env = { BACKENDS: `https://localhost:${backend.port}`, CIRCUIT_MINIMUM_REQUESTS: '100' };
    const { url, reload } = await start(env);
    expect((await ask(url)).status).toBe(502);
    writeFileSync(join(folder, 'ca.pem'), certificate.cert);
    expect(await reload({ ...env, BACKEND_CA: join(folder, 'ca.pem') })).toContain('"backendTls":["ca"]');
    expect(await ask(url)).toMatchObject({ status: 200, text: 'safe' });
    // A connection that was made under the old rules is not used any more.
    await reload(env);
    expect((await ask(url)).status).toBe(502);
  });
});

describeWithRedis('SIGHUP with limits in Redis', (redis) => {
  test('keeps the counts under a new maximum, and decides no request without Redis', async () => {
    const { url: BACKENDS } = await openBackend('one');
    const env = { BACKENDS, REDIS_URL: redis.url, RATE_LIMIT_ON_STORE_ERROR: 'closed' };
    const { proc, url, reload } = await start({ ...env, RATE_LIMIT_MAX: '10' });
    let before = Number.NaN;
    // Until Redis is reached, and has answered in time.
    while (Number.isNaN(before)) before = Number(await remaining(url));
    const outages = () => proc.stdout.split('rejects all requests').length;
    const outagesBefore = outages();
    expect(await reload({ ...env, RATE_LIMIT_MAX: '20' })).toContain('"limit":20');
    expect(await remaining(url)).toBe(String(before + 10 - 1));
    expect(outages()).toBe(outagesBefore);
  });
});
