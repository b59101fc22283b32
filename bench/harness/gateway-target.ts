import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { freePort } from '../failover/free-port.ts';
import type { Usage } from './child-side.ts';
import { processUsage } from './process-usage.ts';
import { SystemServer } from './system-server.ts';
import type { Target, TargetContext } from './target.ts';

const SERVER = fileURLToPath(new URL('../../example-gateway/server.ts', import.meta.url));
const BUILT = fileURLToPath(new URL('../../dist/lib/cli/main.js', import.meta.url));

/** A gateway that may be several processes. */
export interface RunningGateway {
  readonly port: number;
  /** Of all its processes. */
  usage(): Promise<Usage>;
  /** Of the first one, which serves no traffic where there are others. */
  firstUsage(): Usage;
  stop(): Promise<void>;
}

/** The example gateway as it is started, on whichever cores it gets; or another command that reads the same variables. */
export class GatewayTarget implements Pick<Target, 'name' | 'title'> {
  readonly name: string;
  readonly title: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #args: readonly string[];

  constructor(
    name: string,
    title: string,
    env: Readonly<Record<string, string>>,
    args: readonly string[] = [...process.execArgv, SERVER],
  ) {
    this.name = name;
    this.title = title;
    this.#env = env;
    this.#args = args;
  }

  /** @param placement Where it is pinned to one core. */
  async start({
    processes,
    backends,
    placement,
  }: Pick<TargetContext, 'processes' | 'backends'> & Partial<TargetContext>): Promise<RunningGateway> {
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
    const command = [process.execPath, ...this.#args];
    const cpus = placement?.gateway;
    const server = await SystemServer.start({ name: this.name, command, env, port, cpus }, processes);
    return {
      port,
      firstUsage: () => server.usage(),
      usage: async () => sumOf([server.pid, ...childrenOf(server.pid)].map(processUsage)),
      stop: () => server.stop(),
    };
  }
}

/** `expressway start` of the package that `npm run build` made, with everything on. */
export class BuiltTarget extends GatewayTarget implements Target {
  constructor(name: string, title: string) {
    const env = { LOG_LEVEL: 'info', ACCESS_LOG: 'json', HEALTH_CHECK_PATH: '/healthz' };
    super(name, title, env, [BUILT, 'start']);
  }

  missing(): string | undefined {
    return existsSync(BUILT) ? undefined : 'there is no dist: npm run build';
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
