import { COLUMNS, cpuRatioColumns } from '../report/cells.ts';
import { Comparison } from './comparison.ts';
import { FLOOR, SUITE, SUITE_WATCHED } from './targets.ts';

/**
 * Generous, because machines that build things are noisy: what passes it is not fast, what fails it is broken. A quiet machine measured 1.39 (1.44 for the
 * suite that is watched), a busy one up to 1.78 for code that is as fast.
 */
const MOST = 2;

export const gate = new Comparison({
  name: 'gate',
  about: `fails when the suite, or the suite that is watched, takes more than ${MOST} times the CPU of the floor; 2 minutes`,
  targets: [FLOOR, SUITE, SUITE_WATCHED],
  baselines: { cpu: FLOOR.name, throughput: FLOOR.name },
  isFleeting: true,
  defaults: { rounds: 24 },
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
    const ratios = [SUITE, SUITE_WATCHED].map(
      (target) => summaries.find(({ name }) => name === target.name)?.cpuRatio?.median ?? Number.NaN,
    );
    if (ratios.some(Number.isNaN)) return { isGood: false, text: 'failed: not all was measured' };
    const isGood = ratios.every((ratio) => ratio <= MOST);
    const shown = ratios.map((ratio) => ratio.toFixed(2)).join(' and ');
    return {
      isGood,
      text: `${isGood ? 'passed' : 'failed'}: ${shown} times the floor's CPU per request, ${MOST} allowed`,
    };
  },
});
