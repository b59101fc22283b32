/**
 * What clients see when things around a gateway fail, beside nginx and HAProxy, one after the other in one run:
 *
 *   node --conditions=expressway-source bench/outages.ts restarts      backends restart in turn, each away for a second, for 5,000 requests
 *   node --conditions=expressway-source bench/outages.ts descriptors   64 open files, 250 new connections a second
 *   node --conditions=expressway-source bench/outages.ts deaths        50 workers die while clients open connections
 *
 * The variable WORKERS sets the number of workers of ours for the first two; 1 is the default.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, createServer, request, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePort } from './failover/free-port.ts';

const SERVER = fileURLToPath(new URL('../example-gateway/server.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'expressway-outages-'));
const children = new Set<ChildProcess>();

interface Proxy {
  readonly name: string;
  readonly port: number;
  readonly child: ChildProcess;
  /** Of ours alone. */
  readonly adminUrl?: string;
}

type Counts = Record<string, number>;

const print = (scenario: string, name: string, counts: Counts, more = ''): void =>
  void process.stdout.write(`${scenario} ${name}: ${JSON.stringify(counts)} ${more}\n`);

const count = (counts: Counts, what: string): void => {
  counts[what] = (counts[what] ?? 0) + 1;
};

function start(command: readonly string[], env: NodeJS.ProcessEnv = process.env, openFiles?: number): ChildProcess {
  const limited = openFiles === undefined ? [] : ['sh', '-c', `ulimit -n ${openFiles}; exec "$0" "$@"`];
  const [program = '', ...args] = [...limited, ...command];
  const child = spawn(program, args, { env, cwd: folder });
  child.stderr?.resume();
  children.add(child);
  return child;
}

async function expressway(backends: readonly number[], env: Readonly<Record<string, string>> = {}, openFiles?: number) {
  const usual = {
    HOST: '127.0.0.1',
    PORT: '0',
    ADMIN_PORT: '0',
    RATE_LIMIT_MAX: '100000000',
    WORKERS: process.env.WORKERS ?? '1',
  };
  const urls = backends.map((port) => `http://127.0.0.1:${port}`).join();
  const command = [process.execPath, '--conditions=expressway-source', SERVER];
  const child = start(command, { ...usual, BACKENDS: urls, ...env }, openFiles);
  let said = '';
  child.stdout?.on('data', (text) => {
    said += text;
  });
  while (!/"msg":"listening"/.test(said)) await delay(10);
  const adminUrl = /"adminUrl":"([^"]+)"/.exec(said)?.[1] as string;
  const port = Number(new URL(/"url":"([^"]+)"/.exec(said)?.[1] as string).port);
  return { name: 'Expressway', port, child, adminUrl } satisfies Proxy;
}

async function nginx(backends: readonly number[], workers = 1, openFiles?: number): Promise<Proxy> {
  const port = await freePort();
  const servers = backends.map((one) => `server 127.0.0.1:${one};`).join(' ');
  const file = join(folder, `nginx-${port}.conf`);
  writeFileSync(
    file,
    `daemon off; worker_processes ${workers}; pid ${folder}/nginx-${port}.pid;
     events { worker_connections ${openFiles === undefined ? 1000 : openFiles - 4}; }
     http { access_log off; upstream b { ${servers} keepalive 32; }
       server { listen 127.0.0.1:${port}; location / { proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection ""; } } }`,
  );
  const child = start(['nginx', '-c', file, '-e', join(folder, 'nginx.log')], process.env, openFiles);
  await delay(1_000);
  return { name: 'nginx', port, child };
}

async function haproxy(backends: readonly number[]): Promise<Proxy> {
  const port = await freePort();
  const file = join(folder, 'haproxy.cfg');
  const servers = backends.map((one, index) => ` server s${index} 127.0.0.1:${one} check inter 500`).join('\n');
  writeFileSync(
    file,
    `defaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n option redispatch 1\n retries 3
frontend f\n bind 127.0.0.1:${port}\n default_backend b\nbackend b\n balance roundrobin\n${servers}\n`,
  );
  const child = start(['haproxy', '-f', file, '-db']);
  await delay(1_500);
  return { name: 'HAProxy', port, child };
}

