import { parseArgs } from 'node:util';
import { LOADS, type LoadName } from './load/start-load.ts';

export interface Flags {
  readonly subcommand: string;
  /** What follows the subcommand. */
  readonly operands: readonly string[];
  readonly rounds: number;
  /** How many processes each target has, one after the other: the rounds are shared out among them. */
  readonly processes: number;
  readonly seconds: number;
  readonly warmupSeconds: number;
  readonly connections: number;
  /** Names of the targets to run; all when `undefined`. */
  readonly only: readonly string[] | undefined;
  readonly load: LoadName;
  readonly json: boolean;
  readonly smoke: boolean;
}

/** What a subcommand has instead of the usual ones. */
export type FlagDefaults = Partial<Pick<Flags, 'rounds' | 'processes' | 'seconds' | 'warmupSeconds'>>;

export const USAGE = `npm run bench -- [subcommand] [flags]      without a subcommand: suite

  --rounds <n>        rounds; this and the next three have defaults by subcommand
  --processes <n>     new processes of each target in the course of these rounds
  --seconds <s>       measured seconds per target and round
  --warmup <s>        load before each measured stretch
  --connections <n>   keep-alive connections (64)
  --only <a,b>        these targets only; the result file is then <name>.partial.json
  --load <name>       ${LOADS.join(', ')} (raw)
  --json              print the result as JSON instead of a table
  --smoke             1 round of 1 s, nothing written: proves that everything still runs
  --help`;

const SMOKE: Required<FlagDefaults> = { rounds: 1, processes: 1, seconds: 1, warmupSeconds: 0.3 };
const DEFAULTS: Required<FlagDefaults> = { rounds: 36, processes: 3, seconds: 0.5, warmupSeconds: 0.1 };

/** @throws {Error} that says which flag is wrong. */
export function parseFlags(args: readonly string[], defaultsOf: (subcommand: string) => FlagDefaults): Flags | 'help' {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      rounds: { type: 'string' },
      processes: { type: 'string' },
      seconds: { type: 'string' },
      warmup: { type: 'string' },
      connections: { type: 'string' },
      only: { type: 'string' },
      load: { type: 'string', default: 'raw' },
      json: { type: 'boolean', default: false },
      smoke: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return 'help';
  const { smoke } = values;
  const [subcommand = 'suite', ...operands] = positionals;
  const defaults = smoke ? SMOKE : { ...DEFAULTS, ...defaultsOf(subcommand) };
  return {
    subcommand,
    operands,
    rounds: number('rounds', values.rounds, defaults.rounds, 1, 100),
    processes: number('processes', values.processes, defaults.processes, 1, 100),
    seconds: number('seconds', values.seconds, defaults.seconds, 0.2, 60),
    warmupSeconds: number('warmup', values.warmup, defaults.warmupSeconds, 0, 60),
    connections: number('connections', values.connections, 64, 1, 10_000),
    only: values.only?.split(',').filter((name) => name !== ''),
    load: loadName(values.load),
    json: values.json,
    smoke,
  };
}

function number(flag: string, given: string | undefined, otherwise: number, minimum: number, maximum: number): number {
  if (given === undefined) return otherwise;
  const value = Number(given);
  if (!(value >= minimum && value <= maximum)) {
    throw new Error(`--${flag} must be a number from ${minimum} to ${maximum}, got "${given}"`);
  }
  return value;
}

function loadName(given: string): LoadName {
  const name = LOADS.find((known) => known === given);
  if (name === undefined) throw new Error(`--load must be one of ${LOADS.join(', ')}, got "${given}"`);
  return name;
}
