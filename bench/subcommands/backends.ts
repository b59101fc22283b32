import { PoolTarget } from '../harness/pool-target.ts';
import { NodeTarget } from '../harness/target.ts';
import { COLUMNS, LAST_COLUMNS } from '../report/cells.ts';
import { panelOf, times } from '../report/panels.ts';
import { pairedRatios, type Spread, spreadOf } from '../report/statistics.ts';
import type { Summary } from '../report/summary.ts';
import type { Column } from '../report/table.ts';
import { Comparison } from './comparison.ts';
import { FLOOR, SUITE } from './targets.ts';

const POLICIES = ['round-robin', 'weighted', 'least-requests', 'latency', 'hash', 'sticky'].map(
  (policy) => new NodeTarget(policy, `roundRobinProxy alone, ${policy}`, { script: 'pool', args: () => [policy] }),
);
const FEW = 2;
const MANY = 1_000;

/**
 * All backends are listeners of their own, on ports of their own, in one process. A gateway with more of them has more
 * connections, too, which are seldom used and cold in every cache: the floor shows what that alone costs.
 */
export const backends = new Comparison({
  name: 'backends',
  about: `what ${MANY} backends cost more than ${FEW}, by policy`,
  targets: [FLOOR, SUITE, ...POLICIES].flatMap((one) => [new PoolTarget(one, FEW), new PoolTarget(one, MANY)]),
  backends: MANY,
  defaults: { rounds: 16, processes: 2, seconds: 0.8, warmupSeconds: 0.2 },
  baselines: { cpu: `${FLOOR.name}-${FEW}`, throughput: `${FLOOR.name}-${FEW}` },
  panels: (summaries) => [
    panelOf(
      `CPU per request with ${MANY} backends ÷ with ${FEW}`,
      summaries,
      ({ name }) => (name.endsWith(`-${MANY}`) ? growth(summaries, name.slice(0, -`-${MANY}`.length)) : undefined),
      { mark: 1, isOurs: (name) => !name.startsWith(FLOOR.name) },
    ),
  ],
  columns: (summaries) => {
    const floor = growth(summaries, FLOOR.name);
    return [
      COLUMNS.target,
      COLUMNS.throughput,
      COLUMNS.cpu,
      COLUMNS.cpuRange,
      column(`CPU ÷ ${FEW} backends`, (name) => growth(summaries, name), median),
      column(
        'middle half',
        (name) => growth(summaries, name),
        ({ lower, upper }) => `${lower.toFixed(2)}–${upper.toFixed(2)}`,
      ),
      column(
        '÷ the floor’s',
        (name) => (floor === undefined ? undefined : over(growth(summaries, name), floor)),
        median,
      ),
      ...LAST_COLUMNS,
    ];
  },
});

const median = (spread: Spread): string => times(spread.median);

/** CPU per request with many backends over that with few, round by round. */
function growth(summaries: readonly Summary[], name: string): Spread | undefined {
  const cpuOf = (count: number) =>
    summaries
      .find((summary) => summary.name === `${name}-${count}` && summary.status === 'ok')
      ?.samples.map((sample) => sample.cpuMicrosPerRequest) ?? [];
  return spreadOf(pairedRatios(cpuOf(MANY), cpuOf(FEW)));
}

function over(spread: Spread | undefined, { median }: Spread): Spread | undefined {
  if (spread === undefined) return undefined;
  return { median: spread.median / median, lower: spread.lower / median, upper: spread.upper / median };
}

/** A column that only the larger pools have something in. */
function column(
  head: string,
  spread: (policy: string) => Spread | undefined,
  show: (spread: Spread) => string,
): Column<Summary> {
  return {
    head,
    cell: ({ name }) => {
      const found = name.endsWith(`-${MANY}`) ? spread(name.slice(0, -`-${MANY}`.length)) : undefined;
      return found === undefined ? '–' : show(found);
    },
  };
}
