import type { Flags } from '../flags.ts';
import { Backends } from '../harness/backends.ts';
import { orderOf } from '../harness/rounds.ts';
import type { RunningNodeTarget } from '../harness/target.ts';
import { inTempFolder } from '../harness/temp-folder.ts';
import { RawLoad } from '../load/raw-load.ts';
import { runFacts, tellFacts } from '../report/run-facts.ts';
import { type SoakRow, soakPanels, soakText } from '../report/soak-report.ts';
import { chosenOf } from './chosen.ts';
import { publish } from './publish.ts';
import type { Bench, Subcommand } from './subcommand.ts';
import { FLOOR, SUITE } from './targets.ts';

const TARGETS = [FLOOR, SUITE];
const BACKENDS = 2;
const REQUESTS = 1_000_000;
const SMOKE_REQUESTS = 3_000;
/** Per target and slice: collecting the garbage, and asking. */
const OVERHEAD_SECONDS = 2;
/** No gateway that is measured here is slower than that. */
const LEAST_PER_SECOND = 1_000;

interface Runner {
  readonly row: SoakRow;
  readonly running: RunningNodeTarget;
}

export const soak: Subcommand = {
  name: 'soak',
  about: `memory over ${REQUESTS.toLocaleString('en')} requests each (soak [requests])`,
  defaults: { rounds: 1, seconds: 3, warmupSeconds: 0 },

  atMostSeconds(flags: Flags): number {
    const seconds = requestsOf(flags) / LEAST_PER_SECOND;
    return TARGETS.length * seconds * (1 + OVERHEAD_SECONDS / flags.seconds) + 60;
  },

  async run(bench: Bench): Promise<boolean> {
    const { flags, processes, placement, progress } = bench;
    const { targets } = chosenOf('soak', TARGETS, flags.only);
    const requests = requestsOf(flags);
    const facts = runFacts('soak', flags, placement);
    tellFacts(facts, progress);
    const backends = await Backends.start(processes, placement, BACKENDS);
    const load = await RawLoad.start(processes, placement);
    const rows = await inTempFolder(async (folder) => {
      const runners: Runner[] = [];
      for (const target of targets) {
        const running = await target.start({ processes, placement, backends: backends.origins, folder });
        runners.push({ row: { name: target.name, title: target.title, slices: [], failure: undefined }, running });
      }
      await runSlices(runners, requests, load, bench);
      await Promise.all(runners.map(({ running }) => running.stop()));
      return runners.map(({ row }) => row);
    });
    await Promise.all([load.stop(), backends.stop()]);

    publish(
      {
        facts,
        result: { requests, rows },
        text: () => soakText(rows, facts),
        title: `memory over ${requests.toLocaleString('en')} requests`,
        panels: () => soakPanels(rows),
        isPart: flags.only !== undefined || flags.operands.length > 0,
      },
      bench,
    );
    return rows.every(({ failure }) => failure === undefined);
  },
};

/** In turns, so that all of them have the same hours of the machine. The first slice of each is its warm-up. */
async function runSlices(
  runners: readonly Runner[],
  requests: number,
  load: RawLoad,
  { flags, progress }: Bench,
): Promise<void> {
  const doneOf = ({ slices }: SoakRow) => slices.reduce((sum, slice) => sum + slice.requests, 0);
  for (let turn = 0; ; turn++) {
    const left = runners.filter(({ row }) => row.failure === undefined && doneOf(row) < requests);
    if (left.length === 0) return;
    for (const { row, running } of orderOf(turn, left)) {
      try {
        const { port } = running;
        const { connections, warmupSeconds, seconds } = flags;
        const count = await load.measure(
          { port, connections, warmupSeconds, seconds },
          async () => {},
          async () => {},
        );
        if (count.errors > 0) throw new Error(`${count.errors} errors: ${count.firstError}`);
        const memory = await running.memory();
        if (turn > 0) row.slices.push({ requests: count.requests, ...memory });
        const megabytes = `${(memory.heapBytes / 1e6).toFixed(2)} MB heap, ${(memory.rssBytes / 1e6).toFixed(0)} MB RSS`;
        progress(`${row.name}  ${turn === 0 ? 'warm' : `${doneOf(row)} of ${requests}`}  ${megabytes}`);
      } catch (error) {
        row.failure = error instanceof Error ? error.message : String(error);
        progress(`${row.name} failed: ${row.failure}`);
      }
    }
  }
}

function requestsOf({ operands: [given], smoke }: Flags): number {
  const requests = given === undefined ? (smoke ? SMOKE_REQUESTS : REQUESTS) : Number(given);
  if (!(requests >= 1 && requests <= 1e9)) throw new Error(`soak: requests from 1 to 1000000000, got "${given}"`);
  return requests;
}
