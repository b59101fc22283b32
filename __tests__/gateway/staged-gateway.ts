import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, get, type IncomingMessage } from 'node:http';
import { fileURLToPath } from 'node:url';
import type { GatewayProblem } from 'expressway';
import { LIBRARY_FLAGS } from '../support/library.ts';
import { closedPort } from '../support/servers.ts';
import { until } from './until.ts';

const APP = fileURLToPath(new URL('./problem-app.ts', import.meta.url));

export interface PageState {
  readonly headline: { readonly level: string; readonly title: string };
  readonly problems: readonly GatewayProblem[];
}

export interface StagedOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Its limit of open files, `ulimit -n`. */
  readonly openFiles?: number;
  /** Where its standard output goes; then there is none to read. */
  readonly stdout?: string;
}

/** A gateway in a process of its own, watched as an operator watches it: by page, `/status`, metrics and log. */
export class StagedGateway {
  readonly url: string;
  readonly adminUrl: string;
  /** What the page shows, by its events. */
  page: PageState | undefined;
  stdout = '';
  stderr = '';
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #exited: Promise<unknown>;
  /** Connections that are open before files run out. */
  readonly #admin = new Agent({ keepAlive: true, maxSockets: 2 });

  private constructor(ports: readonly [number, number], { env = {}, openFiles, stdout }: StagedOptions) {
    const [port, adminPort] = ports;
    this.url = `http://127.0.0.1:${port}`;
    this.adminUrl = `http://127.0.0.1:${adminPort}`;
    const limit = openFiles === undefined ? '' : `ulimit -n ${openFiles};`;
    const to = stdout === undefined ? '' : `> ${stdout}`;
    const command = [process.execPath, ...LIBRARY_FLAGS, APP];
    this.#child = spawn('sh', ['-c', `${limit} exec "$0" "$@" ${to}`, ...command], {
      env: {
        NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
        PATH: process.env.PATH,
        HOST: '127.0.0.1',
        PORT: String(port),
        ADMIN_PORT: String(adminPort),
        MAX_CONNECTIONS: '400',
        EXPRESSWAY_ENV_FILE: '',
        RATE_LIMIT_MAX: '100000',
        ...env,
      },
    });
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.#exited = once(this.#child, 'close');
  }

  static async start(options: StagedOptions): Promise<StagedGateway> {
    const gateway = new StagedGateway([await closedPort(), await closedPort()], options);
    const isReady = async () => (await gateway.ask('/readyz').catch(() => undefined))?.startsWith('200') === true;
    await until(isReady, 60_000).catch(async (error) => {
      await gateway.close();
      throw new Error(`no gateway:\n${gateway.stdout}\n${gateway.stderr}`, { cause: error });
    });
    gateway.#follow();
    await until(() => gateway.page !== undefined, 60_000);
    return gateway;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Status and content of what the admin listener has. */
  async ask(path: string): Promise<string> {
    const [res] = (await once(get(this.adminUrl + path, { agent: this.#admin }), 'response')) as [IncomingMessage];
    let text = '';
    for await (const chunk of res.setEncoding('utf8')) text += chunk;
    return `${res.statusCode} ${text}`;
  }

  /** Its lines of JSON about a problem. */
  logged(problem: string): string | undefined {
    const line = this.stdout.split('\n').find((one) => one.includes(`"problem":"${problem}"`));
    return line === undefined ? undefined : (JSON.parse(line) as { msg: string }).msg;
  }

  async close(): Promise<void> {
    this.#child.kill('SIGKILL');
    this.#admin.destroy();
    await this.#exited;
  }

  /** As the page does it, which tries again by itself. */
  #follow(): void {
    const again = (): void => {
      if (this.#child.exitCode === null && this.#child.signalCode === null)
        setTimeout(() => this.#follow(), 500).unref();
    };
    const req = get(`${this.adminUrl}/events`, { agent: false }, (res) => {
      let text = '';
      res.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
        const events = text.split('\n\n');
        text = events.pop() ?? '';
        for (const event of events) {
          const data = /^event: state\ndata: (.*)$/m.exec(event)?.[1];
          if (data !== undefined) this.page = JSON.parse(data) as PageState;
        }
      });
      res.on('error', () => {}).on('close', again);
    });
    req.on('error', again);
  }
}
