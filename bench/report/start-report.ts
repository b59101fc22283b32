import { withRange } from './cells.ts';
import type { Bar, Panel } from './chart.ts';
import { failureNotes, reportText, STATUS, TARGET } from './report-text.ts';
import type { RunFacts } from './run-facts.ts';
import { pairedRatios, type Spread, spreadOf } from './statistics.ts';

/** What one new process needed. */
export interface StartSample {
  /** From the start of the process until it accepts connections. */
  readonly readyMs: number;
  /** Processor time until then. */
  readonly readyCpuMs: number;
  /** Memory a second later, before its first request. */
  readonly restBytes: number;
  /** Processor time of the first requests, per request. */
  readonly firstCpuMicros: number;
}

export interface StartRow {
  readonly name: string;
  readonly title: string;
  readonly samples: StartSample[];
  failure: string | undefined;
}

/** Processor time of the first requests, over that of the first row in the same round. */
export function firstCpuRatio({ samples }: StartRow, base: StartRow): Spread | undefined {
  const cpuOf = (all: readonly StartSample[]) => all.map(({ firstCpuMicros }) => firstCpuMicros);
  return spreadOf(pairedRatios(cpuOf(samples), cpuOf(base.samples)));
}

export function startText(rows: readonly StartRow[], requests: number, facts: RunFacts): string {
  const column = (head: string, pick: (sample: StartSample) => number) => ({
    head,
    cell: ({ samples }: StartRow) => withRange(spreadOf(samples.map(pick)), 0),
  });
  const columns = [
    TARGET,
    column('ready ms', ({ readyMs }) => readyMs),
    column('CPU ms until then', ({ readyCpuMs }) => readyCpuMs),
    column('MB at rest', ({ restBytes }) => restBytes / 1e6),
    column('CPU µs/req', ({ firstCpuMicros }) => firstCpuMicros),
    { head: `÷ ${rows[0]?.name}`, cell: (row: StartRow) => withRange(firstCpuRatio(row, rows[0] as StartRow), 2) },
    STATUS,
  ];
  const what = `start: ${facts.flags.rounds} new processes each, the first ${requests} requests of each within a second`;
  return reportText(facts, what, columns, rows, failureNotes(rows));
}

export function startPanels(rows: readonly StartRow[]): Panel[] {
  const panel = (
    title: string,
    show: Panel['show'],
    of: (row: StartRow) => Spread | undefined,
    mark?: number,
  ): Panel => ({
    title,
    show,
    bars: rows.flatMap((row): Bar[] => {
      const spread = of(row);
      return spread === undefined ? [] : [{ label: row.name, spread, isOurs: row !== rows[0] }];
    }),
    ...(mark === undefined ? {} : { mark }),
  });
  const of =
    (pick: (sample: StartSample) => number) =>
    ({ samples }: StartRow) =>
      spreadOf(samples.map(pick));
  return [
    panel(
      'From start to ready',
      (ms) => `${Math.round(ms)} ms`,
      of(({ readyMs }) => readyMs),
    ),
    panel(
      'Memory at rest',
      (mb) => `${Math.round(mb)} MB`,
      of(({ restBytes }) => restBytes / 1e6),
    ),
    panel(
      'CPU of the first 1,000 requests ÷ floor',
      (ratio) => `${ratio.toFixed(2)}×`,
      (row) => firstCpuRatio(row, rows[0] as StartRow),
      1,
    ),
  ];
}
