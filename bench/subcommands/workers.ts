import type { BackendsReady } from '../backends/backend-process.ts';
import type { Flags } from '../flags.ts';
import { GatewayTarget, type RunningGateway } from '../harness/gateway-target.ts';
import { orderOf } from '../harness/rounds.ts';
import type { PacedPlan, PacedResult } from '../load/paced-run.ts';
import { type RunFacts, runFacts, tellFacts } from '../report/run-facts.ts';
import { spreadOf } from '../report/statistics.ts';
import { workersPanels, workersText } from '../report/workers-report.ts';
import { publish } from './publish.ts';
import type { Bench, Subcommand } from './subcommand.ts';

const BACKENDS = 2;
const DEFAULT_RATE = 4_000;

const TARGETS = [
  new GatewayTarget('1', 'the example gateway in one process', { WORKERS: '1' }),
  new GatewayTarget('2', 'two workers: the primary counts, one question per request', { WORKERS: '2' }),
  new GatewayTarget('2-leases', 'two workers that take a quarter of what remains ahead', {
    WORKERS: '2',
    RATE_LIMIT_LEASE: '0.25',
  }),
];

/** One stretch of load. */
export interface WorkersSample extends PacedResult {
  /** Of all processes of the gateway, per request of the stretch and its warm-up. */
  readonly cpuMicrosPerRequest: number;
  /** Of these, the first process's. */
  readonly firstMicrosPerRequest: number;
  readonly rssBytes: number;
}

export interface WorkersRow {
  readonly name: string;
  readonly title: string;
  readonly samples: WorkersSample[];
}

/** Load, backends and gateway share all cores: it says what workers cost per request, not what they can do. */
export const workers: Subcommand = {
  name: 'workers',
  about:
    'the example gateway with 2 workers and without: CPU and latency at a given rate (workers [requests per second])',
  defaults: { rounds: 5, seconds: 3, warmupSeconds: 1 },

  atMostSeconds: ({ rounds, seconds, warmupSeconds }: Flags) =>
    2 * (rounds + 1) * TARGETS.length * (seconds + warmupSeconds) + 60,

  async run(bench: Bench): Promise<boolean> {
    const { flags, processes, placement, progress } = bench;
    const perSecond = rateOf(flags);
    const facts: RunFacts = { ...runFacts('workers', flags, placement), placement: 'nothing pinned' };
    tellFacts(facts, progress);
    const script = new URL('../load/paced-process.ts', import.meta.url);
    const paced = processes.start({ name: 'paced load', script, args: [String(BACKENDS)], cpus: undefined });
    const { origins: backends } = await paced.ready<BackendsReady>();
    const rows: WorkersRow[] = [];
    const runners: { readonly row: WorkersRow; readonly running: RunningGateway }[] = [];
    for (const target of TARGETS) {
      const row = { name: target.name, title: target.title, samples: [] };
      rows.push(row);
      runners.push({ row, running: await target.start({ processes, backends }) });
    }
    const { connections, warmupSeconds, seconds, rounds, smoke } = flags;
    for (let round = smoke ? 1 : 0; round <= rounds; round++) {
      for (const { row, running } of orderOf(round, runners)) {
        const plan: PacedPlan = { port: running.port, connections, perSecond, warmupSeconds, seconds, seed: round + 1 };
        const before = { all: await running.usage(), first: running.firstUsage() };
        const result = await paced.ask<PacedResult>('run', plan, (warmupSeconds + seconds) * 1000 + 20_000);
        const after = { all: await running.usage(), first: running.firstUsage() };
        const asked = perSecond * (warmupSeconds + seconds);
        const cpuMicrosPerRequest = (after.all.cpuMicros - before.all.cpuMicros) / asked;
        const firstMicrosPerRequest = (after.first.cpuMicros - before.first.cpuMicros) / asked;
        const sample = { ...result, cpuMicrosPerRequest, firstMicrosPerRequest, rssBytes: after.all.rssBytes };
        if (round > 0) row.samples.push(sample);
        progress(`round ${round}/${rounds}  ${row.name}  ${Math.round(cpuMicrosPerRequest)} µs per request`);
      }
    }
    await Promise.all(runners.map(({ running }) => running.stop()));
    await paced.stop();

    const cpu = rows.map(({ name, samples }) => ({
      name,
      spread: spreadOf(samples.map((one) => one.cpuMicrosPerRequest)),
    }));
    publish(
      {
        facts,
        result: { perSecond, cpuMicrosPerRequest: cpu, rows },
        text: () => workersText(rows, perSecond, facts),
        title: `the example gateway at ${Math.round(perSecond)} requests per second`,
        panels: () => workersPanels(rows),
        isPart: flags.operands.length > 0,
      },
      bench,
    );
    return rows.every(({ samples }) => samples.every(({ errors, requests }) => errors === 0 && requests > 0));
  },
};

function rateOf({ operands: [given] }: Flags): number {
  const rate = Number(given ?? DEFAULT_RATE);
  if (!(rate >= 1 && rate <= 1e6)) throw new Error(`workers: requests per second from 1 to 1000000, got "${given}"`);
  return rate;
}
