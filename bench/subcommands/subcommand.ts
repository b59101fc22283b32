import type { FlagDefaults, Flags } from '../flags.ts';
import type { Placement } from '../harness/placement.ts';
import type { Processes } from '../harness/processes.ts';

export interface Bench {
  readonly flags: Flags;
  readonly processes: Processes;
  readonly placement: Placement;
  /** Prints the result. */
  readonly print: (text: string) => void;
  /** Tells how far it is; never part of the result. */
  readonly progress: (line: string) => void;
}

/** One question that the harness can answer. */
export interface Subcommand {
  readonly name: string;
  readonly about: string;
  /** Where it needs others than the rest. */
  readonly defaults?: FlagDefaults;
  /** Longest time that it may take. */
  atMostSeconds(flags: Flags): number;
  /** @returns whether everything that it measured is valid. */
  run(bench: Bench): Promise<boolean>;
}
