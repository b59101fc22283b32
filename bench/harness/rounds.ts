import type { LoadGenerator } from '../load/load-generator.ts';
import type { Backends } from './backends.ts';
import { type Sample, type SamplePlan, takeSample } from './sample.ts';
import type { RunningTarget, Target, TargetContext } from './target.ts';

/**
 * V8 has compiled all that a gateway's request passes after some 50,000 of them. A target that has not come so far is measured
 * in a state that it leaves within the first minute of its life.
 */
const PREHEAT_REQUESTS = 60_000;
/** Where requests take too long for so many. */
export const PREHEAT_SECONDS = 6;

/** What became of one target over all rounds. */
export interface TargetRun {
  readonly target: Target;
  /** One per round; all rounds of all targets have the same number, so that they can be compared in pairs. */
  readonly samples: Sample[];
  /** Why it could not be started or measured to the end. */
  failure: string | undefined;
}

export interface RoundsPlan extends SamplePlan {
  readonly rounds: number;
  /** New ones of each target in the course of the rounds. */
  readonly processes: number;
  /** Whether each target has load before the first round, so that all code is compiled when it counts. */
  readonly preheat: boolean;
}

export interface RoundsEnvironment {
  readonly context: TargetContext;
  readonly load: LoadGenerator;
  readonly backends: Backends;
  readonly progress: (line: string) => void;
}

interface Runner {
  readonly run: TargetRun;
  readonly running: RunningTarget;
}

/**
 * Measures all targets in turns: what disturbs the machine for a while then disturbs all of them. Every few rounds all of them
 * start anew: processes of the same code differ by more than rounds do, for as long as they live.
 */
export async function runRounds(
  targets: readonly Target[],
  plan: RoundsPlan,
  environment: RoundsEnvironment,
): Promise<TargetRun[]> {
  const runs = targets.map((target): TargetRun => ({ target, samples: [], failure: undefined }));
  const processes = Math.min(plan.processes, plan.rounds);
  let round = 0;
  for (let nth = 1; nth <= processes; nth++) {
    const runners = await startAll(runs, environment);
    if (plan.preheat) for (const runner of runners) await preheat(runner, plan, environment);
    const last = Math.round((plan.rounds * nth) / processes);
    while (round < last) {
      round += 1;
      for (const runner of orderOf(round, runners)) {
        if (runner.run.failure === undefined) await measure(runner, round, plan, environment);
      }
    }
    await Promise.all(runners.map(({ running }) => running.stop()));
  }
  return runs;
}

async function startAll(runs: readonly TargetRun[], environment: RoundsEnvironment): Promise<Runner[]> {
  const runners: Runner[] = [];
  for (const run of runs) {
    if (run.failure !== undefined) continue;
    try {
      runners.push({ run, running: await run.target.start(environment.context) });
    } catch (error) {
      fail(run, error, environment);
    }
  }
  return runners;
}

async function preheat(runner: Runner, plan: RoundsPlan, environment: RoundsEnvironment): Promise<void> {
  let requests = 0;
  for (let second = 0; second < PREHEAT_SECONDS && requests < PREHEAT_REQUESTS; second++) {
    const sample = await attempt(runner, 'preheat', { ...plan, warmupSeconds: 0, seconds: 1 }, environment);
    if (sample === undefined) return;
    requests += sample.requests;
  }
}

async function measure(runner: Runner, round: number, plan: RoundsPlan, environment: RoundsEnvironment): Promise<void> {
  const sample = await attempt(runner, `round ${round}/${plan.rounds}`, plan, environment);
  if (sample !== undefined) runner.run.samples.push(sample);
}

/** @returns nothing when it failed, which the run then says. */
async function attempt(
  { run, running }: Runner,
  what: string,
  plan: SamplePlan,
  environment: RoundsEnvironment,
): Promise<Sample | undefined> {
  try {
    const sample = await takeSample(running, environment.load, environment.backends, {
      ...plan,
      refuses: run.target.refuses === true,
      exchange: run.target.exchange,
      connections: run.target.connections ?? plan.connections,
    });
    environment.progress(
      `${what}  ${run.target.name}  ` +
        `${Math.round(sample.requestsPerSecond)} req/s  ${sample.cpuMicrosPerRequest.toFixed(1)} µs/req` +
        (sample.errors > 0 ? `  ${sample.errors} errors: ${sample.firstError}` : ''),
    );
    return sample;
  } catch (error) {
    fail(run, error, environment);
    return undefined;
  }
}

function fail(run: TargetRun, error: unknown, { progress }: RoundsEnvironment): void {
  run.failure = error instanceof Error ? error.message : String(error);
  progress(`${run.target.name} failed: ${run.failure}`);
}

/** Another first one each round, every second round backwards: nobody always follows the same neighbour. */
export function orderOf<T>(round: number, all: readonly T[]): T[] {
  const start = all.length === 0 ? 0 : round % all.length;
  const order = [...all.slice(start), ...all.slice(0, start)];
  return round % 2 === 0 ? order : order.reverse();
}
