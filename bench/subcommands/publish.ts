import type { Panel } from '../report/chart.ts';
import type { LinePanel } from '../report/line-panel.ts';
import { writeChart, writeResult } from '../report/result-file.ts';
import type { RunFacts } from '../report/run-facts.ts';
import type { Bench } from './subcommand.ts';

export interface Publication {
  readonly facts: RunFacts;
  /** What was measured, beside the facts. */
  readonly result: object;
  readonly text: () => string;
  /** Of the chart. */
  readonly title: string;
  readonly panels: () => readonly (Panel | LinePanel)[];
  /** Whether it is a part of what could have been measured: that goes into a file of its own. */
  readonly isPart: boolean;
}

/** Prints a result, and writes it and its chart into files unless it is of a smoke run, which proves nothing. */
export function publish({ facts, result, text, title, panels, isPart }: Publication, bench: Bench): void {
  const { flags, print, progress } = bench;
  const all = { ...facts, ...result };
  print(flags.json ? JSON.stringify(all, undefined, 2) : text());
  if (flags.smoke) return;
  const name = `${facts.name}${isPart ? '.partial' : ''}`;
  const shown = panels();
  progress(`written: ${writeResult(`${name}.json`, { ...all, panels: shown })}`);
  progress(`written: ${writeChart(name, `${facts.name}: ${title}`, facts, shown)}`);
}
