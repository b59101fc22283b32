import { COLUMNS, cpuRatioColumns, LAST_COLUMNS, timesTheirThroughputColumn } from '../report/cells.ts';
import { panelOf, perSecond } from '../report/panels.ts';
import { Comparison } from './comparison.ts';
import { FLOOR, FULL_PEERS, SUITE } from './targets.ts';

/** For readers who know none of our targets. */
const LABELS: Readonly<Record<string, string>> = {
  [SUITE.name]: 'Expressway',
  'hpm-full': 'http-proxy-middleware, Express',
  'fastify-full': '@fastify/http-proxy, Fastify',
  'fast-gateway-full': 'fast-gateway',
  'caddy-full': 'Caddy (no limiter, no breaker)',
  [FLOOR.name]: 'bare proxy without features',
};

export const features = new Comparison({
  name: 'features',
  about: 'the suite against peers with the same features',
  chartTitle: 'Gateways with rate limit, circuit breaker, metrics and access log',
  targets: [SUITE, ...FULL_PEERS, FLOOR],
  baselines: { cpu: FLOOR.name, throughput: SUITE.name },
  panels: (summaries) => [
    panelOf('Requests per second on one core (more is better)', summaries, (s) => s.requestsPerSecond, {
      show: perSecond,
      labels: LABELS,
    }),
  ],
  columns: (summaries) => [
    COLUMNS.target,
    COLUMNS.throughput,
    timesTheirThroughputColumn(SUITE.name, summaries),
    COLUMNS.cpu,
    COLUMNS.cpuRange,
    ...cpuRatioColumns(FLOOR.name),
    ...LAST_COLUMNS,
  ],
});
