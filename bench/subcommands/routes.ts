import { setTimeout as sleep } from 'node:timers/promises';
import type { Flags } from '../flags.ts';
import { Backends } from '../harness/backends.ts';
import type { Child } from '../harness/child.ts';
import type { Usage } from '../harness/child-side.ts';
import { startLoad } from '../load/start-load.ts';
import { medianRange, pairedRatios, spreadOf } from '../report/statistics.ts';
import type { Bench, Subcommand } from './subcommand.ts';

/** Times the CPU of a request with one route. */
const MOST = 1.05;
/** Handlers of the target, in the order of their turns. Each round goes there and back, so that a drift falls out. */
const HANDLERS = ['proxy', '1', '1000'] as const;
const TITLES = {
  proxy: 'roundRobinProxy() alone',
  '1': 'serviceRouter(), 1 route',
  '1000': 'serviceRouter(), 1000 routes',
};
const BACKENDS = 2;

type Counts = Usage & { readonly requests: number };

/**
 * All handlers are in one process, on the same connections of clients, and take turns of parts of a second: how a process happens to be
 * compiled, and what else the machine does, is the same for all of them.
 */
export const routes: Subcommand = {
  name: 'routes',
  about: `what serviceRouter() costs, and what 1000 routes cost more than 1; fails above ${MOST} times`,
  defaults: { rounds: 60, seconds: 0.25, warmupSeconds: 3 },

  atMostSeconds: ({ rounds, seconds, warmupSeconds }: Flags) =>
    rounds * 2 * HANDLERS.length * (seconds + 5) + warmupSeconds + 60,

  async run({ flags, processes, placement, print }: Bench): Promise<boolean> {
    const { rounds, seconds, warmupSeconds, connections } = flags;
    const backends = await Backends.start(processes, placement, BACKENDS);
    const script = new URL('../targets/routes.ts', import.meta.url);
    const gateway = processes.start({ name: 'routes', script, args: backends.origins, cpus: placement.gateway });
    const { port } = await gateway.ready<{ port: number }>();
    const load = await startLoad(flags.load, processes, placement);
    const perRequest = HANDLERS.map((): number[] => []);
    let errors = 0;
    let firstError: string | undefined;
    /** Turns under load, on the same connections. */
    const underLoad = async (turns: readonly number[], turnSeconds: number): Promise<number[]> => {
      const micros = HANDLERS.map(() => 0);
      const all = async () => {
        for (const index of turns) micros[index]! += await turn(gateway, HANDLERS[index]!, turnSeconds);
      };
      let done: Promise<void> | undefined;
      const count = await load.measure(
        { port, connections, warmupSeconds: 0, seconds: turns.length * turnSeconds },
        async () => {
          done = all();
        },
        async () => done,
      );
      errors += count.errors;
      firstError ??= count.firstError;
      return micros;
    };
    const turns = [...HANDLERS.keys()];
    await underLoad(turns, warmupSeconds);
    for (let round = 0; round < rounds; round += 1) {
      const both = await underLoad([...turns, ...turns.toReversed()], seconds);
      for (const index of turns) perRequest[index]?.push(both[index]! / 2);
    }
    await Promise.all([load.stop(), gateway.stop(), backends.stop()]);

    const base = perRequest[1] as number[];
    const ratios = perRequest.map((values) => {
      const spread = spreadOf(pairedRatios(values, base)) as NonNullable<ReturnType<typeof spreadOf>>;
      return { median: spread.median, ...medianRange(spread, rounds) };
    });
    for (const [index, name] of HANDLERS.entries()) {
      const micros = spreadOf(perRequest[index] as number[])?.median ?? Number.NaN;
      const { median, low, high } = ratios[index]!;
      const cost = `${TITLES[name].padEnd(30)}${micros.toFixed(1).padStart(7)} µs CPU per request`;
      const times = `${median.toFixed(3)} times that of 1 route (95 % confidence: ${low.toFixed(3)}–${high.toFixed(3)})`;
      print(name === '1' ? cost : `${cost}, ${times}`);
    }
    const { low, high } = ratios[2]!;
    const isGood = errors === 0 && high <= MOST;
    const found = isGood ? 'passed' : low > MOST || errors > 0 ? 'failed' : 'inconclusive, take more --rounds';
    print(
      `${found}: 1000 routes may take ${MOST} times the CPU of one; ${errors} errors${firstError ? `: ${firstError}` : ''}`,
    );
    return isGood;
  },
};

/** @returns microseconds of CPU per request while a handler is in use. */
async function turn(gateway: Child, name: (typeof HANDLERS)[number], seconds: number): Promise<number> {
  await gateway.ask('use', name);
  const before = await gateway.ask<Counts>('count');
  await sleep(seconds * 1000);
  const after = await gateway.ask<Counts>('count');
  return (after.cpuMicros - before.cpuMicros) / (after.requests - before.requests);
}
