import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, expect, test } from '@jest/globals';
import { endAll, Proc } from '../gateway/proc.ts';
import { Cleanup } from '../support/gateway.ts';
import { closedPort, eventually, listen } from '../support/servers.ts';
import { describeInstalled, installed } from './installed.ts';

const run = promisify(execFile);

/** What npm prints, with no registry but this one, and no settings but these. */
async function npm(folder: string, registry: string, ...args: string[]): Promise<string> {
  const settings = { registry, userconfig: join(folder, '.npmrc'), cache: join(folder, '.cache'), loglevel: 'error' };
  const off = { update_notifier: 'false', audit: 'false', fund: 'false', fetch_retries: '0' };
  const env = Object.entries({ ...settings, ...off }).map(([name, value]) => [`npm_config_${name}`, value]);
  const { stdout } = await run('npm', args, {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: folder, ...Object.fromEntries(env) },
  });
  return stdout.trim();
}

const VERDACCIO = `
storage: ./storage
auth: { htpasswd: { file: ./htpasswd } }
uplinks: {}
packages: { '**': { access: $all, publish: $authenticated } }
web: { enable: false }
log: { type: stdout, format: json, level: http }
`;

describeInstalled('behind the example gateway as a process, with its defaults', () => {
  const cleanup = new Cleanup();
  afterEach(async () => {
    await endAll();
    await cleanup.run();
  });

  async function gateway(backends: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> {
    const proc = new Proc('server.ts', {
      HOST: '127.0.0.1',
      PORT: '0',
      ADMIN_PORT: '',
      BACKENDS: backends.join(),
      ...env,
    });
    return proc.said(/"url":"([^"]+)".*"msg":"listening"/);
  }

  function folder(): string {
    const made = mkdtempSync(join(tmpdir(), 'expressway-applications-'));
    cleanup.add({ close: () => rmSync(made, { recursive: true }) });
    return made;
  }

  test('verdaccio: npm publishes, views and installs a scoped package', async () => {
    const own = folder();
    writeFileSync(join(own, 'config.yaml'), VERDACCIO);
    const port = await closedPort();
    const program = createRequire(import.meta.url).resolve('verdaccio/bin/verdaccio');
    const verdaccio = new Proc(program, {}, ['--config', 'config.yaml', '--listen', `127.0.0.1:${port}`], own);
    await verdaccio.said(/http address/);
    const registry = await gateway([`http://127.0.0.1:${port}`]);

    const user = { name: 'alice', password: 'a long password' };
    const added = await fetch(`${registry}/-/user/org.couchdb.user:alice`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(user),
    });
    const { token } = (await added.json()) as { token: string };
    const [widget, shop] = [join(folder(), 'widget'), join(folder(), 'shop')];
    for (const made of [widget, shop]) {
      mkdirSync(made);
      writeFileSync(join(made, '.npmrc'), `${registry.replace('http:', '')}/:_authToken=${token}\n`);
    }
    const content = `module.exports = '${randomBytes(200_000).toString('base64')}';`;
    writeFileSync(join(widget, 'index.js'), content);
    writeFileSync(join(widget, 'package.json'), JSON.stringify({ name: '@acme/widget', version: '1.2.3' }));
    writeFileSync(join(shop, 'package.json'), JSON.stringify({ name: 'shop', private: true }));

    expect(await npm(widget, registry, 'publish', '--access=public')).toContain('@acme/widget@1.2.3');
    expect(await npm(shop, registry, 'view', '@acme/widget', 'version', 'dist.tarball', '--json')).toContain(
      JSON.stringify(`${registry}/@acme/widget/-/widget-1.2.3.tgz`),
    );
    await npm(shop, registry, 'install', '@acme/widget');
    expect(readFileSync(join(shop, 'node_modules/@acme/widget/index.js'), 'utf8')).toBe(content);
    expect(await npm(widget, registry, 'dist-tag', 'add', '@acme/widget@1.2.3', 'stable')).toContain('stable');
    await expect(npm(shop, registry, 'view', '@acme/gadget')).rejects.toThrow('E404');
  });

  test('socket.io over two backends: LOAD_BALANCING=hash keeps polling, and the upgrade, at one of them', async () => {
    const servers = ['one', 'two'].map((name) => ({
      name,
      http: createServer(),
      io: new (installed('socket.io').Server)(),
    }));
    const backends = await Promise.all(
      servers.map(async ({ name, http, io }) => {
        io.attach(http);
        io.on(
          'connection',
          (socket: { on(event: string, fn: (text: string, answer: (text: string) => void) => void): void }) => {
            socket.on('echo', (text, answer) => answer(`${name}: ${text}`));
          },
        );
        cleanup.add({ close: () => new Promise((resolve) => io.close(resolve)) });
        return (await listen(() => {}, http)).url;
      }),
    );
    // Clients behind a load balancer, which names their addresses.
    const url = await gateway(backends, { LOAD_BALANCING: 'hash', TRUST_PROXY: 'loopback' });
    const servedBy = await Promise.all(
      Array.from({ length: 12 }, async (_, index) => {
        const transports = index % 2 === 0 ? ['polling'] : ['polling', 'websocket'];
        const extraHeaders = { 'x-forwarded-for': `192.0.2.${index + 1}` };
        const socket = installed('socket.io-client').io(url, {
          transports,
          extraHeaders,
          forceNew: true,
          reconnection: false,
        });
        const failed = new Promise<never>((_resolve, reject) => {
          socket.on('connect_error', reject).on('disconnect', (reason: string) => reject(new Error(reason)));
        });
        failed.catch(() => {});
        const echo = (text: string) =>
          Promise.race([failed, new Promise<string>((resolve) => socket.emit('echo', text, resolve))]);
        const names = new Set<string>();
        for (let round = 0; round < 5; round += 1) {
          const [name = '', text] = (await echo(`${round}`)).split(': ');
          expect(text).toBe(`${round}`);
          names.add(name);
        }
        await eventually('the transport is the last one', () => socket.io.engine.transport.name === transports.at(-1));
        expect([...names]).toHaveLength(1);
        socket.disconnect();
        return [...names][0];
      }),
    );
    expect(new Set(servedBy).size).toBe(2);
    await eventually('all clients have left', () => servers.every(({ io }) => io.engine.clientsCount === 0));
  });

  test('tus: an upload that the backend breaks off, and then its client leaves, is resumed', async () => {
    const directory = folder();
    const [server, store] = ['@tus/server', '@tus/file-store'];
    const { Server } = await import(server);
    const { FileStore } = await import(store);
    const datastore = new FileStore({ directory });
    const tus = new Server({ path: '/files', datastore, respectForwardedHeaders: true, lockDrainTimeout: 200 });
    const offsets: number[] = [];
    const backend = createServer((req, res) => {
      if (req.method === 'PATCH') offsets.push(Number(req.headers['upload-offset']));
      tus.handle(req, res);
    });
    /** Each is called once, when the backend has so many bytes of a connection. */
    const interruptions: ((socket: Socket) => void)[] = [];
    backend.on('connection', (socket: Socket) => {
      let bytes = 0;
      socket.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > 1_000_000) interruptions.shift()?.(socket);
      });
    });
    const { url: backendUrl } = cleanup.add(await listen(() => {}, backend));
    const url = await gateway([backendUrl]);

    const content = randomBytes(8_000_000);
    const { Upload } = installed('tus-js-client');
    const settings = { endpoint: `${url}/files`, retryDelays: [0, 100, 200, 400, 800] };
    let upload: { url: string; start(): void; abort(): Promise<void> };
    await new Promise<void>((resolve, reject) => {
      interruptions.push(
        (socket) => socket.destroy(),
        () => void upload.abort().then(resolve, reject),
      );
      upload = new Upload(content, { ...settings, onError: reject, onSuccess: resolve });
      upload.start();
    });
    const { url: uploadUrl } = upload!;
    expect(uploadUrl).toMatch(`${url}/files/`);
    await new Promise<void>((resolve, reject) => {
      new Upload(content, { ...settings, uploadUrl, onError: reject, onSuccess: resolve }).start();
    });
    expect(offsets[0]).toBe(0);
    expect(offsets.length).toBeGreaterThanOrEqual(3);
    expect(offsets.at(-1)).toBeGreaterThan(0);
    const hash = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
    expect(hash(readFileSync(join(directory, uploadUrl.replace(/.*\//, ''))))).toBe(hash(content));
  });
});
