import type { OpenResult } from '../load/open-run.ts';
import type { LinePanel } from './line-panel.ts';
import { headLines, type RunFacts } from './run-facts.ts';
import { spreadOf } from './statistics.ts';
import { type Column, renderTable } from './table.ts';

export interface OverloadPoint extends Omit<OpenResult, 'recoveryMs' | 'counted'> {
  /** What was offered, as a multiple of the capacity. */
  readonly factor: number;
  readonly isNewEach: boolean;
  readonly seconds: number;
  /** Requests per second in a closed loop, before this process had an overload. */
  readonly capacity: number;
  /** Milliseconds from the end of the overload to the last request that was not served in time; nothing where there was no overload. */
  readonly recoveryMs: number | undefined;
  /** p99 of a health check on a listener of its own in the same process, where the target has one. */
  readonly healthP99: number | undefined;
}

export interface OverloadRow {
  readonly name: string;
  readonly title: string;
  /** In order; the same load several times if there were several processes or rounds. */
  readonly points: OverloadPoint[];
  /** The capacity once more, after the last load of each process. Where it differs much, the machine has changed its speed. */
  readonly capacityAfter: number[];
  failure: string | undefined;
}

/** Of a latency in the chart. */
const MOST_MS = 2_000;

interface Line {
  readonly name: string;
  readonly factor: number;
  readonly isNewEach: boolean;
  readonly points: readonly OverloadPoint[];
}

const percent = (value: number): string => `${Math.round(100 * value)} %`;
const ms = (value: number): string => `${Math.round(value)} ms`;
/** Requests served, as a part of the capacity. */
const goodput = ({ served, seconds, capacity }: OverloadPoint): number => served / seconds / capacity;

type Value = (point: OverloadPoint) => number | undefined;

const known = ({ points }: Line, value: Value): number[] =>
  points.map(value).filter((found) => found !== undefined && Number.isFinite(found)) as number[];

const median = (line: Line, value: Value): number | undefined => spreadOf(known(line, value))?.median;

/** The median; of several processes or rounds also the least and the most. */
function cell(value: Value, show: (value: number) => string): (line: Line) => string {
  return (line) => {
    const values = known(line, value);
    if (values.length === 0) return '–';
    const middle = show(median(line, value) as number);
    return values.length === 1 ? middle : `${middle} (${show(Math.min(...values))}–${show(Math.max(...values))})`;
  };
}

const COLUMNS: readonly Column<Line>[] = [
  { head: 'target', align: 'left', cell: ({ name }) => name },
  { head: 'offered', cell: ({ factor, isNewEach }) => `${factor} ×${isNewEach ? ', new connections' : ''}` },
  { head: 'goodput', cell: cell(goodput, percent) },
  { head: 'p50', cell: cell(({ goodP50 }) => goodP50, ms) },
  { head: 'p99', cell: cell(({ goodP99 }) => goodP99, ms) },
  { head: 'rejected', cell: cell(({ rejected, offered }) => rejected / offered, percent) },
  { head: 'their p99', cell: cell(({ rejected, rejectedP99 }) => (rejected === 0 ? undefined : rejectedP99), ms) },
  { head: 'lost', cell: cell(({ lost, offered }) => lost / offered, percent) },
  { head: 'recovery', cell: cell(({ recoveryMs }) => recoveryMs, ms) },
  { head: 'health p99', cell: cell(({ healthP99 }) => healthP99, ms) },
  // More than a few milliseconds: the generator could not send what it should, and the line says little.
  { head: 'generator late', cell: cell(({ lagP99 }) => lagP99, ms) },
];

function linesOf({ name, points }: OverloadRow): Line[] {
  const byLoad = Map.groupBy(points, ({ factor, isNewEach }) => `${factor} ${isNewEach}`);
  return [...byLoad.values()].map((points) => {
    const { factor, isNewEach } = points[0] as OverloadPoint;
    return { name, factor, isNewEach, points };
  });
}

export function overloadText(rows: readonly OverloadRow[], facts: RunFacts): string {
  const { seconds, processes } = facts.flags;
  const each = processes === 1 ? '' : `; ${processes} processes each: median (least–most)`;
  const capacities = ({ points, capacityAfter }: OverloadRow) =>
    [...new Set(points.map(({ capacity }) => capacity))]
      .map((before, index) => `${before} (afterwards ${capacityAfter[index] ?? '–'})`)
      .join(', ');
  return [
    ...headLines(facts, `overload: ${seconds} s each; latency from when a request was due${each}`),
    '',
    renderTable(COLUMNS, rows.flatMap(linesOf)),
    '',
    ...rows.map((row) => `${row.name}: ${row.title}; ${row.failure ?? `${capacities(row)} req/s`}`),
  ].join('\n');
}

/** Over what was offered; requests with a connection each are in the table only. */
export function overloadPanels(rows: readonly OverloadRow[]): readonly LinePanel[] {
  const series = (y: Value) =>
    rows
      .filter(({ points }) => points.length > 0)
      .map((row) => ({
        label: row.name,
        isOurs: row.name === 'suite-shedding',
        points: linesOf(row)
          .filter(({ isNewEach }) => !isNewEach)
          .map((line) => [line.factor, median(line, y) as number] as const),
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
