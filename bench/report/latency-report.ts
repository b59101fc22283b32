import type { PacedResult, Quantiles } from '../load/paced-run.ts';
import { withRange } from './cells.ts';
import type { Bar, Panel } from './chart.ts';
import { reportText, TARGET } from './report-text.ts';
import type { RunFacts } from './run-facts.ts';
import { pairedDifferences, pairedRatios, type Spread, spreadOf } from './statistics.ts';
import type { Column } from './table.ts';

export const DIRECT = 'direct';
const FLOOR = 'floor';
/** A load that is later than that measures itself. */
const MOST_LATE_MICROS = 200;

export interface LatencySample extends PacedResult {
  /** Part of the time in which the gateway's process used its core. */
  readonly gatewayBusy: number;
}

export interface LatencyRow {
  readonly name: string;
  readonly title: string;
  /** One per round. */
  readonly samples: LatencySample[];
}

type Pick = (quantiles: Quantiles) => number;

const p50: Pick = (quantiles) => quantiles.p50;
const p99: Pick = (quantiles) => quantiles.p99;

/** What a gateway adds to the latency of a backend that is asked itself, round by round. */
function added(rows: readonly LatencyRow[], name: string, pick: Pick): number[] {
  const of = (wanted: string) =>
    rows.find((row) => row.name === wanted)?.samples.map(({ latency }) => pick(latency)) ?? [];
  return name === DIRECT ? [] : pairedDifferences(of(name), of(DIRECT));
}

function addedOverFloor(rows: readonly LatencyRow[], name: string, pick: Pick): number[] {
  return pairedRatios(added(rows, name, pick), added(rows, FLOOR, pick));
}

export function latencyText(rows: readonly LatencyRow[], perSecond: number, facts: RunFacts): string {
  const { flags } = facts;
  const column = (head: string, values: (row: LatencyRow) => readonly number[], show: (value: Spread) => string) => ({
    head,
    cell: (row: LatencyRow) => {
      const spread = spreadOf(values(row));
      return spread === undefined ? '–' : show(spread);
    },
  });
  const whole = ({ median }: Spread) => `${Math.round(median)}`;
  const wholeWithRange = ({ median, lower, upper }: Spread) =>
    `${Math.round(median)} (${Math.round(lower)}–${Math.round(upper)})`;
  const times = (spread: Spread) => withRange(spread, 2, '×');
  const columns: Column<LatencyRow>[] = [
    TARGET,
    column('p50 µs', ({ samples }) => samples.map(({ latency }) => latency.p50), whole),
    column('p99 µs', ({ samples }) => samples.map(({ latency }) => latency.p99), whole),
    column('p99.9 µs', ({ samples }) => samples.map(({ latency }) => latency.p999), whole),
    column('added p50', ({ name }) => added(rows, name, p50), wholeWithRange),
    column('added p99', ({ name }) => added(rows, name, p99), wholeWithRange),
    column('p50 ÷ floor’s', ({ name }) => addedOverFloor(rows, name, p50), times),
    column('p99 ÷ floor’s', ({ name }) => addedOverFloor(rows, name, p99), times),
    column('sent late p99', ({ samples }) => samples.map(({ sendDelay }) => sendDelay.p99), whole),
    column(
      'gateway busy',
      ({ samples, name }) => (name === DIRECT ? [] : samples.map(({ gatewayBusy }) => gatewayBusy)),
      ({ median }) => `${Math.round(median * 100)} %`,
    ),
    { head: 'requests', cell: ({ samples }) => String(samples.reduce((sum, { requests }) => sum + requests, 0)) },
    { head: 'errors', cell: ({ samples }) => String(samples.reduce((sum, { errors }) => sum + errors, 0)) },
  ];
  const what = `latency: ${flags.rounds} rounds of ${flags.seconds} s, ${Math.round(perSecond)} requests per second at random times, ${flags.connections} connections, 2 backends`;
  return reportText(facts, what, columns, rows, warnings(rows));
}

/** Without a gateway, nothing but the load itself can be late. */
function warnings(rows: readonly LatencyRow[]): string[] {
  const direct = rows.find(({ name }) => name === DIRECT)?.samples.map(({ sendDelay }) => sendDelay.p99) ?? [];
  const late = spreadOf(direct)?.median ?? 0;
  const failures = rows.flatMap(({ name, samples }) =>
    samples.flatMap(({ errors, firstError }) => (errors > 0 ? [`${name}: ${errors} errors: ${firstError}`] : [])),
  );
  if (late <= MOST_LATE_MICROS) return failures;
  return [
    `the load itself sent 1 of 100 requests ${Math.round(late)} µs late: this machine was not quiet`,
    ...failures,
  ];
}

export function latencyPanels(rows: readonly LatencyRow[]): Panel[] {
  const panel = (title: string, pick: Pick): Panel => ({
    title,
    show: (value) => `${Math.round(value)} µs`,
    bars: rows.flatMap(({ name }): Bar[] => {
      const spread = spreadOf(added(rows, name, pick));
      return spread === undefined ? [] : [{ label: name, spread, isOurs: name === 'suite' }];
    }),
  });
  return [panel('Added at the median', p50), panel('Added at the 99th percentile', p99)];
}
