/**
 * CPU per request over HTTP/2, and of the suite over HTTP/1.1 with TLS: the suite and its proxy alone, beside fast-gateway on Node's own
 * HTTP/2 server with the same features and bare. In turns, also to `results/http2.json`:
 * `node --conditions=expressway-source bench/http2.ts [rounds] [requests]`. Needs h2load (Debian: nghttp2-client), and `npm ci` in `bench` for fast-gateway.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { certificate } from '../__tests__/support/certificate.ts';
import { freePort } from './failover/free-port.ts';
import { processUsage } from './harness/process-usage.ts';
import { describeMachine } from './harness/versions.ts';
import { resultText } from './report/result-text.ts';

const [rounds = 10, requests = 20_000] = process.argv.slice(2).map(Number);
const facts = {
  name: 'http2',
  date: new Date().toISOString(),
  machine: describeMachine(),
  loadAverageBefore: loadavg()[0],
  flags: { rounds, requests },
};
const run = promisify(execFile);
const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'expressway-bench-'));
const files = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
for (const name of ['cert', 'key'] as const) writeFileSync(files[name], certificate[name]);

const CONTENT = JSON.stringify({ a: 'x'.repeat(118) });
const RESPONSE = Buffer.from(
  `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${CONTENT.length}\r\nDate: ${new Date().toUTCString()}\r\n\r\n${CONTENT}`,
);
const backend = createServer((socket) => {
  let text = '';
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1');
    for (let end = text.indexOf('\r\n\r\n'); end !== -1; end = text.indexOf('\r\n\r\n')) {
      text = text.slice(end + 4);
      socket.write(RESPONSE);
    }
  });
});
const backendPort = await freePort();
await new Promise<void>((resolve) => backend.listen(backendPort, '127.0.0.1', resolve));
const origin = `http://127.0.0.1:${backendPort}`;

const children: ChildProcess[] = [];

async function started(args: readonly string[], env: Readonly<Record<string, string>>): Promise<number> {
  const child = spawn(process.execPath, args, {
    env: { ...process.env, NODE_ENV: 'production', ...env },
    // The access log of the suite goes to standard output.
    stdio: ['ignore', openSync(join(folder, `${children.length}.log`), 'w'), 'ignore'],
  });
  children.push(child);
  return child.pid as number;
}

async function suite(http2: 'on' | 'off') {
  const port = await freePort();
  const pid = await started(['--conditions=expressway-source', here('../example-gateway/server.ts')], {
    HOST: '127.0.0.1',
    PORT: String(port),
    ADMIN_PORT: '0',
    BACKENDS: origin,
    RATE_LIMIT_MAX: '1000000000',
    RATE_LIMIT_WINDOW_MS: '1000',
    LOG_LEVEL: 'error',
    ACCESS_LOG: 'json',
    TLS_CERT: files.cert,
    TLS_KEY: files.key,
    HTTP2: http2,
  });
  return { port, pid };
}

async function target(name: string, ...log: string[]) {
  const port = await freePort();
  const script = here(`targets/${name}.ts`);
  const args = ['--conditions=expressway-source', script, String(port), files.cert, files.key, origin, ...log];
  return { port, pid: await started(args, {}) };
}

const MULTIPLEXED = ['-c', '8', '-m', '8'];
const targets = [
  { name: 'suite, HTTP/1.1 with TLS', load: ['-c', '64', '-m', '1', '--h1'], ...(await suite('off')) },
  { name: 'suite, HTTP/2', load: MULTIPLEXED, ...(await suite('on')) },
  {
    name: 'fast-gateway with limiter, breaker, metrics and log, node:http2',
    load: MULTIPLEXED,
    ...(await target('fast-gateway-http2', join(folder, 'access.log'))),
  },
  { name: 'roundRobinProxy() alone, HTTP/2', load: MULTIPLEXED, ...(await target('expressway-http2')) },
  { name: 'fast-gateway alone, node:http2', load: MULTIPLEXED, ...(await target('fast-gateway-http2')) },
];

async function measured({ name, load, port, pid }: (typeof targets)[number], count: number): Promise<number> {
  const before = processUsage(pid).cpuMicros;
  const { stdout } = await run('h2load', ['-n', String(count), ...load, `https://127.0.0.1:${port}/`]);
  const good = Number(/(\d+) succeeded/.exec(stdout)?.[1]);
  if (good !== count) throw new Error(`${name}: ${good} of ${count} requests succeeded`);
  return (processUsage(pid).cpuMicros - before) / count;
}

const median = (values: readonly number[]) =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;

try {
  // Until all of them listen: h2load fails where nothing does.
  for (const target of targets) {
    for (let tries = 0; ; tries += 1) {
      try {
        await measured(target, 2_000);
        break;
      } catch (error) {
        if (tries === 50) throw error;
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    }
  }
  const results = targets.map((): number[] => []);
  for (let round = 0; round < rounds; round += 1) {
    for (const [i, target] of targets.entries()) results[i]?.push(await measured(target, requests));
  }
  const first = results[0] as number[];
  const summary: { name: string; load: string; cpuMicros: number; ratio: number }[] = [];
  for (const [i, { name }] of targets.entries()) {
    const own = results[i] as number[];
    const ratio = median(own.map((micros, round) => micros / (first[round] as number)));
    summary.push({
      name,
      load: targets[i]?.load.join(' ') ?? '',
      cpuMicros: median(own),
      ratio,
    });
    process.stdout.write(
      `${name.padEnd(64)}${median(own).toFixed(1).padStart(8)} µs/request${ratio.toFixed(2).padStart(8)} ÷ HTTP/1.1\n`,
    );
  }
  writeFileSync(here('results/http2.json'), resultText({ ...facts, targets: summary }));
} finally {
  for (const child of children) child.kill();
  backend.close();
  rmSync(folder, { recursive: true });
}
process.exit();
