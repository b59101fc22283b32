import { loadavg } from 'node:os';
import type { Flags } from '../flags.ts';
import { Backends } from '../harness/backends.ts';
import { runRounds } from '../harness/rounds.ts';
import type { Target } from '../harness/target.ts';
import { describeMachine } from '../harness/versions.ts';
import { startLoad } from '../load/start-load.ts';
import { warnings } from '../report/cells.ts';
import { writeResult } from '../report/result-file.ts';
import { type Baselines, type Summary, summarize } from '../report/summary.ts';
import { type Column, renderTable } from '../report/table.ts';
import type { Bench, Subcommand } from './subcommand.ts';

const BACKENDS = 2;
/** Start, stop and the questions in between, per target. */
const OVERHEAD_SECONDS = 20;
/** A machine with more to do than this before the run starts gives noisy numbers. */
const QUIET_LOAD_AVERAGE = 0.5;

export interface ComparisonSpec {
  readonly name: string;
  readonly about: string;
  readonly targets: readonly Target[];
  /** How many there are to forward to; 2 when it does not say. */
  readonly backends?: number;
  readonly baselines: Baselines;
  readonly columns: (summaries: readonly Summary[]) => readonly Column<Summary>[];
}

/** A subcommand that measures several targets in interleaved rounds and prints one table. */
export class Comparison implements Subcommand {
  readonly name: string;
  readonly about: string;
  readonly #spec: ComparisonSpec;
  readonly #backends: number;

  constructor(spec: ComparisonSpec) {
    this.name = spec.name;
    this.about = spec.about;
    this.#spec = spec;
    this.#backends = spec.backends ?? BACKENDS;
  }

  atMostSeconds(flags: Flags): number {
    const turns = (flags.rounds + 1) * this.#chosen(flags).length;
    // autocannon and wrk start anew for each stretch, so twice the planned time is not yet a hang.
    return 2 * turns * (flags.warmupSeconds + flags.seconds) + OVERHEAD_SECONDS * this.#chosen(flags).length;
  }

  async run(bench: Bench): Promise<boolean> {
    const { flags, processes, placement, print, progress } = bench;
    const targets = this.#chosen(flags);
    const loadAverage = loadavg()[0] as number;
    progress(placement.description);
    if (loadAverage > QUIET_LOAD_AVERAGE)
      progress(`not quiet: load average ${loadAverage.toFixed(1)} before the start`);
    const backends = await Backends.start(processes, placement, this.#backends);
    const load = await startLoad(flags.load, processes, placement);
    const runs = await runRounds(
      targets,
      { ...flags, preheat: !flags.smoke, loadCpuCount: placement.loadCpuCount },
      { context: { processes, placement, backends: backends.origins }, load, backends, progress },
    );
    await Promise.all([load.stop(), backends.stop()]);

    const { baselines } = this.#spec;
    const summaries = summarize(runs, baselines);
    const result = {
      name: this.name,
      date: new Date().toISOString(),
      machine: describeMachine(),
      placement: placement.description,
      loadAverageBefore: loadAverage,
      load: { name: load.name, checks: load.checks },
      flags,
      backends: this.#backends,
      baselines,
      targets: summaries,
    };
    if (flags.json) print(JSON.stringify(result, undefined, 2));
    else print(this.#text(summaries, bench, load.checks, loadAverage));
    if (!flags.smoke) {
      const partial = flags.only === undefined ? '' : '.partial';
      progress(`written: ${writeResult(`${this.name}${partial}.json`, result)}`);
    }
    return summaries.every(({ status }) => status === 'ok');
  }

  #chosen({ only }: Flags): Target[] {
    const { targets } = this.#spec;
    const unknown = only?.filter((name) => !targets.some((target) => target.name === name)) ?? [];
    if (unknown.length > 0) {
      throw new Error(
        `${this.name} has no target ${unknown.join(', ')}; it has ${targets.map((t) => t.name).join(', ')}`,
      );
    }
    return targets.filter(({ name }) => only?.includes(name) ?? true);
  }

  #text(summaries: readonly Summary[], { flags, placement }: Bench, checks: string, loadAverage: number): string {
    const { node, cpu, cores } = describeMachine();
    const notes = warnings(summaries);
    return [
      '',
      `${this.name}: ${flags.rounds} rounds of ${flags.seconds} s, ${flags.connections} connections, ${this.#backends} backends`,
      `Node ${node}, ${cpu}, ${cores} cores; ${placement.description}`,
      `load: ${flags.load}, checks ${checks}; load average before: ${loadAverage.toFixed(1)}`,
      '',
      renderTable(this.#spec.columns(summaries), summaries),
      '',
      ...summaries.map(({ name, title }) => `${name}: ${title}`),
      ...(notes.length === 0 ? [] : ['', ...notes.map((note) => `! ${note}`)]),
    ].join('\n');
  }
}
