import type { Placement } from '../harness/placement.ts';
import type { Processes } from '../harness/processes.ts';

export interface GatewayContext {
  readonly processes: Processes;
  readonly placement: Placement;
  /** For files of its own. */
  readonly folder: string;
  /** Origins of the backends. */
  readonly backends: readonly string[];
}

/** Something that stands before the backends. Unlike a `Target`, it is not asked what CPU time it took. */
export interface Gateway {
  readonly name: string;
  /** What it is made of, for the report. */
  readonly title: string;
  /** Why it cannot be run on this machine, if so. */
  missing(): string | undefined;
  start(context: GatewayContext): Promise<RunningGateway>;
}

export interface RunningGateway {
  readonly port: number;
  /** @throws {Error} when it ended before it was told to. */
  stop(): Promise<void>;
}

/** One of our own: `failover/targets/<name>.ts`, run by this Node. */
export class NodeGateway implements Gateway {
  readonly name: string;
  readonly title: string;

  constructor(name: string, title: string) {
    this.name = name;
    this.title = title;
  }

  missing(): undefined {
    return undefined;
  }

  async start({ processes, placement, backends }: GatewayContext): Promise<RunningGateway> {
    const script = new URL(`./targets/${this.name}.ts`, import.meta.url);
    const child = processes.start({ name: this.name, script, args: backends, cpus: placement.gateway });
    try {
      const { port } = await child.ready<{ port: number }>();
      const stop = async () => {
        // Rejects when it crashed under the fault, with what it said last.
        await child.ask('usage');
        await child.stop();
      };
      return { port, stop };
    } catch (error) {
      child.kill();
      throw error;
    }
  }
}
