import { parseFlags, USAGE } from './flags.ts';
import { planPlacement } from './harness/placement.ts';
import { Processes } from './harness/processes.ts';
import { backends } from './subcommands/backends.ts';
import { connections } from './subcommands/connections.ts';
import { failover } from './subcommands/failover.ts';
import { features } from './subcommands/features.ts';
import { gate } from './subcommands/gate.ts';
import { latency } from './subcommands/latency.ts';
import { layers } from './subcommands/layers.ts';
import { limiter } from './subcommands/limiter.ts';
import { overload } from './subcommands/overload.ts';
import { profile } from './subcommands/profile.ts';
import { routes } from './subcommands/routes.ts';
import { sizes } from './subcommands/sizes.ts';
import { soak } from './subcommands/soak.ts';
import { start } from './subcommands/start.ts';
import type { Subcommand } from './subcommands/subcommand.ts';
import { suite } from './subcommands/suite.ts';
import { workers } from './subcommands/workers.ts';

const SUBCOMMANDS: readonly Subcommand[] = [
  suite,
  features,
  layers,
  sizes,
  latency,
  connections,
  soak,
  limiter,
  backends,
  failover,
  workers,
  start,
  overload,
  routes,
  profile,
  gate,
];

const print = (text: string) => void process.stdout.write(`${text}\n`);
const progress = (line: string) => void process.stderr.write(`${line}\n`);

async function main(args: readonly string[]): Promise<boolean> {
  const named = (subcommand: string) => SUBCOMMANDS.find(({ name }) => name === subcommand);
  const flags = parseFlags(args, (subcommand) => named(subcommand)?.defaults ?? {});
  if (flags === 'help') {
    print([USAGE, '', ...SUBCOMMANDS.map(({ name, about }) => `${name.padEnd(13)}${about}`)].join('\n'));
    return true;
  }
  const subcommand = named(flags.subcommand);
  if (subcommand === undefined) {
    throw new Error(`no subcommand "${flags.subcommand}"; there are ${SUBCOMMANDS.map(({ name }) => name).join(', ')}`);
  }
  const atMostSeconds = subcommand.atMostSeconds(flags);
  const processes = new Processes();
  const limit = setTimeout(() => {
    progress(`stopped: it took longer than ${Math.round(atMostSeconds)} s`);
    process.exit(1);
  }, atMostSeconds * 1000);
  try {
    return await subcommand.run({ flags, processes, placement: planPlacement(), print, progress });
  } finally {
    clearTimeout(limit);
    processes.killAll();
  }
}

try {
  process.exitCode = (await main(process.argv.slice(2))) ? 0 : 1;
} catch (error) {
  progress(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
