import type { BackendsReady } from '../backends/backend-process.ts';
import type { Flags } from '../flags.ts';
import type { Child } from '../harness/child.ts';
import { moveTo } from '../harness/placement.ts';
import type { RunningTarget, Target } from '../harness/target.ts';
import { inTempFolder } from '../harness/temp-folder.ts';
import { HealthProbe } from '../load/health-probe.ts';
import type { ClosedPlan, OpenPlan, OpenResult } from '../load/open-run.ts';
import { type OverloadPoint, type OverloadRow, overloadPanels, overloadText } from '../report/overload-report.ts';
import { runFacts, tellFacts } from '../report/run-facts.ts';
import { chosenOf } from './chosen.ts';
import { publish } from './publish.ts';
import type { Bench, Subcommand } from './subcommand.ts';
import { FAST_GATEWAY, FLOOR, SUITE, SUITE_SHEDDING, SYSTEM_PEERS } from './targets.ts';

const BACKENDS = 2;
const TARGETS: readonly Target[] = [
  FLOOR,
  SUITE,
  SUITE_SHEDDING,
  FAST_GATEWAY,
  ...SYSTEM_PEERS.filter(({ name }) => name === 'caddy' || name === 'haproxy'),
];
/** What is offered, as a multiple of what the target can do. */
const FACTORS = [0.5, 1, 1.5, 2, 2.5, 3];
const SMOKE_FACTORS = [0.5, 2];
/** With a new connection for each request, whatever its capacity is for those: the operating system is a part of what is measured. */
const NEW_CONNECTIONS_FACTOR = 0.5;
/** As many as an open loop needs: with fewer, requests would wait in the generator, where no target can reject them. */
const CONNECTIONS = 6_000;
/** For opening them. */
const OPENING_SECONDS = 25;
/** For the capacity: all of them are busy all the time, and before that until all code is compiled. Otherwise twice the capacity would be less. */
const BUSY_CONNECTIONS = 500;
const SATURATION_SECONDS = { warmupSeconds: 8, seconds: 4 };
/** Once more in the end, when all code is compiled: if the capacity is another one, the machine has changed its speed meanwhile. */
const AGAIN_SECONDS = { warmupSeconds: 1, seconds: 3 };
const SMOKE_SATURATION_SECONDS = { warmupSeconds: 0.5, seconds: 0.5 };
/** For how long the load is light after each overload, to see when all is well again. */
const RECOVERY_SECONDS = 3;

export const overload: Subcommand = {
  name: 'overload',
  about: 'goodput and latency of what is served at 0.5 to 3 times the capacity (overload [factors, like 1,2])',
  defaults: { rounds: 1, processes: 1, seconds: 4, warmupSeconds: 2 },

  atMostSeconds: ({ rounds, processes, seconds, warmupSeconds }: Flags) =>
    rounds *
      processes *
      TARGETS.length *
      ((FACTORS.length + 1) * (seconds + warmupSeconds + RECOVERY_SECONDS + OPENING_SECONDS + 10) + 40) +
    60,

  async run(bench: Bench): Promise<boolean> {
    const { flags, processes, placement, progress } = bench;
    if (flags.load !== 'raw') throw new Error('overload has a load of its own: --load does not apply');
    const { targets, missing } = chosenOf('overload', TARGETS, flags.only);
    // It asks for health. The load never sleeps, so the system would move this process to the gateway's core.
    moveTo(placement.load);
    const facts = runFacts('overload', flags, placement);
    tellFacts(facts, progress);
    const script = new URL('../load/open-process.ts', import.meta.url);
    const load = processes.start({ name: 'open load', script, args: [String(BACKENDS)], cpus: placement.load });
    const { origins } = await load.ready<BackendsReady>();
    const rows = await inTempFolder(async (folder) => {
      const measured: OverloadRow[] = [];
      for (const target of targets) {
        const row: OverloadRow = {
          name: target.name,
          title: target.title,
          points: [],
          capacityAfter: [],
          failure: undefined,
        };
        measured.push(row);
        try {
          for (let count = 0; count < flags.processes; count += 1) {
            const running = await target.start({ processes, placement, backends: origins, folder });
            await measure(row, running, load, bench);
            await running.stop();
          }
        } catch (error) {
          row.failure = error instanceof Error ? error.message : String(error);
          progress(`${target.name} failed: ${row.failure}`);
        }
      }
      return measured;
    });
    await load.stop();

    publish(
      {
        facts,
        result: { missing, rows },
        text: () => overloadText(rows, facts),
        title: 'goodput and latency under overload',
        panels: () => overloadPanels(rows),
        isPart: flags.only !== undefined || flags.operands.length > 0,
      },
      bench,
    );
    return rows.every(({ failure }) => failure === undefined);
  },
};

