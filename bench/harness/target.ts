import type { Child } from './child.ts';
import type { Usage } from './child-side.ts';
import type { Placement } from './placement.ts';
import type { Processes } from './processes.ts';

export interface TargetContext {
  readonly processes: Processes;
  readonly placement: Placement;
  /** Origins of the backends to forward to. */
  readonly backends: readonly string[];
}

/** Something to measure. Another kind (a system binary, say) is another class with these members. */
export interface Target {
  readonly name: string;
  /** What it is made of, for the report. */
  readonly title: string;
  /** Whether the right answer to each request is a 429. */
  readonly refuses?: boolean;
  start(context: TargetContext): Promise<RunningTarget>;
}

export interface RunningTarget {
  readonly port: number;
  usage(): Promise<Usage>;
  stop(): Promise<void>;
}

/** A target of our own: `targets/<name>.ts`, run by this Node. */
export class NodeTarget implements Target {
  readonly name: string;
  readonly title: string;

  constructor(name: string, title: string) {
    this.name = name;
    this.title = title;
  }

  async start({ processes, placement, backends }: TargetContext): Promise<RunningNodeTarget> {
    const script = new URL(`../targets/${this.name}.ts`, import.meta.url);
    const child = processes.start({ name: this.name, script, args: backends, cpus: placement.gateway });
    try {
      return new RunningNodeTarget(child, (await child.ready<{ port: number }>()).port);
    } catch (error) {
      child.kill();
      throw error;
    }
  }
}

export class RunningNodeTarget implements RunningTarget {
  readonly port: number;
  readonly #child: Child;

  constructor(child: Child, port: number) {
    this.#child = child;
    this.port = port;
  }

  usage(): Promise<Usage> {
    return this.#child.ask('usage');
  }

  startProfile(): Promise<void> {
    return this.#child.ask('startProfile');
  }

  /** Writes what was sampled since `startProfile()`. */
  stopProfile(file: string): Promise<void> {
    return this.#child.ask('stopProfile', file, 30_000);
  }

  stop(): Promise<void> {
    return this.#child.stop();
  }
}
