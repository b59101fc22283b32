import type { Child } from './child.ts';
import type { Usage } from './child-side.ts';
import { peers } from './peers.ts';
import type { Placement } from './placement.ts';
import type { Processes } from './processes.ts';
import type { SizedExchange } from './sized.ts';

export interface TargetContext {
  readonly processes: Processes;
  readonly placement: Placement;
  /** Origins of the backends to forward to. */
  readonly backends: readonly string[];
  /** For files of the run; it is gone afterwards. */
  readonly folder: string;
}

/** Something to measure. Another kind (a system binary, say) is another class with these members. */
export interface Target {
  readonly name: string;
  /** What it is made of, for the report. */
  readonly title: string;
  /** Whether the right answer to each request is a 429. */
  readonly refuses?: boolean;
  /** What is asked of it, when that is not a GET of a small answer. */
  readonly exchange?: SizedExchange;
  /** Connections to ask over, when not as many as the run says. */
  readonly connections?: number;
  /** Why it cannot be run on this machine, if so. */
  missing?(): string | undefined;
  start(context: TargetContext): Promise<RunningTarget>;
}

export interface RunningTarget {
  readonly port: number;
  /** Of a second listener of the same process, for health checks, where the target has one. */
  readonly adminPort?: number | undefined;
  usage(): Promise<Usage>;
  stop(): Promise<void>;
}

/** Bytes of memory after a garbage collection. */
export interface Memory {
  readonly rssBytes: number;
  /** Objects, and buffers outside of V8's heap. */
  readonly heapBytes: number;
}

export interface NodeTargetOptions {
  /** File in `targets/`; the name of the target when it does not say. */
  readonly script?: string;
  /** Arguments before the origins of the backends. */
  readonly args?: (context: TargetContext) => readonly string[];
  /** Whether it needs a package of `bench/package.json`. */
  readonly isPeer?: boolean;
}

/** A target of our own: a file in `targets/`, run by this Node. */
export class NodeTarget implements Target {
  readonly name: string;
  readonly title: string;

  readonly #script: string;
  readonly #args: (context: TargetContext) => readonly string[];
  readonly #isPeer: boolean;

  constructor(name: string, title: string, { script = name, args = () => [], isPeer = false }: NodeTargetOptions = {}) {
    this.name = name;
    this.title = title;
    this.#script = script;
    this.#args = args;
    this.#isPeer = isPeer;
  }

  missing(): string | undefined {
    return this.#isPeer ? peers.missing() : undefined;
  }

  start(context: TargetContext): Promise<RunningNodeTarget> {
    const args = [...this.#args(context), ...context.backends];
    return RunningNodeTarget.start(context, { name: this.name, script: this.#script, args });
  }
}

/** A file in `targets/` as a process. */
interface NodeTargetProcess {
  readonly name: string;
  readonly script: string;
  readonly args: readonly string[];
}

export class RunningNodeTarget implements RunningTarget {
  readonly port: number;
  readonly adminPort: number | undefined;
  readonly #child: Child;

  private constructor(child: Child, { port, adminPort }: { readonly port: number; readonly adminPort?: number }) {
    this.#child = child;
    this.port = port;
    this.adminPort = adminPort;
  }

  static async start(
    { processes, placement }: TargetContext,
    { name, script, args }: NodeTargetProcess,
  ): Promise<RunningNodeTarget> {
    const url = new URL(`../targets/${script}.ts`, import.meta.url);
    const child = processes.start({ name, script: url, args, cpus: placement.gateway });
    try {
      return new RunningNodeTarget(child, await child.ready<{ port: number; adminPort?: number }>());
    } catch (error) {
      child.kill();
      throw error;
    }
  }

  usage(): Promise<Usage> {
    return this.#child.ask('usage');
  }

  /** Collects its garbage first, so it is slow. */
  memory(): Promise<Memory> {
    return this.#child.ask('memory', undefined, 30_000);
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
