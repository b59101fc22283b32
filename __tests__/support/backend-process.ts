import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { closedPort } from './servers.ts';

const SELF = new URL(import.meta.url).pathname;

/**
 * A backend in a process of its own, so that it can be killed, stopped and continued. Answers with its name
 * and the nonce of the request, after `x-delay` milliseconds; counts the requests that it executed.
 */
export class BackendProcess {
  readonly port: number;
  readonly #name: string;
  #child: ChildProcess;

  private constructor(name: string, port: number, child: ChildProcess) {
    this.#name = name;
    this.port = port;
    this.#child = child;
  }

  static async start(name: string): Promise<BackendProcess> {
    // Nobody else gets it while this one is dead.
    const { child, port } = await launch(name, await closedPort());
    return new BackendProcess(name, port, child);
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
  }

  /** On the port that it had. */
  async restart(): Promise<void> {
    this.#child = (await launch(this.#name, this.port)).child;
  }

  close(): Promise<void> {
    return this.kill();
  }
}

async function launch(name: string, port: number): Promise<{ child: ChildProcess; port: number }> {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', SELF, name, String(port)], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  // Ends with this process, whatever becomes of it.
  const end = () => child.kill('SIGKILL');
  process.once('exit', end);
  child.once('exit', () => process.off('exit', end));
  const [listening] = (await once(child, 'message')) as [{ port: number }];
  return { child, port: listening.port };
}

function serve(name: string, port: number): void {
  const executions = new Map<string, number>();
  const server = createServer((req, res) => {
    if (req.url === '/executions') {
      res.end(JSON.stringify(Object.fromEntries(executions)));
      return;
    }
    const nonce = String(req.headers['x-nonce'] ?? '');
    executions.set(nonce, (executions.get(nonce) ?? 0) + 1);
    req.resume();
    setTimeout(() => res.end(`${name} ${nonce}`), Number(req.headers['x-delay'] ?? 0));
  });
  server.listen(port, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }));
  process.once('disconnect', () => process.exit());
}

if (process.argv[1] === SELF) serve(process.argv[2] as string, Number(process.argv[3]));
