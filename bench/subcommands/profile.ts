import { readFileSync } from 'node:fs';
import { relative } from 'node:path';
import type { Flags } from '../flags.ts';
import { Backends } from '../harness/backends.ts';
import type { RunningNodeTarget, Target, TargetContext } from '../harness/target.ts';
import { inTempFolder } from '../harness/temp-folder.ts';
import { startLoad } from '../load/start-load.ts';
import { type CpuProfile, type FunctionTime, packageTimes, selfTimes } from '../report/cpu-profile.ts';
import { resultFile } from '../report/result-file.ts';
import { renderTable } from '../report/table.ts';
import { LIMITERS } from './limiter.ts';
import { CASES } from './sizes.ts';
import type { Bench, Subcommand } from './subcommand.ts';
import { ALL, SUITE } from './targets.ts';

const TOP = 40;

interface ProfiledTarget extends Target {
  start(context: TargetContext): Promise<RunningNodeTarget>;
}

const TARGETS: readonly ProfiledTarget[] = [...ALL, ...LIMITERS];
const ROOT = new URL('../../', import.meta.url);
/** The code that a profile shows should be compiled already. */
const WARMUP_SECONDS = 2;

export const profile: Subcommand = {
  name: 'profile',
  defaults: { seconds: 3, warmupSeconds: 1 },
  about: `where the CPU time of one target goes (profile <target>[/<case of sizes>], default ${SUITE.name})`,

  atMostSeconds: ({ seconds, warmupSeconds }: Flags) => 2 * (seconds + warmupSeconds + WARMUP_SECONDS) + 60,

  async run({ flags, processes, placement, print, progress }: Bench): Promise<boolean> {
    const name = flags.operands[0] ?? SUITE.name;
    const [targetName, caseName] = name.split('/');
    const target = TARGETS.find((known) => known.name === targetName);
    if (target === undefined)
      throw new Error(`no target "${name}"; there are ${TARGETS.map((t) => t.name).join(', ')}`);
    const sized = CASES.find((known) => known.name === caseName);
    if (caseName !== undefined && sized === undefined)
      throw new Error(`no case "${caseName}"; there are ${CASES.map((one) => one.name).join(', ')}`);
    progress(placement.description);
    const file = resultFile(`${name.replace('/', '-')}.cpuprofile`);
    const count = await inTempFolder(async (folder) => {
      const backends = await Backends.start(processes, placement, 2, sized === undefined ? 'small' : 'sized');
      const load = await startLoad(flags.load, processes, placement);
      const running = await target.start({ processes, placement, backends: backends.origins, folder });
      const measured = await load.measure(
        {
          port: running.port,
          connections: sized?.connections ?? flags.connections,
          exchange: sized?.exchange,
          warmupSeconds: flags.warmupSeconds + (flags.smoke ? 0 : WARMUP_SECONDS),
          seconds: flags.seconds,
          refuses: target.refuses === true,
        },
        () => running.startProfile(),
        () => running.stopProfile(file),
      );
      await Promise.all([running.stop(), load.stop(), backends.stop()]);
      return measured;
    });

    const functions = selfTimes(JSON.parse(readFileSync(file, 'utf8')) as CpuProfile, ROOT);
    if (flags.json) print(JSON.stringify({ target: name, ...count, functions: functions.slice(0, TOP) }, undefined, 2));
    else print(text(name, functions, count.requests));
    if (count.errors > 0) progress(`invalid: ${count.errors} errors: ${count.firstError}`);
    progress(`written: ${relative(process.cwd(), file)}`);
    return count.errors === 0 && count.requests > 0;
  },
};

function text(target: string, functions: readonly FunctionTime[], requests: number): string {
  const packages = packageTimes(functions);
  const total = packages.reduce((sum, { micros }) => sum + micros, 0);
  const times = [
    { head: 'self', cell: ({ micros }: { micros: number }) => `${((100 * micros) / total).toFixed(1)} %` },
    { head: 'µs/req', cell: ({ micros }: { micros: number }) => (micros / requests).toFixed(2) },
  ];
  const byPackage = renderTable(
    [...times, { head: 'package', align: 'left', cell: (row: { name: string }) => row.name }],
    packages,
  );
  // Grouped by package in the order of the table above; inside a package the most expensive first.
  const rank = new Map(packages.map(({ name }, index) => [name, index]));
  const top = functions
    .slice(0, TOP)
    .toSorted((a, b) => (rank.get(a.package) ?? 0) - (rank.get(b.package) ?? 0) || b.micros - a.micros);
  const byFunction = renderTable<FunctionTime>(
    [
      ...times,
      { head: 'package', align: 'left', cell: (row) => row.package },
      { head: 'function', align: 'left', cell: (row) => row.name },
      { head: 'place', align: 'left', cell: (row) => row.place },
    ],
    top,
  );
  return `\n${target}: ${requests} requests under the profiler\n\n${byPackage}\n\ntop ${TOP} functions\n\n${byFunction}`;
}
