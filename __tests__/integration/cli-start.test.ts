import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test } from '@jest/globals';
import { Cleanup } from '../support/gateway.ts';
import { CLI, LIBRARY_FLAGS } from '../support/library.ts';
import { eventually, listen } from '../support/servers.ts';
import { CliProcess, cli } from './cli-process.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());
const folder = mkdtempSync(join(tmpdir(), 'expressway-start-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Nothing of the machine decides where it listens. */
const ANYWHERE = ['--host', '127.0.0.1', '--port', '0', '--admin-port', '0'];

const backend = async (name: string) => cleanup.add(await listen((_req, res) => void res.end(name)));
const start = (args: readonly string[], env?: Readonly<Record<string, string>>) =>
  cleanup.add(new CliProcess(['start', ...args], env));
const bodyOf = async (url: string) => (await fetch(url)).text();

describe('expressway start', () => {
  test('runs a gateway in front of the backends, with the limit that was asked for, until SIGTERM', async () => {
    const [one, two] = [await backend('one'), await backend('two')];
    const flags = ['--backend', one.url, '--backend', `${two.url};weight=2`, '--limit', '3/1h'];
    const proc = start([...ANYWHERE, ...flags], { LOAD_BALANCING: 'weighted' });
    const url = await proc.said(/"url":"([^"]+)"/);
    expect([await bodyOf(url), await bodyOf(url)].sort()).toEqual(['one', 'two']);
    expect((await fetch(url)).headers.get('ratelimit-policy')).toBe('"ip";q=3;w=3600');
    expect((await fetch(url)).status).toBe(429);
    const adminUrl = await proc.said(/"adminUrl":"([^"]+)"/);
    expect(await (await fetch(`${adminUrl}/readyz`)).json()).toEqual({ status: 'running' });
    proc.kill('SIGTERM');
    expect(await proc.done).toMatchObject({ code: 0, err: '' });
  });

  test('stops when npm has ended the shell that it was started in', async () => {
    const { url: one } = await backend('one');
    const command = [...LIBRARY_FLAGS, CLI, 'start', ...ANYWHERE, '--backend', one];
    // As npm runs a command. The number is for the case that it does not stop.
    const shell = spawn('sh', ['-c', '"$0" "$@" & echo "pid $!"; wait', process.execPath, ...command], {
      env: { PATH: process.env.PATH, npm_lifecycle_event: 'npx' },
    });
    let out = '';
    shell.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text;
    });
    cleanup.add({
      close: async () => {
        shell.kill('SIGKILL');
        if (!shell.stdout.closed) process.kill(Number(/pid (\d+)/.exec(out)?.[1]), 'SIGKILL');
      },
    });
    await eventually('it listens', () => out.includes('"listening"'));
    const ended = once(shell, 'close');
    shell.kill('SIGTERM');
    await ended;
    expect(out).toMatch(/"msg":"stopping"[\s\S]*"msg":"stopped"/);
  });

  /** Sends a signal to a process of the gateway while it loads the program. */
  const signalled = (signal: NodeJS.Signals, whose: 'isPrimary' | 'isWorker') =>
    `--import=data:text/javascript,${encodeURIComponent(`
      import cluster from 'node:cluster';
      import { registerHooks } from 'node:module';
      const hooks = registerHooks({
        load(url, context, next) {
          if (url.includes('/cli/run.')) {
            if (cluster.${whose}) process.kill(process.pid, '${signal}');
            // With hooks, Node 22 cannot load the packages that follow.
            hooks.deregister();
          }
          return next(url, context);
        },
      });
    `)}`;

  test.each([
    ['SIGHUP', 'isPrimary'],
    ['SIGUSR2', 'isPrimary'],
    ['SIGHUP', 'isWorker'],
    ['SIGUSR2', 'isWorker'],
    ['SIGTERM', 'isWorker'],
    ['SIGINT', 'isWorker'],
  ] as const)('is not ended by %s while a process (%s) loads the program', async (signal, whose) => {
    const { url } = await backend('one');
    const proc = start([...ANYWHERE, '--backend', url], { WORKERS: '2', NODE_OPTIONS: signalled(signal, whose) });
    expect(await bodyOf(await proc.said(/"url":"([^"]+)"/))).toBe('one');
    proc.kill('SIGTERM');
    expect(await proc.done).toMatchObject({ code: 0, err: '' });
  });

  test('prefers flags to the environment, and the environment to the file', async () => {
    const [flag, env, file] = [await backend('flag'), await backend('env'), await backend('file')];
    const path = join(folder, 'gateway.env');
    writeFileSync(path, `BACKENDS=${file.url}\nHOST=127.0.0.1\nPORT=0\nADMIN_PORT=\nRATE_LIMIT_MAX=7\n`);
    const limitOf = async (url: string) => (await fetch(url)).headers.get('ratelimit-policy');
    for (const [args, variables, name, limit] of [
      [[], {}, 'file', 7],
      [[], { BACKENDS: env.url, RATE_LIMIT_MAX: '8' }, 'env', 8],
      [['--backend', flag.url, '--limit', '9/1m'], { BACKENDS: env.url, RATE_LIMIT_MAX: '8' }, 'flag', 9],
    ] as const) {
      const proc = start(['--env-file', path, ...args], variables);
      const url = await proc.said(/"url":"([^"]+)"/);
      expect([await bodyOf(url), await limitOf(url)]).toEqual([name, `"ip";q=${limit};w=60`]);
      proc.kill('SIGTERM');
      await proc.done;
    }
  });

  test.each<BufferEncoding>(['utf8', 'utf16le'])(
    'refuses a file with the byte order mark of %s, of which Node would not know every variable',
    async (encoding) => {
      const path = join(folder, 'marked.env');
      writeFileSync(path, '\uFEFFRATE_LIMIT_MAX=5\nPORT=0\n', encoding);
      expect(await start(['--env-file', path, '--backend', 'http://localhost:1']).done).toMatchObject({
        code: 1,
        err: `expressway start: ${path} begins with a byte order mark (BOM): save it as UTF-8 without one\n`,
      });
    },
  );

  test('reloads the file of --env-file at SIGHUP, and still prefers flags', async () => {
    const path = join(folder, 'gateway.env');
    const write = (limit: number) => writeFileSync(path, `HOST=127.0.0.1\nADMIN_PORT=\nRATE_LIMIT_MAX=${limit}\n`);
    write(7);
    const one = await backend('one');
    const proc = start(['--env-file', path, '--backend', one.url, '--port', '0', '--limit', '9/1m']);
    const other = start(['--env-file', path, '--backend', one.url, '--port', '0']);
    const [url, otherUrl] = [await proc.said(/"url":"([^"]+)"/), await other.said(/"url":"([^"]+)"/)];
    write(5);
    for (const each of [proc, other]) {
      each.kill('SIGHUP');
      await each.said(/"msg":"configuration reloaded"/);
    }
    const limitOf = async (from: string) => (await fetch(from)).headers.get('ratelimit-policy');
    expect([await limitOf(url), await limitOf(otherUrl)]).toEqual(['"ip";q=9;w=60', '"ip";q=5;w=60']);
  });

  test('prefers flags and environment to a changed file, also when they had the same values before', async () => {
    const path = join(folder, 'same.env');
    const one = await backend('one');
    const write = (limit: number, level: string) =>
      writeFileSync(path, `HOST=127.0.0.1\nADMIN_PORT=\nRATE_LIMIT_MAX=${limit}\nLOG_LEVEL=${level}\n`);
    write(7, 'info');
    const args = ['--env-file', path, '--backend', one.url, '--port', '0', '--limit', '7/1m'];
    const proc = start(args, { LOG_LEVEL: 'info' });
    const url = await proc.said(/"url":"([^"]+)"/);
    write(5, 'debug');
    proc.kill('SIGHUP');
    const line = await proc.said(/("why":"SIGHUP".*"msg":"configuration reloaded")/);
    const overridden = /"overridden":(\[[^\]]*\])/.exec(line)?.[1] ?? '[]';
    expect(JSON.parse(overridden).sort()).toEqual(['LOG_LEVEL', 'RATE_LIMIT_MAX']);
    expect((await fetch(url)).headers.get('ratelimit-policy')).toBe('"ip";q=7;w=60');
    expect(proc.out).not.toContain('"level":"debug"');
  });

  test('refuses to start without backends, and names the flag and the variables', async () => {
    const path = join(folder, 'no-backend.env');
    writeFileSync(path, 'BACKENDS=\nPORT=0\n');
    for (const args of [[], ['--port', '0'], ['--env-file', path]]) {
      const { code, out, err } = await cli(['start', ...args]);
      expect([code, out]).toEqual([2, '']);
      expect(err).toContain('--backend http://localhost:3000');
      expect(err).toContain('BACKENDS, BACKENDS_FILE or GATEWAY_CONFIG');
      expect(err).toContain('Try: expressway start --help');
    }
  });

  test('refuses at SIGHUP a file without backends, instead of using those of the demo', async () => {
    const path = join(folder, 'lost.env');
    const one = await backend('one');
    writeFileSync(path, `BACKENDS=${one.url}\n`);
    const proc = start(['--env-file', path, ...ANYWHERE]);
    const url = await proc.said(/"url":"([^"]+)"/);
    writeFileSync(path, 'RATE_LIMIT_MAX=5\n');
    proc.kill('SIGHUP');
    const line = await proc.said(/("why":"SIGHUP".*"msg":"[^"]+")/);
    expect(line).toMatch(/"problems":\["BACKENDS: [^"]*--backend.*reload refused/);
    expect(await bodyOf(url)).toBe('one');
  });

  test('prints each invalid value in a line, and exits with 1', async () => {
    const { code, out, err } = await start(['--backend', 'ftp://x', '--port', 'y']).done;
    expect([code, out]).toEqual([1, '']);
    expect(err).toMatch(/^PORT: .*\nBACKENDS: .*must start with http:\/\/ or https:\/\/.*\n$/);
  });

  test('reports a port in use in one line, and exits with 1', async () => {
    const { port } = cleanup.add(await listen(() => {}));
    const taken = ['--host', '127.0.0.1', '--port', String(port), '--admin-port', ''];
    const { code, err } = await start([...taken, '--backend', 'http://127.0.0.1:1']).done;
    expect([code, err]).toEqual([1, `PORT: the gateway cannot listen on 127.0.0.1:${port}: the port is in use\n`]);
  });

  test.each([
    [['--bakend', 'http://a'], 'there is no option --bakend; did you mean --backend?'],
    [['http://a'], '"http://a" has no option before it'],
    [['--limit', '100'], '--limit must be a number of requests and a window'],
    [['--limit', '1/1m,2/1h'], '--limit takes one window'],
  ])('exits with 2 for the arguments %j', async (args, message) => {
    const { code, out, err } = await cli(['start', ...args]);
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain(`expressway start: ${message}`);
    expect(err).toContain('Try: expressway start --help');
  });

  test('names the missing file of --env-file', async () => {
    const path = join(folder, 'none.env');
    const { code, out, err } = await cli(['start', '--env-file', path]);
    // Some versions of Node look for this flag themselves, wherever it stands, and end with a code of their own.
    expect(code).not.toBe(0);
    expect([out, err]).toEqual(['', expect.stringContaining(path)]);
  });
});