async function openBackend(workMs: number, port = 0): Promise<Server> {
  const server = createServer((req, res) => req.resume().on('end', () => setTimeout(() => res.end('ok'), workMs)));
  server.keepAliveTimeout = 60_000;
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

const portOf = (server: Server): number => (server.address() as AddressInfo).port;

/** One request on a kept connection. */
const ask = (port: number, method: string, agent: Agent) =>
  new Promise<string>((resolve) => {
    const asked = request({ host: '127.0.0.1', port, method, agent }, (res) => {
      res.resume().on('end', () => resolve(`${res.statusCode}`));
    });
    asked.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    asked.end(method === 'POST' ? 'content' : undefined);
  });

/** One request on a connection of its own. */
const askAnew = (port: number) =>
  new Promise<string>((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let bytes = '';
    socket.setTimeout(5_000, () => socket.destroy());
    socket.on('data', (chunk) => {
      bytes += chunk;
    });
    let broken = 'closed';
    socket.on('error', (error: NodeJS.ErrnoException) => {
      broken = error.code ?? broken;
    });
    socket.on('close', () => resolve(bytes.slice(9, 12) || broken));
    socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
  });

/** Requests of a run of `restarts`, and the time after which it ends without them. */
const RESTART_REQUESTS = 5_000;
const RESTART_MS = 60_000;

async function restarts(): Promise<void> {
  for (const make of [expressway, nginx, haproxy]) {
    const servers = await Promise.all([1, 2, 3].map(() => openBackend(5)));
    const ports = servers.map(portOf);
    const { name, port, child } = await make(ports);
    const agent = new Agent({ keepAlive: true });
    const counts: Record<string, Counts> = { GET: {}, POST: {} };
    let sent = 0;
    let isOver = false;
    const clients = Array.from({ length: 10 }, async (_, client) => {
      for (let turn = client; !isOver; turn++) {
        const method = turn % 2 === 0 ? 'GET' : 'POST';
        sent += 1;
        count(counts[method] as Counts, await ask(port, method, agent));
        await delay(15);
      }
    });
    await delay(1_000);
    const began = performance.now();
    let restarted = 0;
    while (restarted < 3 || (sent < RESTART_REQUESTS && performance.now() - began < RESTART_MS)) {
      const index = restarted % 3;
      const server = servers[index] as Server;
      server.close();
      server.closeIdleConnections();
      await delay(1_000);
      servers[index] = await openBackend(5, ports[index]);
      await delay(1_000);
      restarted += 1;
    }
    await delay(3_000);
    isOver = true;
    await Promise.all(clients);
    for (const [method, ended] of Object.entries(counts)) print('restarts', `${name} ${method}`, ended);
    print('restarts', name, {}, `${sent} requests, ${restarted} restarts`);
    agent.destroy();
    child.kill();
    for (const server of servers) server.close().closeAllConnections();
  }
}

async function descriptors(): Promise<void> {
  const backend = await openBackend(10);
  const makers = [() => expressway([portOf(backend)], {}, 64), () => nginx([portOf(backend)], 1, 64)];
  for (const make of makers) {
    const { name, port, child, adminUrl } = (await make()) as Proxy;
    const counts: Counts = {};
    const probes: Counts = {};
    const asked: Promise<void>[] = [];
    const began = performance.now();
    for (let sent = 0; performance.now() - began < 8_000; ) {
      for (; sent < ((performance.now() - began) / 1_000) * 250; sent++) {
        asked.push(askAnew(port).then((what) => count(counts, what)));
      }
      if (adminUrl !== undefined && sent % 25 === 0) {
        asked.push(
          fetch(`${adminUrl}/livez`, { headers: { connection: 'close' } }).then(
            ({ status }) => count(probes, String(status)),
            () => count(probes, 'failed'),
          ),
        );
      }
      await delay(4);
    }
    await Promise.all(asked);
    print('descriptors', name, counts, adminUrl === undefined ? '' : `/livez: ${JSON.stringify(probes)}`);
    child.kill();
  }
  backend.close().closeAllConnections();
}

/** Ways in which a worker can die from within, each at a signal. */
const DEATHS = ['SIGKILL', 'SIGWINCH', 'SIGURG', 'SIGXFSZ', 'SIGPWR'] as const;
const PRELOAD = `
  const { isWorker } = await import('node:cluster');
  if (isWorker) {
    process.on('SIGWINCH', () => { throw new Error('crash'); });
    process.on('SIGURG', () => process.exit(3));
    process.on('SIGXFSZ', () => process.abort());
    process.on('SIGPWR', () => { for (;;); });
  }`;

const isGone = (pid: number): boolean => {
  try {
    // A zombie is gone as well.
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return true;
  }
};

async function deaths(): Promise<void> {
  const backend = await openBackend(0);
  const env = {
    WORKERS: '2',
    WORKER_HANG_TIMEOUT_MS: '2000',
    NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(PRELOAD)}`,
  };
  for (const make of [() => expressway([portOf(backend)], env), () => nginx([portOf(backend)], 2)]) {
    const { name, port, child, adminUrl } = (await make()) as Proxy;
    const workers = async (): Promise<number[]> => {
      if (adminUrl === undefined) {
        return execFileSync('pgrep', ['-P', String(child.pid)], { encoding: 'utf8' })
          .trim()
          .split('\n')
          .map(Number);
      }
      const { workers: rows } = (await (await fetch(`${adminUrl}/status`)).json()) as {
        workers: { pid: number; state: string }[];
      };
      return rows.filter(({ state }) => state === 'ready').map(({ pid }) => pid);
    };
    const counts: Counts = {};
    let isOver = false;
    const clients = Array.from({ length: 24 }, async () => {
      while (!isOver) {
        count(counts, await askAnew(port));
        await delay(5);
      }
    });
    const took: number[] = [];
    for (let death = 0; death < 50; death++) {
      const before = await workers();
      const [pid] = before as [number];
      process.kill(pid, adminUrl === undefined ? 'SIGKILL' : (DEATHS[death % DEATHS.length] as NodeJS.Signals));
      while (!isGone(pid)) await delay(5);
      const began = performance.now();
      for (;;) {
        const now = await workers();
        if (now.length === 2 && !now.includes(pid)) break;
        if (performance.now() - began > 20_000) throw new Error(`${name}: worker ${pid} was not replaced`);
        await delay(10);
      }
      took.push(Math.round(performance.now() - began));
      await delay(300);
    }
    isOver = true;
    await Promise.all(clients);
    took.sort((a, b) => a - b);
    print('deaths', name, counts, `replaced after ms: median ${took[25]}, most ${took[49]}`);
    child.kill();
  }
  backend.close().closeAllConnections();
}

const SCENARIOS = { restarts, descriptors, deaths };

try {
  for (const name of process.argv.slice(2)) {
    const scenario = SCENARIOS[name as keyof typeof SCENARIOS];
    if (scenario === undefined)
      throw new Error(`no scenario "${name}"; there are ${Object.keys(SCENARIOS).join(', ')}`);
    await scenario();
  }
} finally {
  for (const child of children) child.kill();
  await delay(300);
  rmSync(folder, { recursive: true, force: true });
}
process.exit();
