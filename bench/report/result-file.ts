import { mkdirSync, writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Panel, renderChart } from './chart.ts';
import type { LinePanel } from './line-panel.ts';
import { resultText } from './result-text.ts';
import type { RunFacts } from './run-facts.ts';

const FOLDER = new URL('../results/', import.meta.url);

/** A file below `bench/results/`. */
export function resultFile(name: string): string {
  mkdirSync(FOLDER, { recursive: true });
  return fileURLToPath(new URL(name, FOLDER));
}

/** @returns where it was written, as seen from the current folder. */
export function writeResult(name: string, result: object): string {
  const file = resultFile(name);
  writeFileSync(file, resultText(result));
  return relative(process.cwd(), file);
}

/** Writes `<name>.svg`; panels without bars are left out. */
export function writeChart(
  name: string,
  title: string,
  facts: RunFacts,
  panels: readonly (Panel | LinePanel)[],
): string {
  const file = resultFile(`${name}.svg`);
  const notes = chartNotes(facts);
  writeFileSync(
    file,
    renderChart({
      title,
      notes,
      panels: panels.filter((panel) => ('series' in panel ? panel.series : panel.bars).length > 0),
    }),
  );
  return relative(process.cwd(), file);
}

function chartNotes({ date, machine, placement, flags }: RunFacts): string[] {
  const rounds = `${flags.rounds} interleaved ${flags.rounds === 1 ? 'round' : 'rounds'}`;
  return [
    `${date.slice(0, 10)}; Node ${machine.node}; ${machine.cpu}, ${machine.cores} cores; ${placement}`,
    `Medians of ${rounds}; whiskers and brackets: quartiles`,
  ];
}
