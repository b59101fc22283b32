import type { BackendsReady } from '../backends/backend-process.ts';
import type { BackendKind } from '../backends/listen.ts';
import type { Child } from './child.ts';
import type { Usage } from './child-side.ts';
import type { Placement } from './placement.ts';
import type { Processes } from './processes.ts';

export interface BackendsUsage extends Usage {
  /** Answers so far, per backend. */
  readonly served: readonly number[];
}

/** The backends of a run. */
export class Backends {
  readonly origins: readonly string[];
  readonly #child: Child;

  private constructor(child: Child, origins: readonly string[]) {
    this.#child = child;
    this.origins = origins;
  }

  static async start(
    processes: Processes,
    placement: Placement,
    count: number,
    kind: BackendKind = 'small',
  ): Promise<Backends> {
    const child = processes.start({
      name: 'backends',
      script: new URL('../backends/backend-process.ts', import.meta.url),
      args: [String(count), kind],
      cpus: placement.load,
    });
    return new Backends(child, (await child.ready<BackendsReady>()).origins);
  }

  usage(): Promise<BackendsUsage> {
    return this.#child.ask('usage');
  }

  stop(): Promise<void> {
    return this.#child.stop();
  }
}
