import type { LoadGenerator } from '../load/load-generator.ts';
import type { Backends } from './backends.ts';
import type { SizedExchange } from './sized.ts';
import type { RunningTarget } from './target.ts';

/** One target in one round. */
export interface Sample {
  readonly requests: number;
  readonly errors: number;
  readonly firstError: string | undefined;
  readonly seconds: number;
  readonly requestsPerSecond: number;
  /** CPU time of the gateway process per good answer. */
  readonly cpuMicrosPerRequest: number;
  /** Part of the time in which the gateway's process used its core. */
  readonly gatewayBusy: number;
  /** The same for load and backends together, over all their cores. */
  readonly loadBusy: number | undefined;
  readonly rssBytes: number;
  /** How even the answers of the measured stretch were; nothing where no backend was asked. */
  readonly served: Served | undefined;
}

/** The answers of those backends that gave any. */
export interface Served {
  readonly backends: number;
  /** Of the one that gave the fewest. */
  readonly least: number;
  readonly most: number;
}

export interface SamplePlan {
  readonly connections: number;
  readonly warmupSeconds: number;
  readonly seconds: number;
  readonly loadCpuCount: number;
  /** Whether the right answer to each request is a 429. */
  readonly refuses?: boolean;
  /** What is asked, when it is not a GET of a small answer. */
  readonly exchange?: SizedExchange | undefined;
}

/** Puts load on one target and reads all counters at the borders of the measured stretch. */
export async function takeSample(
  target: RunningTarget,
  load: LoadGenerator,
  backends: Backends,
  plan: SamplePlan,
): Promise<Sample> {
  const readAll = async () => {
    const [gateway, served, generator] = await Promise.all([target.usage(), backends.usage(), load.cpuMicros()]);
    return { gateway, served, generator, at: performance.now() };
  };
  type Reading = Awaited<ReturnType<typeof readAll>>;
  const readings: Reading[] = [];
  const read = async () => void readings.push(await readAll());

  const count = await load.measure({ ...plan, port: target.port }, read, read);
  const [before, after] = readings as [Reading, Reading];
  const elapsedMicros = (after.at - before.at) * 1000;
  const cpuMicros = after.gateway.cpuMicros - before.gateway.cpuMicros;
  return {
    ...count,
    requestsPerSecond: count.requests / count.seconds,
    cpuMicrosPerRequest: cpuMicros / count.requests,
    gatewayBusy: cpuMicros / elapsedMicros,
    loadBusy: loadBusy(before, after, elapsedMicros * plan.loadCpuCount),
    rssBytes: after.gateway.rssBytes,
    served: servedBetween(before.served.served, after.served.served),
  };
}

function servedBetween(before: readonly number[], after: readonly number[]): Served | undefined {
  const each = after.map((total, index) => total - (before[index] ?? 0)).filter((answers) => answers > 0);
  if (each.length === 0) return undefined;
  return { backends: each.length, least: Math.min(...each), most: Math.max(...each) };
}

interface LoadSideReading {
  readonly served: { readonly cpuMicros: number };
  readonly generator: number | undefined;
}

function loadBusy(before: LoadSideReading, after: LoadSideReading, micros: number): number | undefined {
  if (before.generator === undefined || after.generator === undefined) return undefined;
  const used = after.served.cpuMicros - before.served.cpuMicros + after.generator - before.generator;
  return used / micros;
}
