import { COLUMNS, cpuRatioColumns } from '../report/cells.ts';
import { pairedDifferences, spreadOf } from '../report/statistics.ts';
import type { Summary } from '../report/summary.ts';
import type { Column } from '../report/table.ts';
import { Comparison } from './comparison.ts';
import { EXPRESS, FLOOR, PROXY, PROXY_CIRCUIT, SUITE, TRANSPORT } from './targets.ts';

/** Each one is what stands before it plus one middleware. */
const STACK = [TRANSPORT, PROXY, PROXY_CIRCUIT, SUITE].map(({ name }) => name);

export const layers = new Comparison({
  name: 'layers',
  about: 'what each middleware adds',
  targets: [FLOOR, EXPRESS, TRANSPORT, PROXY, PROXY_CIRCUIT, SUITE],
  baselines: { cpu: FLOOR.name, throughput: FLOOR.name },
  columns: (summaries) => [
    COLUMNS.target,
    COLUMNS.throughput,
    COLUMNS.cpu,
    COLUMNS.cpuRange,
    addedColumn(summaries),
    ...cpuRatioColumns(FLOOR.name),
    COLUMNS.gatewayBusy,
    COLUMNS.errors,
    COLUMNS.status,
  ],
});

function addedColumn(summaries: readonly Summary[]): Column<Summary> {
  const cpuOf = (name: string | undefined) =>
    summaries
      .find((summary) => summary.name === name && summary.status === 'ok')
      ?.samples.map((sample) => sample.cpuMicrosPerRequest) ?? [];
  return {
    head: 'adds µs',
    cell: ({ name }) => {
      const at = STACK.indexOf(name);
      const below = at < 1 ? [] : cpuOf(STACK[at - 1]);
      const added = spreadOf(pairedDifferences(cpuOf(name), below))?.median;
      return added === undefined ? '–' : `${added < 0 ? '' : '+'}${added.toFixed(1)}`;
    },
  };
}
