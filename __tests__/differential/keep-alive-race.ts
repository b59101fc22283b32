import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, createServer, request } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { pause } from '../support/pause.ts';
import { startReference } from './reference-proxy.ts';

/** When the backend closes a connection: after the last response, or after each response, whatever came since. */
export const CLOSES = ['idle', 'always'] as const;

const CLIENTS = 8;
const PAUSE_MS = 10;
const SELF = fileURLToPath(import.meta.url);

export interface Race {
  readonly closes: string;
  readonly ours: number;
  readonly nginx: number;
  readonly haproxy: number;
}

/** How many POST requests fail at each proxy when their backend closes its connections 2 to 8 ms after a response. */
export async function keepAliveRace(closes: (typeof CLOSES)[number], requests: number): Promise<Race> {
  const cleanup = new Cleanup();
  try {
    const backend: ChildProcess = spawn(process.execPath, [...process.execArgv, SELF, closes], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    cleanup.add({ close: () => backend.stdin?.end() });
    const [line] = (await once(backend.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
    const port = Number(line.toString());
    const circuit = { consecutiveFailures: 0, minimumRequests: 1_000_000 };
    const ours = cleanup.add(await proxyGateway({ backends: [`http://127.0.0.1:${port}`], circuit }));
    const nginx = cleanup.add(await startReference('nginx', port));
    const haproxy = cleanup.add(await startReference('HAProxy', port));
    return {
      closes,
      ours: await failures(ours.port, requests),
      nginx: await failures(nginx.port, requests),
      haproxy: await failures(haproxy.port, requests),
    };
  } finally {
    await cleanup.run();
  }
}

async function failures(port: number, requests: number): Promise<number> {
  const agent = new Agent({ keepAlive: true });
  let left = requests;
  let failed = 0;
  const client = async () => {
    while (left-- > 0) {
      if (!(await post(port, agent))) failed += 1;
      await pause('the pace of the load', Math.random() * PAUSE_MS);
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  agent.destroy();
  return failed;
}

function post(port: number, agent: Agent): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = request({ port, agent, method: 'POST', headers: { 'content-length': 5 } }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode === 200));
    });
    asked.on('error', () => resolve(false)).end('hello');
  });
}

/** The backend, in a process of its own. */
function runBackend(closes: string): void {
  const timers = new WeakMap<Socket, NodeJS.Timeout>();
  const server = createServer({ keepAliveTimeout: 0 }, (req, res) => {
    const { socket } = req;
    if (closes === 'idle') clearTimeout(timers.get(socket));
    req.resume().on('end', () => {
      res.writeHead(200, { 'content-length': 2 }).end('ok');
      timers.set(
        socket,
        setTimeout(() => socket.destroy(), 2 + Math.random() * 6),
      );
    });
  });
  server.listen(0, '127.0.0.1', () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`));
  process.stdin.on('end', () => process.exit()).resume();
}

if (process.argv[1] === SELF) runBackend(process.argv[2] as string);
