import type { WorkersRow, WorkersSample } from '../subcommands/workers.ts';
import { withRange } from './cells.ts';
import type { Bar, Panel } from './chart.ts';
import { reportText, TARGET } from './report-text.ts';
import type { RunFacts } from './run-facts.ts';
import { pairedRatios, spreadOf } from './statistics.ts';
import type { Column } from './table.ts';

export function workersText(rows: readonly WorkersRow[], perSecond: number, facts: RunFacts): string {
  const { flags } = facts;
  const column = (head: string, of: (sample: WorkersSample) => number): Column<WorkersRow> => ({
    head,
    cell: ({ samples }) => withRange(spreadOf(samples.map(of)), 0),
  });
  const cpuOf = ({ samples }: WorkersRow) => samples.map(({ cpuMicrosPerRequest }) => cpuMicrosPerRequest);
  const columns: Column<WorkersRow>[] = [
    TARGET,
    column('CPU µs/request', ({ cpuMicrosPerRequest }) => cpuMicrosPerRequest),
    { head: '÷ 1', cell: (row) => withRange(spreadOf(pairedRatios(cpuOf(row), cpuOf(rows[0] as WorkersRow))), 2) },
    column('of these, first process', ({ firstMicrosPerRequest }) => firstMicrosPerRequest),
    column('p50 µs', ({ latency }) => latency.p50),
    column('p99 µs', ({ latency }) => latency.p99),
    column('memory MB', ({ rssBytes }) => rssBytes / 1e6),
    { head: 'errors', cell: ({ samples }) => String(samples.reduce((sum, { errors }) => sum + errors, 0)) },
  ];
  const what = `workers: ${flags.rounds} rounds of ${flags.seconds} s, ${Math.round(perSecond)} requests per second at random times, ${flags.connections} connections of one client, ${facts.machine.cores} cores shared with the load`;
  return reportText(facts, what, columns, rows);
}

export function workersPanels(rows: readonly WorkersRow[]): Panel[] {
  const panel = (title: string, unit: string, pick: (sample: WorkersSample) => number): Panel => ({
    title,
    show: (value) => `${Math.round(value)} ${unit}`,
    bars: rows.flatMap(({ name, samples }): Bar[] => {
      const spread = spreadOf(samples.map(pick));
      return spread === undefined ? [] : [{ label: name, spread, isOurs: true }];
    }),
  });
  return [
    panel('CPU per request, all processes', 'µs', ({ cpuMicrosPerRequest }) => cpuMicrosPerRequest),
    panel('of these, the first process', 'µs', ({ firstMicrosPerRequest }) => firstMicrosPerRequest),
    panel('p50', 'µs', ({ latency }) => latency.p50),
    panel('memory, all processes', 'MB', ({ rssBytes }) => rssBytes / 1e6),
  ];
}
