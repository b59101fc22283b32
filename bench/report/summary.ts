import type { TargetRun } from '../harness/rounds.ts';
import type { Sample } from '../harness/sample.ts';
import { pairedRatios, type Spread, spreadOf } from './statistics.ts';

/**
 * A target over all its rounds. `undefined` where nothing valid was measured, or where the target to compare with
 * is missing; the samples are kept in any case.
 */
export interface Summary {
  readonly name: string;
  readonly title: string;
  readonly status: 'ok' | 'invalid' | 'failed';
  readonly failure: string | undefined;
  readonly errors: number;
  readonly requestsPerSecond: Spread | undefined;
  readonly cpuMicrosPerRequest: Spread | undefined;
  readonly cpuRatio: Spread | undefined;
  readonly throughputRatio: Spread | undefined;
  readonly gatewayBusy: Spread | undefined;
  readonly loadBusy: Spread | undefined;
  readonly rssBytes: Spread | undefined;
  readonly samples: readonly Sample[];
}

/** Names of the targets that others are compared with: `suite/post-1k` with `floor/post-1k`, where names have cases. */
export interface Baselines {
  readonly cpu: string;
  readonly throughput: string;
}

export function summarize(runs: readonly TargetRun[], baselines: Baselines): Summary[] {
  return runs.map((run) => {
    const cpuBase = valuesOf(runs, baselineOf(run, baselines.cpu), (sample) => sample.cpuMicrosPerRequest);
    const throughputBase = valuesOf(runs, baselineOf(run, baselines.throughput), (sample) => sample.requestsPerSecond);
    const errors = errorsOf(run);
    const status = statusOf(run);
    const samples = status === 'invalid' ? [] : run.samples;
    const each = (pick: (sample: Sample) => number) => samples.map(pick);
    const cpu = each((sample) => sample.cpuMicrosPerRequest);
    const throughput = each((sample) => sample.requestsPerSecond);
    return {
      name: run.target.name,
      title: run.target.title,
      status,
      failure: run.failure ?? run.samples.find((sample) => sample.errors > 0)?.firstError,
      errors,
      requestsPerSecond: spreadOf(throughput),
      cpuMicrosPerRequest: spreadOf(cpu),
      cpuRatio: spreadOf(pairedRatios(cpu, cpuBase)),
      throughputRatio: spreadOf(pairedRatios(throughput, throughputBase)),
      gatewayBusy: spreadOf(each((sample) => sample.gatewayBusy)),
      loadBusy: spreadOf(samples.flatMap(({ loadBusy }) => (loadBusy === undefined ? [] : [loadBusy]))),
      rssBytes: spreadOf(each((sample) => sample.rssBytes)),
      samples: run.samples,
    };
  });
}

function baselineOf({ target }: TargetRun, baseline: string): string {
  const slash = target.name.indexOf('/');
  return slash === -1 ? baseline : baseline + target.name.slice(slash);
}

function valuesOf(runs: readonly TargetRun[], name: string, pick: (sample: Sample) => number): number[] {
  const base = runs.find((run) => run.target.name === name);
  return base === undefined || statusOf(base) === 'invalid' ? [] : base.samples.map(pick);
}

function errorsOf(run: TargetRun): number {
  return run.samples.reduce((sum, { errors }) => sum + errors, 0);
}

function statusOf(run: TargetRun): Summary['status'] {
  if (run.failure !== undefined) return 'failed';
  const answered = run.samples.every((sample) => sample.requests > 0);
  return errorsOf(run) > 0 || !answered ? 'invalid' : 'ok';
}
