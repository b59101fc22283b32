import { type Case, CaseTarget } from '../harness/case-target.ts';
import { COLUMNS, cpuRatioColumns, LAST_COLUMNS, throughputRatioColumn } from '../report/cells.ts';
import { panelOf } from '../report/panels.ts';
import { Comparison } from './comparison.ts';
import { FLOOR, HPM, SUITE } from './targets.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** Fewer connections for larger content: each must end some requests in a stretch, and the load is to fit into memory. */
export const CASES: readonly Case[] = [
  { name: 'post-1k', exchange: { method: 'POST', bytes: KIB }, connections: 64 },
  { name: 'post-100k', exchange: { method: 'POST', bytes: 100 * KIB }, connections: 32 },
  { name: 'post-10m', exchange: { method: 'POST', bytes: 10 * MIB }, connections: 4 },
  { name: 'get-1k', exchange: { method: 'GET', bytes: KIB }, connections: 64 },
  { name: 'get-100k', exchange: { method: 'GET', bytes: 100 * KIB }, connections: 32 },
  { name: 'get-1m', exchange: { method: 'GET', bytes: MIB }, connections: 16 },
  { name: 'get-10m', exchange: { method: 'GET', bytes: 10 * MIB }, connections: 4 },
];

const isOurs = (name: string): boolean => name.startsWith(`${SUITE.name}/`);

export const sizes = new Comparison({
  name: 'sizes',
  about: 'throughput with content of 1 KiB to 10 MiB either way, checked to the last byte',
  targets: CaseTarget.product([FLOOR, SUITE, HPM], CASES),
  backendKind: 'sized',
  baselines: { cpu: FLOOR.name, throughput: FLOOR.name },
  defaults: { rounds: 14, processes: 2, seconds: 0.6, warmupSeconds: 0.1 },
  panels: (summaries) => {
    const others = summaries.filter(({ name }) => !name.startsWith(`${FLOOR.name}/`));
    return [
      panelOf('Throughput ÷ floor (more is better)', others, (s) => s.throughputRatio, { mark: 1, isOurs }),
      panelOf('CPU per request ÷ floor (less is better)', others, (s) => s.cpuRatio, { mark: 1, isOurs }),
    ];
  },
  columns: () => [
    COLUMNS.target,
    COLUMNS.throughput,
    { head: 'MB/s', cell: ({ name, requestsPerSecond }) => megabytes(name, requestsPerSecond?.median) },
    throughputRatioColumn(FLOOR.name),
    COLUMNS.throughputRatioRange,
    COLUMNS.cpu,
    ...cpuRatioColumns(FLOOR.name),
    ...LAST_COLUMNS,
  ],
});

function megabytes(name: string, requestsPerSecond: number | undefined): string {
  const bytes = CASES.find((one) => name.endsWith(`/${one.name}`))?.exchange.bytes;
  if (bytes === undefined || requestsPerSecond === undefined) return '–';
  return ((bytes * requestsPerSecond) / 1e6).toFixed(0);
}
