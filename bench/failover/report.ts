import type { Machine } from '../harness/versions.ts';
import type { Bar, Panel } from '../report/chart.ts';
import { spreadOf } from '../report/statistics.ts';
import { type Column, renderTable } from '../report/table.ts';
import type { Drill } from './drill.ts';
import type { Gateway } from './gateway.ts';
import type { Scenario } from './scenario.ts';
import { BACKENDS, CONNECTIONS, REST_MS, SERVICE_MS, TIMEOUT_MS } from './settings.ts';

/** One target in one scenario, over all rounds. */
export interface FailoverRow {
  readonly scenario: string;
  readonly method: Scenario['method'];
  readonly target: string;
  readonly drills: Drill[];
  /** Why it could not be measured to the end. */
  failure: string | undefined;
}

export interface FailoverResult {
  readonly machine: Machine;
  readonly placement: string;
  readonly loadAverageBefore: number;
  readonly flags: { readonly rounds: number };
  readonly scenarios: readonly Scenario[];
  readonly targets: readonly { readonly name: string; readonly title: string }[];
  readonly missing: readonly { readonly name: string; readonly why: string }[];
  readonly rows: readonly FailoverRow[];
}

const NONE = '–';

export function rowOf({ name, method }: Scenario, gateway: Gateway): FailoverRow {
  return { scenario: name, method, target: gateway.name, drills: [], failure: undefined };
}

/** Errors are what is measured here; a wrong answer is not. */
export function isValid({ drills, failure }: FailoverRow): boolean {
  return failure === undefined && drills.every(({ mixUps, requests }) => mixUps === 0 && requests > 0);
}

const COLUMNS: readonly Column<FailoverRow>[] = [
  { head: 'scenario', align: 'left', cell: ({ scenario }) => scenario },
  { head: 'target', align: 'left', cell: ({ target }) => target },
  { head: 'requests', cell: ({ drills }) => sum(drills, ({ requests }) => requests).toLocaleString('en') },
  { head: 'errors', cell: ({ drills }) => String(sum(drills, errorsIn)) },
  { head: 'by kind', align: 'left', cell: ({ drills }) => kinds(drills) },
  { head: 'last error ms', cell: ({ drills }) => worst(drills, ({ lastErrorMs }) => lastErrorMs, NONE) },
  { head: 'first good ms', cell: ({ drills }) => worst(drills, ({ firstGoodMs }) => firstGoodMs, 'never') },
  { head: 'p99 ms', cell: ({ drills }) => median(drills, ({ p99Ms }) => p99Ms) },
  { head: 'slowest ms', cell: ({ drills }) => worst(drills, ({ slowestMs }) => slowestMs, NONE) },
  {
    head: 'POSTs twice',
    cell: ({ drills, method }) => (method === 'POST' ? String(sum(drills, (one) => one.executedTwice)) : NONE),
  },
  { head: 'status', align: 'left', cell: (row) => (isValid(row) ? 'ok' : row.failure ? 'FAILED' : 'INVALID') },
];

export function failoverText(result: FailoverResult): string {
  const { machine, placement, loadAverageBefore, flags, scenarios, targets, missing, rows } = result;
  const notes = rows.flatMap(({ target, scenario, failure, drills }) => {
    const mixUps = sum(drills, (one) => one.mixUps);
    return [
      ...(failure === undefined ? [] : [`${target}, ${scenario}: failed: ${failure}`]),
      ...(drills.some(isEarly) ? [`${target}, ${scenario}: had errors before the fault`] : []),
      ...(mixUps === 0 ? [] : [`${target}, ${scenario}: ${mixUps} answers to somebody else's request`]),
    ];
  });
  return [
    '',
    `failover: ${flags.rounds === 1 ? '1 round' : `${flags.rounds} rounds`}, ${CONNECTIONS} connections in a closed loop, ${BACKENDS} backends of which one fails`,
    `time-outs ${TIMEOUT_MS} ms, rest of a failed backend ${REST_MS} ms, a backend works ${SERVICE_MS} ms on each request`,
    `Node ${machine.node}, ${machine.cpu}, ${machine.cores} cores; ${placement}; load average before: ${loadAverageBefore.toFixed(1)}`,
    '',
    renderTable(COLUMNS, rows),
    '',
    ...scenarios.map(({ name, title }) => `${name}: ${title}`),
    ...targets.map(({ name, title }) => `${name}: ${title}`),
    ...missing.map(({ name, why }) => `${name}: missing: ${why}`),
    ...(notes.length === 0 ? [] : ['', ...notes.map((note) => `! ${note}`)]),
  ].join('\n');
}

function sum(drills: readonly Drill[], pick: (drill: Drill) => number): number {
  return drills.reduce((total, drill) => total + pick(drill), 0);
}

function errorsIn({ errors }: Drill): number {
  return Object.values(errors).reduce((total, { count }) => total + count, 0);
}

function isEarly({ errors }: Drill): boolean {
  return Object.values(errors).some(({ firstMs }) => firstMs < 0);
}

function kinds(drills: readonly Drill[]): string {
  const counts = new Map<string, number>();
  for (const { errors } of drills) {
    for (const [kind, { count }] of Object.entries(errors)) counts.set(kind, (counts.get(kind) ?? 0) + count);
  }
  if (counts.size === 0) return NONE;
  return [...counts].map(([kind, count]) => `${count} × ${kind}`).join(', ');
}

function median(drills: readonly Drill[], pick: (drill: Drill) => number | undefined): string {
  const value = spreadOf(drills.map(pick).filter((ms) => ms !== undefined))?.median;
  return value === undefined ? NONE : String(Math.round(value));
}

/** Of all rounds: the one that somebody will complain about. */
function worst(drills: readonly Drill[], pick: (drill: Drill) => number | undefined, without: string): string {
  const values = drills.map(pick);
  const known = values.filter((ms) => ms !== undefined);
  if (known.length === 0 || (without !== NONE && known.length < values.length)) return without;
  return String(Math.round(Math.max(...known)));
}

/** One panel per scenario: how many errors clients saw, all rounds together. */
export function failoverPanels({ scenarios, rows }: Pick<FailoverResult, 'scenarios' | 'rows'>): Panel[] {
  return scenarios.map(({ name, title }) => ({
    title: `Errors: ${title}`,
    show: (value) => value.toLocaleString('en'),
    bars: rows.flatMap((row): Bar[] => {
      if (row.scenario !== name || !isValid(row)) return [];
      const spread = spreadOf([sum(row.drills, errorsIn)]);
      return spread === undefined ? [] : [{ label: row.target, spread, isOurs: row.target === 'suite' }];
    }),
  }));
}
