import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { freePort } from '../failover/free-port.ts';
import type { Usage } from './child-side.ts';
import { processUsage } from './process-usage.ts';
import { SystemServer } from './system-server.ts';
import type { Target, TargetContext } from './target.ts';

const SERVER = fileURLToPath(new URL('../../example-gateway/server.ts', import.meta.url));

/** A gateway that may be several processes. */
export interface RunningGateway {
  readonly port: number;
  /** Of all its processes. */
  usage(): Promise<Usage>;
  /** Of the first one, which serves no traffic where there are others. */
  firstUsage(): Usage;
  stop(): Promise<void>;
}

/** The example gateway as it is started, on whichever cores it gets. */
export class GatewayTarget implements Pick<Target, 'name' | 'title'> {
  readonly name: string;
  readonly title: string;
  readonly #env: Readonly<Record<string, string>>;

  constructor(name: string, title: string, env: Readonly<Record<string, string>>) {
    this.name = name;
    this.title = title;
    this.#env = env;
  }

  async start({ processes, backends }: Omit<TargetContext, 'placement' | 'folder'>): Promise<RunningGateway> {
    const port = await freePort();
    const env = {
      HOST: '127.0.0.1',
      PORT: String(port),
      ADMIN_PORT: '0',
      BACKENDS: backends.join(),
      // Counted, and never reached.
      RATE_LIMIT_MAX: '1000000000',
      RATE_LIMIT_WINDOW_MS: '1000',
      LOG_LEVEL: 'error',
      ...this.#env,
    };
    const command = [process.execPath, ...process.execArgv, SERVER];
    const server = await SystemServer.start({ name: this.name, command, env, port, cpus: undefined }, processes);
    return {
      port,
      firstUsage: () => server.usage(),
      usage: async () => sumOf([server.pid, ...childrenOf(server.pid)].map(processUsage)),
      stop: () => server.stop(),
    };
  }
}

const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(/\s+/).filter(Boolean).map(Number);

function sumOf(usages: readonly Usage[]): Usage {
  return {
    cpuMicros: usages.reduce((sum, { cpuMicros }) => sum + cpuMicros, 0),
    rssBytes: usages.reduce((sum, { rssBytes }) => sum + rssBytes, 0),
  };
}
