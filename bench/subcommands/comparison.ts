import type { BackendKind } from '../backends/listen.ts';
import type { FlagDefaults, Flags } from '../flags.ts';
import { Backends } from '../harness/backends.ts';
import { PREHEAT_SECONDS, runRounds } from '../harness/rounds.ts';
import type { Target } from '../harness/target.ts';
import { inTempFolder } from '../harness/temp-folder.ts';
import { startLoad } from '../load/start-load.ts';
import { warnings } from '../report/cells.ts';
import type { Panel } from '../report/chart.ts';
import { writeChart, writeResult } from '../report/result-file.ts';
import { headLines, type RunFacts, runFacts, tellFacts } from '../report/run-facts.ts';
import { type Baselines, type Summary, summarize } from '../report/summary.ts';
import { type Column, renderTable } from '../report/table.ts';
import { chosenOf, missingLines } from './chosen.ts';
import type { Bench, Subcommand } from './subcommand.ts';

const BACKENDS = 2;
/** Start, stop and the questions in between, per process of a target. */
const OVERHEAD_SECONDS = 10;

export interface ComparisonSpec {
  readonly name: string;
  readonly about: string;
  /** Name and `about`, when it does not say. */
  readonly chartTitle?: string;
  readonly targets: readonly Target[];
  /** How many there are to forward to; 2 when it does not say. */
  readonly backends?: number;
  /** What they answer; about 130 bytes when it does not say. */
  readonly backendKind?: BackendKind;
  readonly baselines: Baselines;
  readonly columns: (summaries: readonly Summary[]) => readonly Column<Summary>[];
  readonly panels: (summaries: readonly Summary[]) => readonly Panel[];
  readonly defaults?: FlagDefaults;
  /** Whether what was measured is good enough; without it any valid numbers are. */
  readonly verdict?: (summaries: readonly Summary[]) => Verdict;
  /** Whether its numbers are for this moment only, and not for a file. */
  readonly isFleeting?: boolean;
}

export interface Verdict {
  readonly isGood: boolean;
  readonly text: string;
}

/** A subcommand that measures several targets in interleaved rounds and prints one table. */
export class Comparison implements Subcommand {
  readonly name: string;
  readonly about: string;
  readonly defaults: FlagDefaults;
  readonly #spec: ComparisonSpec;

  constructor(spec: ComparisonSpec) {
    this.name = spec.name;
    this.about = spec.about;
    this.defaults = spec.defaults ?? {};
    this.#spec = spec;
  }

  atMostSeconds(flags: Flags): number {
    const { targets } = chosenOf(this.name, this.#spec.targets, flags.only);
    const secondsEach =
      flags.rounds * (flags.warmupSeconds + flags.seconds) + flags.processes * (PREHEAT_SECONDS + OVERHEAD_SECONDS);
    // autocannon and wrk start anew for each stretch, and a slow machine takes seconds to accept hundreds of connections. So four times the
    // planned time is not yet a hang.
    return 4 * secondsEach * targets.length + OVERHEAD_SECONDS;
  }

  async run({ flags, processes, placement, print, progress }: Bench): Promise<boolean> {
    const { backends: count = BACKENDS, backendKind, baselines } = this.#spec;
    const { targets, missing } = chosenOf(this.name, this.#spec.targets, flags.only);
    const facts = runFacts(this.name, flags, placement);
    tellFacts(facts, progress);
    const backends = await Backends.start(processes, placement, count, backendKind);
    const load = await startLoad(flags.load, processes, placement);
    const runs = await inTempFolder((folder) =>
      runRounds(
        targets,
        { ...flags, preheat: !flags.smoke, loadCpuCount: placement.loadCpuCount },
        { context: { processes, placement, backends: backends.origins, folder }, load, backends, progress },
      ),
    );
    await Promise.all([load.stop(), backends.stop()]);

    const summaries = summarize(runs, baselines);
    const { name, checks } = load;
    const head = { ...facts, load: { name, checks }, backends: count, baselines, missing };
    // One short round proves nothing.
    const verdict = flags.smoke ? undefined : this.#spec.verdict?.(summaries);
    if (flags.json) print(JSON.stringify({ ...head, targets: summaries }, undefined, 2));
    else {
      print([...this.#lines(summaries, facts, `load: ${name}, checks ${checks}`), ...missingLines(missing)].join('\n'));
      if (verdict !== undefined) print(`\n${verdict.text}`);
    }
    if (!flags.smoke && this.#spec.isFleeting !== true) this.#write(head, summaries, facts, progress);
    return verdict?.isGood !== false && summaries.every(({ status }) => status === 'ok');
  }

  #write(head: object, summaries: readonly Summary[], facts: RunFacts, progress: (line: string) => void): void {
    const name = `${this.name}${facts.flags.only === undefined ? '' : '.partial'}`;
    const panels = this.#spec.panels(summaries);
    // What a summary says of its samples is all that the file keeps of them.
    const targets = summaries.map(({ samples, ...summary }) => ({ ...summary, rounds: samples.length }));
    progress(`written: ${writeResult(`${name}.json`, { ...head, targets, panels })}`);
    progress(`written: ${writeChart(name, this.#spec.chartTitle ?? `${this.name}: ${this.about}`, facts, panels)}`);
  }

  #lines(summaries: readonly Summary[], facts: RunFacts, load: string): string[] {
    const { flags } = facts;
    const notes = warnings(summaries);
    return [
      ...headLines(
        facts,
        `${this.name}: ${flags.rounds} rounds of ${flags.seconds} s, ${flags.processes} processes each, ${flags.connections} connections, ${this.#spec.backends ?? BACKENDS} backends; ${load}`,
      ),
      '',
      renderTable(this.#spec.columns(summaries), summaries),
      '',
      // Once for all cases of a target.
      ...new Set(summaries.map(({ name, title }) => `${name.split('/')[0]}: ${title}`)),
      ...(notes.length === 0 ? [] : ['', ...notes.map((note) => `! ${note}`)]),
    ];
  }
}
