import type { LoadGenerator } from '../load/load-generator.ts';
import type { Backends } from './backends.ts';
import { type Sample, type SamplePlan, takeSample } from './sample.ts';
import type { RunningTarget, Target, TargetContext } from './target.ts';

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
  /** Whether a round goes before that does not count, so that all code is compiled when it counts. */
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

/** Measures all targets in turns: what disturbs the machine for a while then disturbs all of them. */
export async function runRounds(
  targets: readonly Target[],
  plan: RoundsPlan,
  environment: RoundsEnvironment,
): Promise<TargetRun[]> {
  const runs = targets.map((target): TargetRun => ({ target, samples: [], failure: undefined }));
  const runners: Runner[] = [];
  for (const run of runs) {
    try {
      runners.push({ run, running: await run.target.start(environment.context) });
    } catch (error) {
      fail(run, error, environment);
    }
  }
  for (let round = plan.preheat ? 0 : 1; round <= plan.rounds; round++) {
    for (const runner of orderOf(round, runners)) {
      if (runner.run.failure === undefined) await measure(runner, round, plan, environment);
    }
  }
  await Promise.all(runners.map(({ running }) => running.stop()));
  return runs;
}

async function measure({ run, running }: Runner, round: number, plan: RoundsPlan, environment: RoundsEnvironment) {
  try {
    const sample = await takeSample(running, environment.load, environment.backends, {
      ...plan,
      refuses: run.target.refuses === true,
      exchange: run.target.exchange,
      connections: run.target.connections ?? plan.connections,
    });
    if (round > 0) run.samples.push(sample);
    environment.progress(
      `${round === 0 ? 'preheat' : `round ${round}/${plan.rounds}`}  ${run.target.name}  ` +
        `${Math.round(sample.requestsPerSecond)} req/s  ${sample.cpuMicrosPerRequest.toFixed(1)} µs/req` +
        (sample.errors > 0 ? `  ${sample.errors} errors: ${sample.firstError}` : ''),
    );
  } catch (error) {
    fail(run, error, environment);
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
