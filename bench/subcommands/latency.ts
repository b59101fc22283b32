import type { BackendsReady } from '../backends/backend-process.ts';
import type { Flags } from '../flags.ts';
import type { Child } from '../harness/child.ts';
import { orderOf } from '../harness/rounds.ts';
import type { RunningTarget, Target, TargetContext } from '../harness/target.ts';
import { inTempFolder } from '../harness/temp-folder.ts';
import type { PacedPlan, PacedResult } from '../load/paced-run.ts';
import { RawLoad } from '../load/raw-load.ts';
import { DIRECT, type LatencyRow, latencyPanels, latencyText } from '../report/latency-report.ts';
import { runFacts, tellFacts } from '../report/run-facts.ts';
import { chosenOf } from './chosen.ts';
import { publish } from './publish.ts';
import type { Bench, Subcommand } from './subcommand.ts';
import { FLOOR, SUITE, SUITE_PLAIN } from './targets.ts';

const BACKENDS = 2;
/** How long each target is loaded to see how much it takes. */
const SATURATION_SECONDS = { warmupSeconds: 2, seconds: 2 };
const SMOKE_SATURATION_SECONDS = { warmupSeconds: 0.5, seconds: 0.5 };
const TARGETS = [FLOOR, SUITE, SUITE_PLAIN];

interface Runner {
  readonly row: LatencyRow;
  readonly running: RunningTarget;
}

export const latency: Subcommand = {
  name: 'latency',
  about: 'latency that is added to that of the backends, at half of saturation (latency [requests per second])',
  defaults: { rounds: 7, seconds: 3, warmupSeconds: 0.5 },

  atMostSeconds: ({ rounds, seconds, warmupSeconds }: Flags) =>
    2 * (rounds + 1) * (TARGETS.length + 1) * (seconds + warmupSeconds) + 120,

  async run(bench: Bench): Promise<boolean> {
    const { flags, processes, placement, progress } = bench;
    if (flags.load !== 'raw') throw new Error('latency has a load of its own: --load does not apply');
    const { targets } = chosenOf('latency', TARGETS, flags.only);
    const facts = runFacts('latency', flags, placement);
    tellFacts(facts, progress);
    const script = new URL('../load/paced-process.ts', import.meta.url);
    const paced = processes.start({ name: 'paced load', script, args: [String(BACKENDS)], cpus: placement.load });
    const { origins } = await paced.ready<BackendsReady>();

    const { rows, perSecond } = await inTempFolder(async (folder) => {
      const runners = await startAll(targets, { processes, placement, backends: origins, folder });
      const rate = rateOf(flags) ?? (await halfOfSaturation(runners, bench));
      const direct = directRunner(origins[0] as string);
      await runRounds([direct, ...runners], rate, paced, bench);
      await Promise.all(runners.map(({ running }) => running.stop()));
      return { rows: [direct, ...runners].map(({ row }) => row), perSecond: rate };
    });
    await paced.stop();

    publish(
      {
        facts,
        result: { perSecond, rows },
        text: () => latencyText(rows, perSecond, facts),
        title: `added to that of the backends, at ${Math.round(perSecond)} requests per second`,
        panels: () => latencyPanels(rows),
        isPart: flags.only !== undefined,
      },
      bench,
    );
    return rows.every(({ samples }) => samples.every(({ errors, requests }) => errors === 0 && requests > 0));
  },
};

async function startAll(targets: readonly Target[], context: TargetContext): Promise<Runner[]> {
  const runners: Runner[] = [];
  for (const target of targets) {
    const row = { name: target.name, title: target.title, samples: [] };
    runners.push({ row, running: await target.start(context) });
  }
  return runners;
}

/** Not a gateway: the load asks a backend. */
function directRunner(origin: string): Runner {
  const port = Number(new URL(origin).port);
  const running = { port, usage: async () => ({ cpuMicros: 0, rssBytes: 0 }), stop: async () => {} };
  return { row: { name: DIRECT, title: 'a backend, without a gateway', samples: [] }, running };
}

/** One rate for all, at which the slowest of them has half of what it can do. */
async function halfOfSaturation(runners: readonly Runner[], bench: Bench): Promise<number> {
  const { processes, placement, flags, progress } = bench;
  const load = await RawLoad.start(processes, placement);
  let least = Number.POSITIVE_INFINITY;
  for (const { row, running } of runners) {
    const stretch = flags.smoke ? SMOKE_SATURATION_SECONDS : SATURATION_SECONDS;
    const plan = { port: running.port, connections: flags.connections, ...stretch };
    const count = await load.measure(
      plan,
      async () => {},
      async () => {},
    );
    if (count.errors > 0) throw new Error(`${row.name} under full load: ${count.errors} errors: ${count.firstError}`);
    const perSecond = count.requests / count.seconds;
    progress(`saturation  ${row.name}  ${Math.round(perSecond)} req/s`);
    least = Math.min(least, perSecond);
  }
  await load.stop();
  return Math.round(least / 2);
}

async function runRounds(runners: readonly Runner[], perSecond: number, paced: Child, bench: Bench): Promise<void> {
  const { flags, progress } = bench;
  const { connections, warmupSeconds, seconds, rounds, smoke } = flags;
  for (let round = smoke ? 1 : 0; round <= rounds; round++) {
    for (const { row, running } of orderOf(round, runners)) {
      const plan: PacedPlan = { port: running.port, connections, perSecond, warmupSeconds, seconds, seed: round + 1 };
      const before = { ...(await running.usage()), at: performance.now() };
      const result = await paced.ask<PacedResult>('run', plan, (warmupSeconds + seconds) * 1000 + 20_000);
      const cpuMicros = (await running.usage()).cpuMicros - before.cpuMicros;
      const gatewayBusy = cpuMicros / ((performance.now() - before.at) * 1000);
      if (round > 0) row.samples.push({ ...result, gatewayBusy });
      const { p50, p99 } = result.latency;
      progress(
        `${round === 0 ? 'preheat' : `round ${round}/${rounds}`}  ${row.name}  p50 ${Math.round(p50)} µs  p99 ${Math.round(p99)} µs` +
          (result.errors > 0 ? `  ${result.errors} errors: ${result.firstError}` : ''),
      );
    }
  }
}

function rateOf({ operands: [given] }: Flags): number | undefined {
  if (given === undefined) return undefined;
  const rate = Number(given);
  if (!(rate >= 1 && rate <= 1e6)) throw new Error(`latency: requests per second from 1 to 1000000, got "${given}"`);
  return rate;
}
