import { COLUMNS, cpuRatioColumns, throughputRatioColumn } from '../report/cells.ts';
import { Comparison } from './comparison.ts';
import { FASTIFY, FLOOR, HPM, SUITE } from './targets.ts';

export const suite = new Comparison({
  name: 'suite',
  about: 'the whole suite against its peers (default)',
  targets: [FLOOR, HPM, FASTIFY, SUITE],
  baselines: { cpu: FLOOR.name, throughput: HPM.name },
  columns: () => [
    COLUMNS.target,
    COLUMNS.throughput,
    throughputRatioColumn(HPM.name),
    COLUMNS.cpu,
    COLUMNS.cpuRange,
    ...cpuRatioColumns(FLOOR.name),
    COLUMNS.gatewayBusy,
    COLUMNS.loadBusy,
    COLUMNS.memory,
    COLUMNS.errors,
    COLUMNS.status,
  ],
});
