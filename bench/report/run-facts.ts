import { loadavg } from 'node:os';
import type { Flags } from '../flags.ts';
import type { Placement } from '../harness/placement.ts';
import { describeMachine, type Machine } from '../harness/versions.ts';

/** A machine with more to do than this before the run starts gives noisy numbers. */
const QUIET_LOAD_AVERAGE = 0.5;

/** What every result says of the run that it comes from. */
export interface RunFacts {
  readonly name: string;
  readonly date: string;
  readonly machine: Machine;
  readonly placement: string;
  readonly loadAverageBefore: number;
  readonly flags: Flags;
}

/** To be called before anything is measured. */
export function runFacts(name: string, flags: Flags, placement: Placement): RunFacts {
  return {
    name,
    date: new Date().toISOString(),
    machine: describeMachine(),
    placement: placement.description,
    loadAverageBefore: loadavg()[0] as number,
    flags,
  };
}

/** What to tell before the start. */
export function tellFacts({ placement, loadAverageBefore }: RunFacts, progress: (line: string) => void): void {
  progress(placement);
  if (loadAverageBefore > QUIET_LOAD_AVERAGE)
    progress(`not quiet: load average ${loadAverageBefore.toFixed(1)} before the start`);
}

/** The lines above a table. */
export function headLines({ machine, placement, loadAverageBefore }: RunFacts, what: string): string[] {
  return [
    '',
    what,
    `Node ${machine.node}, ${machine.cpu}, ${machine.cores} cores; ${placement}; load average before: ${loadAverageBefore.toFixed(1)}`,
  ];
}
