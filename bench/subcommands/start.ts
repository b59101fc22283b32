import { setTimeout as sleep } from 'node:timers/promises';
import type { BackendsReady } from '../backends/backend-process.ts';
import type { Flags } from '../flags.ts';
import type { Child } from '../harness/child.ts';
import { BuiltTarget } from '../harness/gateway-target.ts';
import { orderOf } from '../harness/rounds.ts';
import type { Target, TargetContext } from '../harness/target.ts';
import { inTempFolder } from '../harness/temp-folder.ts';
import type { PacedResult } from '../load/paced-run.ts';
import { runFacts, tellFacts } from '../report/run-facts.ts';
import { type StartRow, type StartSample, startPanels, startText } from '../report/start-report.ts';
import { chosenOf, missingLines } from './chosen.ts';
import { publish } from './publish.ts';
import type { Bench, Subcommand } from './subcommand.ts';
import { FLOOR, SUITE } from './targets.ts';

const BACKENDS = 2;
const REQUESTS = 1_000;
const REST_MS = 1_000;
const SECONDS_EACH = 15;

const TARGETS: readonly Target[] = [
  FLOOR,
  SUITE,
  new BuiltTarget(
    'package',
    'expressway start of the built package: what the suite has, status page, access log to a pipe',
  ),
];

/** Processes that live for three seconds: what a start costs, and what requests cost before V8 has compiled anything. */
export const start: Subcommand = {
  name: 'start',
  about: `time and CPU of a start, memory at rest, CPU of the first ${REQUESTS.toLocaleString('en')} requests; 2 minutes`,
  defaults: { rounds: 12 },

  atMostSeconds: ({ rounds }: Flags) => TARGETS.length * rounds * SECONDS_EACH + 60,

  async run(bench: Bench): Promise<boolean> {
    const { flags, processes, placement, progress } = bench;
    const { targets, missing } = chosenOf('start', TARGETS, flags.only);
    const facts = runFacts('start', flags, placement);
    tellFacts(facts, progress);
    const script = new URL('../load/paced-process.ts', import.meta.url);
    const load = processes.start({ name: 'paced load', script, args: [String(BACKENDS)], cpus: placement.load });
    const { origins: backends } = await load.ready<BackendsReady>();
    const runners = targets.map((target): { target: Target; row: StartRow } => ({
      target,
      row: { name: target.name, title: target.title, samples: [], failure: undefined },
    }));
    await inTempFolder(async (folder) => {
      for (let round = 1; round <= flags.rounds; round++) {
        for (const { target, row } of orderOf(round, runners)) {
          if (row.failure !== undefined) continue;
          try {
            const context = { processes, placement, backends, folder };
            const sample = await sampleOf(target, context, load, { round, connections: flags.connections });
            row.samples.push(sample);
            progress(
              `round ${round}/${flags.rounds}  ${row.name}  ready after ${Math.round(sample.readyMs)} ms  ${Math.round(sample.firstCpuMicros)} µs/req`,
            );
          } catch (error) {
            row.failure = error instanceof Error ? error.message : String(error);
            progress(`${row.name} failed: ${row.failure}`);
          }
        }
      }
    });
    await load.stop();

    const rows = runners.map(({ row }) => row);
    publish(
      {
        facts,
        result: { requests: REQUESTS, missing, rows },
        text: () => [startText(rows, REQUESTS, facts), ...missingLines(missing)].join('\n'),
        title: 'what new processes need',
        panels: () => startPanels(rows),
        isPart: flags.only !== undefined,
      },
      bench,
    );
    return rows.every(({ failure }) => failure === undefined);
  },
};

/** Starts a process, lets it rest, and sends it its first requests, at random times that are the same for all targets of a round. */
async function sampleOf(
  target: Target,
  context: TargetContext,
  load: Child,
  { round, connections }: { round: number; connections: number },
): Promise<StartSample> {
  const startedAt = performance.now();
  const running = await target.start(context);
  const readyMs = performance.now() - startedAt;
  try {
    const ready = await running.usage();
    await sleep(REST_MS);
    const rest = await running.usage();
    const plan = { port: running.port, connections, perSecond: REQUESTS, warmupSeconds: 0, seconds: 1, seed: round };
    const { requests, errors, firstError } = await load.ask<PacedResult>('run', plan);
    if (errors > 0) throw new Error(firstError);
    const after = await running.usage();
    return {
      readyMs,
      readyCpuMs: ready.cpuMicros / 1000,
      restBytes: rest.rssBytes,
      firstCpuMicros: (after.cpuMicros - rest.cpuMicros) / requests,
    };
  } finally {
    await running.stop();
  }
}
