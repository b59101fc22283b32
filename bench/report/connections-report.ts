import type { Memory } from '../harness/target.ts';
import { withRange } from './cells.ts';
import type { Bar, Panel } from './chart.ts';
import { failureNotes, reportText, STATUS, TARGET } from './report-text.ts';
import type { RunFacts } from './run-facts.ts';
import { pairedRatios, type Spread, spreadOf } from './statistics.ts';
import type { Column } from './table.ts';

const BASE = 'floor';

export interface ConnectionsSample {
  /** Bytes that the process grew by, per connection. */
  readonly rssPerConnection: number;
  /** Bytes of objects and buffers after a garbage collection. */
  readonly heapPerConnection: number;
  readonly before: Memory;
  readonly after: Memory;
}

export interface ConnectionsRow {
  readonly name: string;
  readonly title: string;
  readonly samples: ConnectionsSample[];
  failure: string | undefined;
}

type Pick = (sample: ConnectionsSample) => number;

const rss: Pick = (sample) => sample.rssPerConnection;
const heap: Pick = (sample) => sample.heapPerConnection;

function ratio(rows: readonly ConnectionsRow[], row: ConnectionsRow, pick: Pick): Spread | undefined {
  const base = rows.find(({ name, failure }) => name === BASE && failure === undefined)?.samples.map(pick) ?? [];
  return row.failure === undefined ? spreadOf(pairedRatios(row.samples.map(pick), base)) : undefined;
}

export function connectionsText(rows: readonly ConnectionsRow[], count: number, facts: RunFacts): string {
  const column = (head: string, spread: (row: ConnectionsRow) => Spread | undefined, digits: number) => ({
    head,
    cell: (row: ConnectionsRow) => withRange(spread(row), digits),
  });
  const columns: Column<ConnectionsRow>[] = [
    TARGET,
    column('RSS bytes each', ({ samples }) => spreadOf(samples.map(rss)), 0),
    column(`÷ ${BASE}`, (row) => ratio(rows, row, rss), 2),
    column('heap bytes each', ({ samples }) => spreadOf(samples.map(heap)), 0),
    column(`÷ ${BASE}`, (row) => ratio(rows, row, heap), 2),
    STATUS,
  ];
  const what = `connections: ${count.toLocaleString('en')} idle connections, ${facts.flags.rounds} rounds`;
  return reportText(facts, what, columns, rows, failureNotes(rows));
}

export function connectionsPanels(rows: readonly ConnectionsRow[]): Panel[] {
  const panel = (title: string, pick: Pick): Panel => ({
    title,
    show: (value) => `${(value / 1000).toFixed(1)} kB`,
    bars: rows.flatMap(({ name, samples, failure }): Bar[] => {
      const spread = failure === undefined ? spreadOf(samples.map(pick)) : undefined;
      return spread === undefined ? [] : [{ label: name, spread, isOurs: name === 'suite' }];
    }),
  });
  return [panel('Growth of the process per connection (RSS)', rss), panel('Heap and buffers per connection', heap)];
}
