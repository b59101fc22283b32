import { setTimeout as sleep } from 'node:timers/promises';
import type { Flags } from '../flags.ts';
import { Backends } from '../harness/backends.ts';
import type { Child } from '../harness/child.ts';
import { mostOpenFiles } from '../harness/open-files.ts';
import { orderOf } from '../harness/rounds.ts';
import type { NodeTarget } from '../harness/target.ts';
import { inTempFolder } from '../harness/temp-folder.ts';
import type { IdleCount, IdleStart } from '../load/idle-process.ts';
import { RawLoad } from '../load/raw-load.ts';
import {
  type ConnectionsRow,
  type ConnectionsSample,
  connectionsPanels,
  connectionsText,
} from '../report/connections-report.ts';
import { runFacts, tellFacts } from '../report/run-facts.ts';
import { chosenOf } from './chosen.ts';
import { publish } from './publish.ts';
import type { Bench, Subcommand } from './subcommand.ts';
import { FASTIFY, FLOOR, HPM, SUITE } from './targets.ts';

const TARGETS = [FLOOR, SUITE, HPM, FASTIFY];
const BACKENDS = 2;
const CONNECTIONS = 10_000;
const SMOKE_CONNECTIONS = 300;
/** Files that a process has open besides: backends' connections, logs, and those of Node itself. */
const OTHER_FILES = 500;
/** What is under way when the last answer is there: time-outs of the start, connections to backends. */
const SETTLE_MS = 500;
const OPEN_MS = 60_000;

interface Ground {
  readonly bench: Bench;
  readonly count: number;
  readonly load: RawLoad;
  readonly clients: Child;
  readonly backends: readonly string[];
  readonly folder: string;
}

export const connections: Subcommand = {
  name: 'connections',
  about: `memory per idle connection (connections [number, ${CONNECTIONS.toLocaleString('en')} by default])`,
  defaults: { rounds: 3, seconds: 1, warmupSeconds: 0.5 },

  atMostSeconds: ({ rounds }: Flags) => rounds * TARGETS.length * 60 + 60,

  async run(bench: Bench): Promise<boolean> {
    const { flags, processes, placement, progress } = bench;
    const { targets } = chosenOf('connections', TARGETS, flags.only);
    const facts = runFacts('connections', flags, placement);
    tellFacts(facts, progress);
    const count = countOf(flags, progress);
    const backends = await Backends.start(processes, placement, BACKENDS);
    const load = await RawLoad.start(processes, placement);
    const script = new URL('../load/idle-process.ts', import.meta.url);
    const clients = processes.start({ name: 'idle clients', script, cpus: placement.load });
    await clients.ready();
    const rows = targets.map(({ name, title }): ConnectionsRow => ({ name, title, samples: [], failure: undefined }));
    await inTempFolder(async (folder) => {
      const ground = { bench, count, load, clients, backends: backends.origins, folder };
      for (let round = 1; round <= flags.rounds; round++) {
        for (const target of orderOf(round, targets)) {
          const row = rows.find(({ name }) => name === target.name) as ConnectionsRow;
          try {
            row.samples.push(await measure(target, ground));
          } catch (error) {
            row.failure = error instanceof Error ? error.message : String(error);
          }
          const bytes = row.samples.at(-1)?.rssPerConnection.toFixed(0);
          progress(`round ${round}/${flags.rounds}  ${row.name}  ${row.failure ?? `${bytes} bytes per connection`}`);
        }
      }
    });
    await Promise.all([clients.stop(), load.stop(), backends.stop()]);

    publish(
      {
        facts,
        result: { connections: count, rows },
        text: () => connectionsText(rows, count, facts),
        title: `memory per idle connection, ${count.toLocaleString('en')} of them`,
        panels: () => connectionsPanels(rows),
        isPart: flags.only !== undefined || flags.operands.length > 0,
      },
      bench,
    );
    return rows.every(({ failure }) => failure === undefined);
  },
};

/** In a process of its own each time: memory that a process once had, it does not always give back. */
async function measure(target: NodeTarget, ground: Ground): Promise<ConnectionsSample> {
  const { bench, count, load, clients, backends, folder } = ground;
  const { processes, placement, flags } = bench;
  const running = await target.start({ processes, placement, backends, folder });
  try {
    // What is compiled and allocated once is not to be counted as the connections'.
    const { connections, warmupSeconds, seconds } = flags;
    const plan = { port: running.port, connections, warmupSeconds, seconds };
    const warmed = await load.measure(
      plan,
      async () => {},
      async () => {},
    );
    if (warmed.errors > 0) throw new Error(`${warmed.errors} errors: ${warmed.firstError}`);
    await sleep(SETTLE_MS);
    const before = await running.memory();
    const opened = await clients.ask<IdleCount>('open', { port: running.port, count } satisfies IdleStart, OPEN_MS);
    if (opened.errors > 0) throw new Error(`${opened.errors} of ${count} connections: ${opened.firstError}`);
    await sleep(SETTLE_MS);
    const after = await running.memory();
    const { open } = await clients.ask<IdleCount>('state');
    if (open !== count) throw new Error(`${count - open} of ${count} connections were closed while they were counted`);
    return {
      rssPerConnection: (after.rssBytes - before.rssBytes) / count,
      heapPerConnection: (after.heapBytes - before.heapBytes) / count,
      before,
      after,
    };
  } finally {
    await clients.ask('close');
    await running.stop();
  }
}

function countOf({ operands: [given], smoke }: Flags, progress: (line: string) => void): number {
  const wanted = given === undefined ? (smoke ? SMOKE_CONNECTIONS : CONNECTIONS) : Number(given);
  if (!(Number.isInteger(wanted) && wanted >= 1 && wanted <= 100_000)) {
    throw new Error(`connections: a number from 1 to 100000, got "${given}"`);
  }
  const most = (mostOpenFiles() ?? Number.POSITIVE_INFINITY) - OTHER_FILES;
  if (wanted <= most) return wanted;
  if (most < 1) throw new Error(`connections: no more than ${most + OTHER_FILES} open files are allowed here`);
  progress(`${most} connections instead of ${wanted}: no more open files are allowed here (ulimit -n)`);
  return most;
}
