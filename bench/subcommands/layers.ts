import { COLUMNS, cpuRatioColumns } from '../report/cells.ts';
import { micros, panelOf } from '../report/panels.ts';
import { pairedDifferences, type Spread, spreadOf } from '../report/statistics.ts';
import type { Summary } from '../report/summary.ts';
import type { Column } from '../report/table.ts';
import { Comparison } from './comparison.ts';
import { EXPRESS, FLOOR, LAYERED, TRANSPORT } from './targets.ts';

/** Each one is what stands before it plus one middleware. */
const STACK = [TRANSPORT, ...LAYERED].map(({ name }) => name);

export const layers = new Comparison({
  name: 'layers',
  about: 'what each middleware adds',
  targets: [FLOOR, EXPRESS, TRANSPORT, ...LAYERED],
  baselines: { cpu: FLOOR.name, throughput: FLOOR.name },
  panels: (summaries) => [
    panelOf('CPU per request', summaries, (s) => s.cpuMicrosPerRequest, {
      show: micros,
      isOurs: (name) => STACK.includes(name),
    }),
  ],
  columns: (summaries) => [
    COLUMNS.target,
    COLUMNS.throughput,
    COLUMNS.cpu,
    COLUMNS.cpuRange,
    addedColumn('adds µs', summaries, ({ median }) => signed(median)),
    addedColumn('middle half', summaries, ({ lower, upper }) => `${signed(lower)} – ${signed(upper)}`),
    ...cpuRatioColumns(FLOOR.name),
    COLUMNS.gatewayBusy,
    COLUMNS.errors,
    COLUMNS.status,
  ],
});

const signed = (value: number): string => `${value < 0 ? '' : '+'}${value.toFixed(1)}`;

function addedColumn(head: string, summaries: readonly Summary[], show: (spread: Spread) => string): Column<Summary> {
  const cpuOf = (name: string | undefined) =>
    summaries
      .find((summary) => summary.name === name && summary.status === 'ok')
      ?.samples.map((sample) => sample.cpuMicrosPerRequest) ?? [];
  return {
    head,
    cell: ({ name }) => {
      const at = STACK.indexOf(name);
      const below = at < 1 ? [] : cpuOf(STACK[at - 1]);
      const added = spreadOf(pairedDifferences(cpuOf(name), below));
      return added === undefined ? '–' : show(added);
    },
  };
}
