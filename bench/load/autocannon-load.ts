import type { Child } from '../harness/child.ts';
import type { Usage } from '../harness/child-side.ts';
import { peers } from '../harness/peers.ts';
import type { Placement } from '../harness/placement.ts';
import type { Processes } from '../harness/processes.ts';
import type { AutocannonRun } from './autocannon-process.ts';
import type { LoadCount, LoadGenerator, LoadPlan } from './load-generator.ts';
import { separateRuns } from './separate-runs.ts';

/** autocannon from npm: well known, to check our own generator against. */
export class AutocannonLoad implements LoadGenerator {
  readonly name = 'autocannon';
  readonly checks = 'status, whole content with one fixed nonce';
  readonly #child: Child;

  private constructor(child: Child) {
    this.#child = child;
  }

  static async start(processes: Processes, placement: Placement): Promise<AutocannonLoad> {
    const why = peers.missing();
    if (why !== undefined) throw new Error(why);
    const script = new URL('./autocannon-process.ts', import.meta.url);
    const child = processes.start({ name: 'autocannon', script, cpus: placement.load });
    await child.ready();
    return new AutocannonLoad(child);
  }

  measure(plan: LoadPlan, begin: () => Promise<void>, end: () => Promise<void>): Promise<LoadCount> {
    return separateRuns(plan, (seconds) => this.#run(plan, seconds), begin, end);
  }

  async cpuMicros(): Promise<number> {
    return (await this.#child.ask<Usage>('usage')).cpuMicros;
  }

  stop(): Promise<void> {
    return this.#child.stop();
  }

  #run({ port, connections }: LoadPlan, seconds: number): Promise<LoadCount> {
    const run = { port, connections, seconds } satisfies AutocannonRun;
    return this.#child.ask('run', run, seconds * 1000 + 20_000);
  }
}
