import { PoolTarget } from '../harness/pool-target.ts';
import { COLUMNS } from '../report/cells.ts';
import { pairedRatios, spreadOf } from '../report/statistics.ts';
import type { Summary } from '../report/summary.ts';
import type { Column } from '../report/table.ts';
import { Comparison } from './comparison.ts';

const POLICIES = ['round-robin', 'weighted', 'least-requests', 'latency', 'hash', 'sticky'];
const FEW = 2;
const MANY = 1_000;

/** All backends are listeners of their own, on ports of their own, in one process: only the pool is larger. */
export const backends = new Comparison({
  name: 'backends',
  about: `what ${MANY} backends cost more than ${FEW}, by policy`,
  targets: POLICIES.flatMap((policy) => [new PoolTarget(policy, FEW), new PoolTarget(policy, MANY)]),
  backends: MANY,
  baselines: { cpu: `round-robin-${FEW}`, throughput: `round-robin-${FEW}` },
  columns: (summaries) => [
    COLUMNS.target,
    COLUMNS.throughput,
    COLUMNS.cpu,
    COLUMNS.cpuRange,
    ...overFewColumns(summaries),
    COLUMNS.gatewayBusy,
    COLUMNS.loadBusy,
    COLUMNS.memory,
    COLUMNS.errors,
    COLUMNS.status,
  ],
});

function overFewColumns(summaries: readonly Summary[]): Column<Summary>[] {
  const cpuOf = (name: string) =>
    summaries
      .find((summary) => summary.name === name && summary.status === 'ok')
      ?.samples.map((sample) => sample.cpuMicrosPerRequest) ?? [];
  const overFew = ({ name }: Summary) =>
    name.endsWith(`-${MANY}`)
      ? spreadOf(pairedRatios(cpuOf(name), cpuOf(name.replace(`-${MANY}`, `-${FEW}`))))
      : undefined;
  return [
    {
      head: `CPU ÷ ${FEW} backends`,
      cell: (summary) => {
        const ratio = overFew(summary);
        return ratio === undefined ? '–' : `${ratio.median.toFixed(2)}×`;
      },
    },
    {
      head: 'min–max',
      cell: (summary) => {
        const ratio = overFew(summary);
        return ratio === undefined ? '–' : `${ratio.min.toFixed(2)}–${ratio.max.toFixed(2)}`;
      },
    },
  ];
}
