import { COLUMNS, cpuRatioColumns } from '../report/cells.ts';
import { Comparison } from './comparison.ts';
import { FLOOR, SUITE } from './targets.ts';

/** Generous, because machines that build things are noisy: what passes it is not fast, what fails it is broken. */
const MOST = 1.6;

export const gate = new Comparison({
  name: 'gate',
  about: `fails when the suite takes more than ${MOST} times the CPU of the floor; about 25 s`,
  targets: [FLOOR, SUITE],
  baselines: { cpu: FLOOR.name, throughput: FLOOR.name },
  isFleeting: true,
  defaults: { rounds: 7, seconds: 1, warmupSeconds: 0.4 },
  panels: () => [],
  columns: () => [
    COLUMNS.target,
    COLUMNS.throughput,
    COLUMNS.cpu,
    COLUMNS.cpuRange,
    ...cpuRatioColumns(FLOOR.name),
    COLUMNS.gatewayBusy,
    COLUMNS.errors,
    COLUMNS.status,
  ],
  verdict: (summaries) => {
    const ratio = summaries.find(({ name }) => name === SUITE.name)?.cpuRatio?.median;
    if (ratio === undefined) return { isGood: false, text: 'failed: nothing valid was measured' };
    const isGood = ratio <= MOST;
    return {
      isGood,
      text: `${isGood ? 'passed' : 'failed'}: ${ratio.toFixed(2)} times the floor's CPU per request, ${MOST} allowed`,
    };
  },
});
