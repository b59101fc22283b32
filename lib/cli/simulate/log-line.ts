import { clfTime, jsonTime } from './log-time.ts';

/** What a simulation needs of one line. */
export interface LogLine {
  /** Epoch milliseconds. */
  readonly time: number;
  readonly ip: string;
  /** The value of the field that clients are told apart by, if the line has it. */
  readonly field: string | undefined;
}

export type LogFormat = 'auto' | 'common' | 'combined' | 'json';

export const LOG_FORMATS: readonly LogFormat[] = ['auto', 'common', 'combined', 'json'];

/** Reads one line; nothing for a line that is not of the format. */
export type ReadLine = (text: string) => LogLine | undefined;

const QUOTED = '"((?:[^"\\\\]|\\\\.)*)"';
/** Apache's `%h %l %u %t "%r" %>s %b`, and what `combined` adds; servers may write more behind it. */
const LINE = new RegExp(`^(\\S+) \\S+ (.+?) \\[([^\\]]{26})\\] ${QUOTED} (\\d{3}) (?:\\d+|-)(?: ${QUOTED} ${QUOTED})?`);
const LINE_FIELDS = ['user', 'method', 'path', 'status', 'referer', 'agent'] as const;
const IP_FIELDS = ['client', 'ip', 'remoteAddress'] as const;

/** @param by `ip`, or the name of a field */
export function lineReader(format: LogFormat, by: string): ReadLine {
  if (format === 'json') return (text) => readJson(text, by);
  if (format === 'auto')
    return (text) => (text.trimStart().startsWith('{') ? readJson(text, by) : readText(text, by, false));
  return (text) => readText(text, by, format === 'combined');
}

/** Says what is wrong with a field's name, if anything. */
export function fieldProblem(format: LogFormat, by: string): string | undefined {
  if (by === 'ip' || format === 'json' || format === 'auto') return undefined;
  const known: readonly string[] = format === 'common' ? LINE_FIELDS.slice(0, 4) : LINE_FIELDS;
  return known.includes(by) ? undefined : `--by must be ip or one of ${known.join(', ')} for lines in ${format} format`;
}

function readText(text: string, by: string, combined: boolean): LogLine | undefined {
  const match = LINE.exec(text);
  if (match === null || (combined && match[6] === undefined)) return undefined;
  const time = clfTime(match[3] as string);
  return Number.isNaN(time) ? undefined : { time, ip: match[1] as string, field: textField(match, by) };
}

function textField(match: RegExpExecArray, by: string): string | undefined {
  const [, , user, , request, status, referer, agent] = match;
  const value = { user, method: request?.split(' ')[0], path: request?.split(' ')[1], status, referer, agent }[by];
  return value === '-' ? undefined : value;
}

function readJson(text: string, by: string): LogLine | undefined {
  let line: unknown;
  try {
    line = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof line !== 'object' || line === null) return undefined;
  const fields = line as Record<string, unknown>;
  const time = jsonTime(fields.time);
  const name = IP_FIELDS.find((one) => typeof fields[one] === 'string' && fields[one] !== '');
  if (Number.isNaN(time) || name === undefined) return undefined;
  const value = by !== 'ip' && Object.hasOwn(fields, by) ? fields[by] : undefined;
  const field = typeof value === 'string' || typeof value === 'number' ? String(value) : undefined;
  return { time, ip: fields[name] as string, field };
}
