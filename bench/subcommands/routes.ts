import { NodeTarget } from '../harness/target.ts';
import { COLUMNS, cpuRatioColumns } from '../report/cells.ts';
import { micros, panelOf } from '../report/panels.ts';
import { Comparison } from './comparison.ts';

const FEW = 1;
const MANY = 1_000;
/** Times the CPU of a request with one route. */
const MOST = 1.05;

const PROXY = new NodeTarget('proxy', 'roundRobinProxy() alone', { script: 'pool', args: () => ['round-robin'] });
const routed = (count: number) =>
  new NodeTarget(`routes-${count}`, `serviceRouter() with ${count} route${count === 1 ? '' : 's'}`, {
    script: 'routes',
    args: () => [String(count)],
  });
/** Widest middle half of the ratios between which a few per cent can be told apart. */
const WIDEST = 0.2;
const ONE = routed(FEW);

export const routes = new Comparison({
  name: 'routes',
  about: `what serviceRouter() costs, and what ${MANY} routes cost more than ${FEW}; fails above ${MOST} times`,
  targets: [PROXY, ONE, routed(MANY)],
  baselines: { cpu: ONE.name, throughput: ONE.name },
  isFleeting: true,
  defaults: { rounds: 24 },
  panels: (summaries) => [
    panelOf('CPU per request', summaries, (s) => s.cpuMicrosPerRequest, {
      show: micros,
      isOurs: (name) => name !== PROXY.name,
    }),
  ],
  columns: () => [
    COLUMNS.target,
    COLUMNS.throughput,
    COLUMNS.cpu,
    COLUMNS.cpuRange,
    ...cpuRatioColumns(ONE.name),
    COLUMNS.gatewayBusy,
    COLUMNS.errors,
    COLUMNS.status,
  ],
  verdict: (summaries) => {
    const ratio = summaries.find(({ name }) => name === `routes-${MANY}`)?.cpuRatio;
    if (ratio === undefined) return { isGood: false, text: 'failed: not all was measured' };
    const { median, lower, upper } = ratio;
    const found = `${MANY} routes take ${median.toFixed(3)} times the CPU of one (${lower.toFixed(2)}–${upper.toFixed(2)}), ${MOST} allowed`;
    // On a busy machine the median says nothing about a few per cent.
    if (upper - lower > WIDEST) return { isGood: false, text: `inconclusive, the machine is too busy: ${found}` };
    return { isGood: median <= MOST, text: `${median <= MOST ? 'passed' : 'failed'}: ${found}` };
  },
});
