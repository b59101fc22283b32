import type { WorkersRow, WorkersSample } from '../subcommands/workers.ts';
import { headLines, type RunFacts } from './run-facts.ts';
import { pairedRatios, spreadOf } from './statistics.ts';
import { type Column, renderTable } from './table.ts';

export function workersText(rows: readonly WorkersRow[], perSecond: number, facts: RunFacts): string {
  const { flags } = facts;
  const column = (head: string, of: (sample: WorkersSample) => number): Column<WorkersRow> => ({
    head,
    cell: ({ samples }) => rangeOf(samples.map(of), 0),
  });
  const cpuOf = ({ samples }: WorkersRow) => samples.map(({ cpuMicrosPerRequest }) => cpuMicrosPerRequest);
  const columns: Column<WorkersRow>[] = [
    { head: 'target', align: 'left', cell: ({ name }) => name },
    column('CPU µs/request', ({ cpuMicrosPerRequest }) => cpuMicrosPerRequest),
    { head: '÷ 1', cell: (row) => rangeOf(pairedRatios(cpuOf(row), cpuOf(rows[0] as WorkersRow)), 2) },
    column('of these, first process', ({ firstMicrosPerRequest }) => firstMicrosPerRequest),
    column('p50 µs', ({ latency }) => latency.p50),
    column('p99 µs', ({ latency }) => latency.p99),
    column('memory MB', ({ rssBytes }) => rssBytes / 1e6),
    { head: 'errors', cell: ({ samples }) => String(samples.reduce((sum, { errors }) => sum + errors, 0)) },
  ];
  const what = `workers: ${flags.rounds} rounds of ${flags.seconds} s, ${Math.round(perSecond)} requests per second at random times, ${flags.connections} connections of one client, ${facts.machine.cores} cores shared with the load`;
  return [
    ...headLines(facts, what),
    '',
    renderTable(columns, rows),
    '',
    ...rows.map(({ name, title }) => `${name}: ${title}`),
  ].join('\n');
}

function rangeOf(values: readonly number[], digits: number): string {
  const spread = spreadOf([...values]);
  if (spread === undefined) return '–';
  const [median, min, max] = [spread.median, spread.min, spread.max].map((value) => value.toFixed(digits));
  return `${median} (${min}–${max})`;
}
