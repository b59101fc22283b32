import type { OpenResult } from '../load/open-run.ts';
import type { LinePanel } from './line-panel.ts';
import { headLines, type RunFacts } from './run-facts.ts';
import { type Column, renderTable } from './table.ts';

export interface OverloadPoint extends Omit<OpenResult, 'recoveryMs' | 'counted'> {
  /** What was offered, as a multiple of the capacity. */
  readonly factor: number;
  readonly isNewEach: boolean;
  readonly seconds: number;
  /** Milliseconds from the end of the overload to the last request that was not served in time; nothing where there was no overload. */
  readonly recoveryMs: number | undefined;
  /** p99 of a health check on a listener of its own in the same process, where the target has one. */
  readonly healthP99: number | undefined;
}

export interface OverloadRow {
  readonly name: string;
  readonly title: string;
  /** Requests per second in a closed loop. */
  capacity: number;
  readonly points: OverloadPoint[];
  failure: string | undefined;
}

/** Of a latency in the chart. */
const MOST_MS = 2_000;

interface Line extends OverloadPoint {
  readonly name: string;
  readonly capacity: number;
}

const percent = (value: number): string => `${Math.round(100 * value)} %`;
const ms = (value: number): string => `${Math.round(value)} ms`;
/** Requests served, as a part of the capacity. */
const goodput = ({ served, seconds, capacity }: Line): number => served / seconds / capacity;

const COLUMNS: readonly Column<Line>[] = [
  { head: 'target', align: 'left', cell: ({ name }) => name },
  { head: 'offered', cell: ({ factor, isNewEach }) => `${factor} ×${isNewEach ? ', new connections' : ''}` },
  { head: 'goodput', cell: (line) => percent(goodput(line)) },
  { head: 'p50', cell: ({ goodP50 }) => ms(goodP50) },
  { head: 'p99', cell: ({ goodP99 }) => ms(goodP99) },
  { head: 'rejected', cell: ({ rejected, offered }) => percent(rejected / offered) },
  { head: 'their p99', cell: ({ rejected, rejectedP99 }) => (rejected === 0 ? '–' : ms(rejectedP99)) },
  { head: 'lost', cell: ({ lost, offered }) => percent(lost / offered) },
  { head: 'recovery', cell: ({ recoveryMs }) => (recoveryMs === undefined ? '–' : ms(recoveryMs)) },
  { head: 'health p99', cell: ({ healthP99 }) => (healthP99 === undefined ? '–' : ms(healthP99)) },
  // More than a few milliseconds: the generator could not send what it should, and the line says little.
  { head: 'generator late', cell: ({ lagP99 }) => ms(lagP99) },
];

export function overloadText(rows: readonly OverloadRow[], facts: RunFacts): string {
  const lines = rows.flatMap(({ name, capacity, points }) => points.map((point) => ({ ...point, name, capacity })));
  return [
    ...headLines(facts, `overload: ${facts.flags.seconds} s each; latency from when a request was due`),
    '',
    renderTable(COLUMNS, lines),
    '',
    ...rows.map(({ name, title, capacity, failure }) => `${name}: ${title}; ${failure ?? `${capacity} req/s`}`),
  ].join('\n');
}

/** Over what was offered; requests with a connection each are in the table only. */
export function overloadPanels(rows: readonly OverloadRow[]): readonly LinePanel[] {
  const series = (y: (line: Line) => number) =>
    rows
      .filter(({ points }) => points.length > 0)
      .map(({ name, capacity, points }) => ({
        label: name,
        isOurs: name === 'suite-shedding',
        points: points
          .filter(({ isNewEach }) => !isNewEach)
          .map((point) => [point.factor, y({ ...point, name, capacity })] as const),
      }));
  const showX = (factor: number) => `${factor} ×`;
  return [
    {
      title: 'Served, as a part of the capacity, over what was offered',
      showX,
      showY: percent,
      series: series(goodput),
      mark: 0.6,
    },
    {
      title: 'p99 of what was served, from when a request was due (2 s and more at the upper edge)',
      showX,
      showY: ms,
      // Without a served request there is no latency, and 0 would look perfect.
      series: series(({ good, goodP99 }) => (good === 0 ? MOST_MS : goodP99)),
      mark: 250,
      most: MOST_MS,
    },
  ];
}
