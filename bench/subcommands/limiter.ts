import { LimiterTarget } from '../harness/limiter-target.ts';
import { RedisServer } from '../harness/redis-server.ts';
import { COLUMNS, cpuRatioColumns, LAST_COLUMNS, throughputRatioColumn } from '../report/cells.ts';
import { micros, panelOf } from '../report/panels.ts';
import { Comparison } from './comparison.ts';
import { EXPRESS } from './targets.ts';

const redis = new RedisServer();
const MEMORY = new LimiterTarget('memory', 'ipRateLimit in memory, one client');

/** Every limiter by name. */
export const LIMITERS: readonly LimiterTarget[] = [
  MEMORY,
  new LimiterTarget('redis', 'ipRateLimit in Redis, one client', redis),
  new LimiterTarget('leases', 'ipRateLimit in Redis with leases of at most 20, one client', redis),
  new LimiterTarget('memory-many', 'ipRateLimit in memory, 10,000 clients by a key function'),
  new LimiterTarget('redis-many', 'the same in Redis', redis),
  new LimiterTarget('leases-many', 'the same in Redis with leases of at most 20', redis),
  new LimiterTarget('erl', 'express-rate-limit in memory'),
  new LimiterTarget('erl-redis', 'express-rate-limit with rate-limit-redis', redis),
  new LimiterTarget('rlf', 'rate-limiter-flexible in memory'),
  new LimiterTarget('rlf-redis', 'rate-limiter-flexible in Redis', redis),
  new LimiterTarget('429-memory', 'ipRateLimit in memory, over the limit'),
  new LimiterTarget('429-redis', 'ipRateLimit in Redis, over the limit: cached denials', redis),
  new LimiterTarget('429-erl', 'express-rate-limit in memory, over the limit'),
  new LimiterTarget('429-erl-redis', 'express-rate-limit with rate-limit-redis, over the limit', redis),
  new LimiterTarget('429-rlf', 'rate-limiter-flexible in memory, over the limit'),
  new LimiterTarget('429-rlf-redis', 'rate-limiter-flexible in Redis with its block in memory, over the limit', redis),
];

const isOurs = (name: string): boolean => /^(429-)?(memory|redis|leases)/.test(name);

export const limiter = new Comparison({
  name: 'limiter',
  about: 'what limiters cost per request, and per 429, beside express-rate-limit and rate-limiter-flexible',
  targets: [EXPRESS, ...LIMITERS],
  defaults: { rounds: 20, processes: 2, seconds: 0.5, warmupSeconds: 0.1 },
  baselines: { cpu: MEMORY.name, throughput: EXPRESS.name },
  panels: (summaries) => [
    panelOf('CPU per request', summaries, (s) => s.cpuMicrosPerRequest, { show: micros, isOurs }),
    panelOf(`Throughput ÷ ${EXPRESS.title}`, summaries, (s) => s.throughputRatio, { mark: 1, isOurs }),
  ],
  columns: () => [
    COLUMNS.target,
    COLUMNS.throughput,
    throughputRatioColumn(EXPRESS.name),
    COLUMNS.cpu,
    COLUMNS.cpuRange,
    ...cpuRatioColumns(MEMORY.name),
    ...LAST_COLUMNS,
  ],
});
