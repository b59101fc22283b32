import {
  ALGORITHMS,
  type AlgorithmName,
  NAMES_WITH_BURST,
  rateLimitAlgorithms,
} from '../../rate-limit/algorithms/registry.ts';
import { type Quota, quotaProblem, quotasOfWindows, windowsCheck } from '../../rate-limit/quota.ts';
import { integer, readArguments } from '../arguments.ts';
import { UsageError } from '../command.ts';
import { fieldProblem, type JsonFields, LOG_FORMATS, type LogFormat } from './log-line.ts';

export interface SimulateOptions {
  /** Names of files; `-` is standard input. */
  readonly logs: readonly string[];
  /** As in the arguments, if given. */
  readonly limit: string | undefined;
  readonly quotas: readonly Quota[];
  readonly algorithm: AlgorithmName;
  readonly by: string;
  readonly format: LogFormat;
  readonly fields: JsonFields;
  /** The share of the lines, from 0 to 1, that may be unreadable. */
  readonly maxBad: number;
  readonly top: number;
  readonly json: boolean;
  readonly maxKeys: number;
  readonly ipv6Subnet: number;
}

/** @throws {UsageError} that names the first invalid argument */
export function readSimulateOptions(args: readonly string[]): SimulateOptions {
  const { values, positionals } = readArguments(args, SIMULATE_OPTIONS, true);
  if (positionals.length === 0) throw new UsageError('name an access log, or - for standard input');
  const algorithm = oneOf('algorithm', values.algorithm, rateLimitAlgorithms);
  const format = oneOf('format', values.format, LOG_FORMATS);
  const by = values.by;
  const problem = by === '' ? '--by must name a field, or be ip' : fieldProblem(format, by);
  if (problem !== undefined) throw new UsageError(problem);
  return {
    logs: positionals,
    limit: values.limit?.replaceAll(/\s+/g, ''),
    quotas: values.limit === undefined ? noQuotas(values.burst) : readQuotas(values.limit, values.burst, algorithm),
    algorithm,
    by,
    format,
    fields: { time: named('time-field', values['time-field']), ip: named('ip-field', values['ip-field']) },
    maxBad: share('max-bad', values['max-bad']),
    top: integer('top', values.top, 0, 10_000),
    json: values.json,
    maxKeys: integer('max-keys', values['max-keys'], 1_000, 100_000_000),
    ipv6Subnet: integer('ipv6-subnet', values['ipv6-subnet'], 32, 64),
  };
}

export const SIMULATE_OPTIONS = {
  limit: { type: 'string' },
  algorithm: { type: 'string', default: 'sliding-window' },
  burst: { type: 'string' },
  by: { type: 'string', default: 'ip' },
  format: { type: 'string', default: 'auto' },
  'time-field': { type: 'string' },
  'ip-field': { type: 'string' },
  'max-bad': { type: 'string', default: '1%' },
  top: { type: 'string', default: '20' },
  json: { type: 'boolean', default: false },
  'max-keys': { type: 'string', default: '1000000' },
  'ipv6-subnet': { type: 'string', default: '56' },
} as const;

function noQuotas(burst: string | undefined): readonly Quota[] {
  if (burst !== undefined) throw new UsageError('--burst needs --limit');
  return [];
}

function named(name: string, field: string | undefined): string | undefined {
  if (field === '') throw new UsageError(`--${name} must name a field`);
  return field;
}

function share(name: string, text: string): number {
  const [, number = '', percent] = /^(\d+(?:\.\d+)?|\.\d+)(%)?$/.exec(text.trim()) ?? [];
  const value = Number(number || Number.NaN) / (percent === undefined ? 1 : 100);
  if (!(value <= 1)) throw new UsageError(`--${name} must be a share like 1% or 0.01`);
  return value;
}

/** Accepts what `ipRateLimit()` accepts. */
function readQuotas(limit: string, burst: string | undefined, algorithm: AlgorithmName): readonly Quota[] {
  const problem = windowsCheck(limit);
  if (problem !== undefined) throw new UsageError(`--limit ${problem}`);
  let quotas = quotasOfWindows(limit);
  if (typeof ALGORITHMS[algorithm].redis === 'function' && quotas.length > 1) {
    throw new UsageError(`--limit must be a single window with --algorithm ${algorithm}`);
  }
  if (burst !== undefined) {
    if (!ALGORITHMS[algorithm].isRefilled) throw new UsageError(`--burst needs --algorithm ${NAMES_WITH_BURST}`);
    if (quotas.length > 1) throw new UsageError('--burst needs a single window as --limit');
    const size = integer('burst', burst, 1, Number.MAX_SAFE_INTEGER);
    quotas = quotas.map((quota) => ({ ...quota, burst: size }));
  }
  const tooLarge = quotas.map(quotaProblem).find((one) => one !== undefined);
  if (tooLarge !== undefined) throw new UsageError(tooLarge);
  return quotas;
}

function oneOf<T extends string>(name: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === value);
  if (found === undefined) throw new UsageError(`--${name} must be one of ${allowed.join(', ')}`);
  return found;
}
