import { pairedRatios, type Spread, spreadOf } from './statistics.ts';
import type { Summary } from './summary.ts';
import type { Column } from './table.ts';

const NONE = '–';
const SATURATED = 0.9;

type Pick = (summary: Summary) => Spread | undefined;

const median =
  (pick: Pick, show: (value: number) => string) =>
  (summary: Summary): string => {
    const spread = pick(summary);
    return spread === undefined ? NONE : show(spread.median);
  };

const range =
  (pick: Pick, digits: number) =>
  (summary: Summary): string => {
    const spread = pick(summary);
    return spread === undefined ? NONE : `${spread.lower.toFixed(digits)}–${spread.upper.toFixed(digits)}`;
  };

const percent = (value: number) => `${Math.round(value * 100)} %`;
const whole = (value: number) => Math.round(value).toLocaleString('en');

/** The columns that comparisons have. */
export const COLUMNS = {
  target: { head: 'target', align: 'left', cell: ({ name }) => name },
  throughput: { head: 'req/s', cell: median((s) => s.requestsPerSecond, whole) },
  cpu: {
    head: 'CPU µs/req',
    cell: median(
      (s) => s.cpuMicrosPerRequest,
      (value) => value.toFixed(1),
    ),
  },
  cpuRange: { head: 'middle half', cell: range((s) => s.cpuMicrosPerRequest, 1) },
  memory: {
    head: 'RSS MB',
    cell: median(
      (s) => s.rssBytes,
      (value) => whole(value / 1e6),
    ),
  },
  throughputRatioRange: { head: 'middle half', cell: range((s) => s.throughputRatio, 2) },
  gatewayBusy: { head: 'gateway busy', cell: median((s) => s.gatewayBusy, percent) },
  loadBusy: { head: 'load busy', cell: median((s) => s.loadBusy, percent) },
  errors: { head: 'errors', cell: ({ errors }) => String(errors) },
  status: { head: 'status', align: 'left', cell: ({ status }) => (status === 'ok' ? 'ok' : status.toUpperCase()) },
} satisfies Record<string, Column<Summary>>;

/** How busy everybody was, and whether it went well: what most comparisons end with. */
export const LAST_COLUMNS: readonly Column<Summary>[] = [
  COLUMNS.gatewayBusy,
  COLUMNS.loadBusy,
  COLUMNS.memory,
  COLUMNS.errors,
  COLUMNS.status,
];

/** A median with the quartiles, or a dash. */
export function withRange(spread: Spread | undefined, digits: number, unit = ''): string {
  if (spread === undefined) return NONE;
  const [median, lower, upper] = [spread.median, spread.lower, spread.upper].map((value) => value.toFixed(digits));
  return `${median}${unit} (${lower}–${upper})`;
}

export function cpuRatioColumns(baseline: string): Column<Summary>[] {
  return [
    {
      head: `CPU ÷ ${baseline}`,
      cell: median(
        (s) => s.cpuRatio,
        (value) => `${value.toFixed(2)}×`,
      ),
    },
    { head: 'middle half', cell: range((s) => s.cpuRatio, 2) },
  ];
}

export function throughputRatioColumn(baseline: string): Column<Summary> {
  return {
    head: `req/s ÷ ${baseline}`,
    cell: median(
      (s) => s.throughputRatio,
      (value) => `${value.toFixed(2)}×`,
    ),
  };
}

/** How many times the throughput of each target one of them has; round by round. */
export function timesTheirThroughputColumn(ours: string, summaries: readonly Summary[]): Column<Summary> {
  return {
    head: `${ours} req/s ÷ its`,
    cell: ({ name }) => withRange(timesTheirThroughput(ours, name, summaries), 2, '×'),
  };
}

export function timesTheirThroughput(ours: string, theirs: string, summaries: readonly Summary[]): Spread | undefined {
  const valuesOf = (name: string) =>
    summaries
      .find((summary) => summary.name === name && summary.status === 'ok')
      ?.samples.map((sample) => sample.requestsPerSecond) ?? [];
  return spreadOf(pairedRatios(valuesOf(ours), valuesOf(theirs)));
}

/** What a reader must know before believing the table. */
export function warnings(summaries: readonly Summary[]): string[] {
  const lines: string[] = [];
  for (const { name, status, failure } of summaries) {
    if (status !== 'ok') lines.push(`${name}: ${status}: ${failure ?? 'no request was answered'}`);
  }
  const idle = summaries.filter(({ gatewayBusy }) => gatewayBusy !== undefined && gatewayBusy.median < SATURATED);
  if (idle.length > 0) {
    const loadIsFull = idle.some(({ loadBusy }) => loadBusy !== undefined && loadBusy.median >= SATURATED);
    lines.push(
      `not saturated: ${idle.map(({ name }) => name).join(', ')}: ` +
        `${loadIsFull ? 'the load side was the limit' : 'other work on this machine was in the way'}; ` +
        'the throughput is a lower bound there, and CPU per request is higher than it would be under full load',
    );
  }
  return lines;
}
