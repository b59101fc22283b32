import type { Memory } from '../harness/target.ts';
import type { Bar, Panel } from './chart.ts';
import { failureNotes, reportText, STATUS, TARGET } from './report-text.ts';
import type { RunFacts } from './run-facts.ts';
import { lastThirdOverFirst, type Spread, spreadOf } from './statistics.ts';
import type { Column } from './table.ts';

/** Memory after some of the requests, garbage collected. */
export interface SoakSlice extends Memory {
  readonly requests: number;
}

export interface SoakRow {
  readonly name: string;
  readonly title: string;
  readonly slices: SoakSlice[];
  failure: string | undefined;
}

type Pick = (slice: SoakSlice) => number;

const heap: Pick = (slice) => slice.heapBytes;
const rss: Pick = (slice) => slice.rssBytes;

function thirds(slices: readonly SoakSlice[], pick: Pick): { first: Spread | undefined; last: Spread | undefined } {
  const third = Math.floor(slices.length / 3);
  const values = slices.map(pick);
  return { first: spreadOf(values.slice(0, third)), last: spreadOf(third === 0 ? [] : values.slice(-third)) };
}

export function soakText(rows: readonly SoakRow[], facts: RunFacts): string {
  const megabytes = (value: number | undefined) => (value === undefined ? '–' : (value / 1e6).toFixed(2));
  const ratio = (pick: Pick) => (row: SoakRow) => lastThirdOverFirst(row.slices.map(pick))?.toFixed(3) ?? '–';
  const columns: Column<SoakRow>[] = [
    TARGET,
    {
      head: 'requests',
      cell: ({ slices }) => slices.reduce((sum, { requests }) => sum + requests, 0).toLocaleString('en'),
    },
    { head: 'looks', cell: ({ slices }) => String(slices.length) },
    { head: 'heap MB, first third', cell: ({ slices }) => megabytes(thirds(slices, heap).first?.median) },
    { head: 'last third', cell: ({ slices }) => megabytes(thirds(slices, heap).last?.median) },
    { head: 'last ÷ first', cell: ratio(heap) },
    { head: 'RSS MB, first third', cell: ({ slices }) => megabytes(thirds(slices, rss).first?.median) },
    { head: 'last third', cell: ({ slices }) => megabytes(thirds(slices, rss).last?.median) },
    { head: 'last ÷ first', cell: ratio(rss) },
    STATUS,
  ];
  const { seconds, connections } = facts.flags;
  const what = `soak: memory after each ${seconds} s of load, ${connections} connections`;
  return reportText(facts, what, columns, rows, failureNotes(rows));
}

export function soakPanels(rows: readonly SoakRow[]): Panel[] {
  const panel = (title: string, pick: Pick): Panel => ({
    title,
    show: (value) => `${(value / 1e6).toFixed(1)} MB`,
    bars: rows.flatMap(({ name, slices }) => {
      const { first, last } = thirds(slices, pick);
      const bar = (label: string, spread: Spread | undefined): Bar[] =>
        spread === undefined ? [] : [{ label: `${name}, ${label}`, spread, isOurs: name === 'suite' }];
      return [...bar('first third', first), ...bar('last third', last)];
    }),
  });
  return [panel('Heap and buffers after a garbage collection', heap), panel('Resident set', rss)];
}
