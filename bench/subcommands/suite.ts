import {
  COLUMNS,
  cpuRatioColumns,
  LAST_COLUMNS,
  throughputRatioColumn,
  timesTheirThroughput,
  timesTheirThroughputColumn,
} from '../report/cells.ts';
import { panelOf } from '../report/panels.ts';
import { Comparison } from './comparison.ts';
import { FLOOR, HPM, NODE_PEERS, SUITE, SUITE_PLAIN, SUITE_WATCHED, SYSTEM_PEERS } from './targets.ts';

export const suite = new Comparison({
  name: 'suite',
  about: 'the whole suite against its peers',
  targets: [FLOOR, SUITE, SUITE_WATCHED, SUITE_PLAIN, ...NODE_PEERS, ...SYSTEM_PEERS],
  baselines: { cpu: FLOOR.name, throughput: HPM.name },
  panels: (summaries) => [
    panelOf('CPU per request ÷ floor (less is better)', summaries, (s) => s.cpuRatio, { mark: 1 }),
    panelOf(
      'Throughput of the suite ÷ theirs (more is better)',
      summaries,
      (s) => (s.name === SUITE.name ? undefined : timesTheirThroughput(SUITE.name, s.name, summaries)),
      { mark: 1 },
    ),
  ],
  columns: (summaries) => [
    COLUMNS.target,
    COLUMNS.throughput,
    timesTheirThroughputColumn(SUITE.name, summaries),
    throughputRatioColumn(HPM.name),
    COLUMNS.cpu,
    COLUMNS.cpuRange,
    ...cpuRatioColumns(FLOOR.name),
    ...LAST_COLUMNS,
  ],
});
