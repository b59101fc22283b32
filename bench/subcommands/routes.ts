import { NodeTarget } from '../harness/target.ts';
import { COLUMNS, cpuRatioColumns } from '../report/cells.ts';
import { micros, panelOf } from '../report/panels.ts';
import { medianRange } from '../report/statistics.ts';
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
const ONE = routed(FEW);

export const routes = new Comparison({
  name: 'routes',
  about: `what serviceRouter() costs, and what ${MANY} routes cost more than ${FEW}; fails above ${MOST} times`,
  targets: [PROXY, ONE, routed(MANY)],
  baselines: { cpu: ONE.name, throughput: ONE.name },
  isFleeting: true,
  // Many processes: how a process happens to be compiled makes more of a difference than a round.
  defaults: { rounds: 48, processes: 8 },
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
    const many = summaries.find(({ name }) => name === `routes-${MANY}`);
    if (many?.cpuRatio === undefined) return { isGood: false, text: 'failed: not all was measured' };
    const { low, high } = medianRange(many.cpuRatio, many.samples.length);
    const found =
      `${MANY} routes take ${many.cpuRatio.median.toFixed(3)} times the CPU of one ` +
      `(95 % confidence: ${low.toFixed(3)}–${high.toFixed(3)}), ${MOST} allowed`;
    if (high <= MOST) return { isGood: true, text: `passed: ${found}` };
    if (low > MOST) return { isGood: false, text: `failed: ${found}` };
    return { isGood: false, text: `inconclusive, take more --rounds or a machine that is less busy: ${found}` };
  },
});