async function measure(row: OverloadRow, running: RunningTarget, load: Child, bench: Bench): Promise<void> {
  const { flags, progress } = bench;
  const recoverySeconds = flags.smoke ? 0.5 : RECOVERY_SECONDS;
  const capacity = await capacityOf(running, load, bench, SATURATION_SECONDS);
  progress(`${row.name}: ${capacity} req/s`);
  for (let round = 1; round <= flags.rounds; round += 1) {
    const plans = factorsOf(flags).map((factor) => ({ factor, isNewEach: false }));
    for (const { factor, isNewEach } of [...plans, { factor: NEW_CONNECTIONS_FACTOR, isNewEach: true }]) {
      const plan: OpenPlan = {
        port: running.port,
        connections: flags.smoke ? flags.connections : CONNECTIONS,
        perSecond: capacity * factor,
        warmupSeconds: flags.warmupSeconds,
        seconds: flags.seconds,
        after: factor > 1 ? { perSecond: capacity / 2, seconds: recoverySeconds } : undefined,
        seed: round,
        isNewEach,
      };
      const atMostMs = (flags.warmupSeconds + flags.seconds + recoverySeconds + OPENING_SECONDS + 10) * 1_000;
      const health = running.adminPort === undefined ? undefined : new HealthProbe(running.adminPort);
      const { recoveryMs, counted, ...result } = await load.ask<OpenResult>('run', plan, atMostMs);
      const point: OverloadPoint = {
        factor,
        isNewEach,
        seconds: flags.seconds,
        capacity,
        ...result,
        recoveryMs: factor > 1 ? recoveryMs : undefined,
        healthP99: await health?.stop(counted),
      };
      row.points.push(point);
      progress(
        `${row.name}  ${factor} ×${isNewEach ? ' new connections' : ''}  ${Math.round(result.served / flags.seconds)} good/s (p99 ${Math.round(result.goodP99)} ms), ` +
          `${result.rejected} rejected (p99 ${Math.round(result.rejectedP99)} ms), ${result.lost} lost, ${result.bad} bad ${result.firstProblem ?? ''}, ` +
          `${result.open} connections, generator late by ${Math.round(result.lagP99)} ms, recovered after ${point.recoveryMs === undefined ? '–' : Math.round(point.recoveryMs)} ms, ` +
          `health checks p99 ${point.healthP99 === undefined ? '–' : Math.round(point.healthP99)} ms`,
      );
    }
  }
  const after = await capacityOf(running, load, bench, AGAIN_SECONDS);
  progress(`${row.name}: ${after} req/s afterwards`);
  row.capacityAfter.push(after);
}

type Seconds = Pick<ClosedPlan, 'warmupSeconds' | 'seconds'>;

async function capacityOf({ port }: RunningTarget, load: Child, { flags }: Bench, seconds: Seconds): Promise<number> {
  const stretch = flags.smoke ? SMOKE_SATURATION_SECONDS : seconds;
  const plan: ClosedPlan = { port, connections: flags.smoke ? flags.connections : BUSY_CONNECTIONS, ...stretch };
  const atMostMs = (stretch.warmupSeconds + stretch.seconds + OPENING_SECONDS) * 1_000;
  return Math.round(await load.ask<number>('saturate', plan, atMostMs));
}

function factorsOf({ operands: [given], smoke }: Flags): readonly number[] {
  if (given === undefined) return smoke ? SMOKE_FACTORS : FACTORS;
  const factors = given.split(',').map(Number);
  if (!factors.every((factor) => factor > 0 && factor <= 10))
    throw new Error(`overload: factors from 0 to 10, like 1,2, got "${given}"`);
  return factors;
}
