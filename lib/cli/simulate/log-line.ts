import { isIP } from 'node:net';
import { withoutPort } from '../../core/address-key.ts';
import { clfTime, jsonTime } from './log-time.ts';

/** The part of one line that a simulation needs. */
export interface LogLine {
  /** Epoch milliseconds. */
  readonly time: number;
  readonly ip: string;
  /** The value of the field that identifies clients, if the line has it. */
  readonly field: string | undefined;
}

export type LogFormat = 'auto' | 'common' | 'combined' | 'vhost_combined' | 'json';

export const LOG_FORMATS: readonly LogFormat[] = ['auto', 'common', 'combined', 'vhost_combined', 'json'];

/** Names of the fields in JSON lines; without one, the usual names. */
export interface JsonFields {
  readonly time: string | undefined;
  readonly ip: string | undefined;
}

/** Parses one line. For an invalid one, gives a text that says what is wrong. */
export type ReadLine = (text: string) => LogLine | string;

const QUOTED = '"((?:[^"\\\\]|\\\\.)*)"';
/**
 * Apache's `%h %l %u %t "%r" %>s %b`, and the additions of `combined`. Servers may add more at the end. The time is bounded so that a line of
 * many `[` takes no quadratic time.
 */
const LINE = new RegExp(
  `^(\\S+) (\\S+) (.+?) \\[([^\\]]{0,64})\\] ${QUOTED} (\\d{3}) (?:\\d+|-)(?: ${QUOTED} ${QUOTED})?`,
);
const LINE_FIELDS = ['user', 'method', 'path', 'status', 'referer', 'agent'] as const;
/** Field names of this package, pino, nginx, Traefik, Caddy and Envoy. */
const TIME_FIELDS: readonly string[] = [
  'time',
  'timestamp',
  '@timestamp',
  'ts',
  'time_iso8601',
  'time_local',
  'StartUTC',
  'start_time',
];
const IP_FIELDS: readonly string[] = [
  'client',
  'ip',
  'remoteAddress',
  'remote_addr',
  'client_ip',
  'clientIp',
  'ClientHost',
  'remote_ip',
  'request.client_ip',
  'request.remote_ip',
  'downstream_remote_address',
];

/** @param by `ip`, or the name of a field */
export function lineReader(format: LogFormat, by: string, fields: JsonFields): ReadLine {
  const names = {
    time: fields.time === undefined ? TIME_FIELDS : [fields.time],
    ip: fields.ip === undefined ? IP_FIELDS : [fields.ip],
  };
  const json: ReadLine = (text) => readJson(text, by, names);
  if (format === 'json') return json;
  const line: ReadLine = (text) => readText(text, by, format);
  return format === 'auto' ? (text) => (text.trimStart().startsWith('{') ? json(text) : line(text)) : line;
}

/** Says what is wrong with a field's name, if anything. */
export function fieldProblem(format: LogFormat, by: string): string | undefined {
  if (by === 'ip' || format === 'json' || format === 'auto') return undefined;
  const known: readonly string[] = format === 'common' ? LINE_FIELDS.slice(0, 4) : LINE_FIELDS;
  return known.includes(by) ? undefined : `--by must be ip or one of ${known.join(', ')} for lines in ${format} format`;
}

function readText(text: string, by: string, format: LogFormat): LogLine | string {
  const match = LINE.exec(text);
  if (match === null) return `is not in ${format === 'auto' ? 'a known' : format} format`;
  if ((format === 'combined' || format === 'vhost_combined') && match[7] === undefined) {
    return 'has no referer and user agent';
  }
  const [, first = '', second = '', , moment = ''] = match;
  const time = clfTime(moment);
  if (Number.isNaN(time)) return `has a time that does not exist: ${moment.slice(0, 40)}`;
  // With the virtual host at the beginning, the address is in the place of the RFC 1413 name, which is otherwise `-`.
  const hasHost = format === 'vhost_combined' || isIP(withoutPort(second)) !== 0;
  return { time, ip: hasHost ? second : first, field: textField(match, by, hasHost) };
}

function textField(match: RegExpExecArray, by: string, hasHost: boolean): string | undefined {
  const [, , , name, , request, status, referer, agent] = match;
  const user = hasHost ? name?.replace(/^\S+ /, '') : name;
  const value = { user, method: request?.split(' ')[0], path: request?.split(' ')[1], status, referer, agent }[by];
  return value === '-' ? undefined : value;
}

function readJson(text: string, by: string, names: Record<'time' | 'ip', readonly string[]>): LogLine | string {
  let line: unknown;
  try {
    line = JSON.parse(text);
  } catch {
    return 'is not JSON';
  }
  if (typeof line !== 'object' || line === null) return 'is not a JSON object';
  const moment = firstOf(line, names.time);
  if (moment === undefined) return `has no ${names.time.length === 1 ? `"${names.time[0]}"` : 'time'}`;
  const time = jsonTime(moment);
  if (Number.isNaN(time)) return `has a time that does not exist: ${moment.slice(0, 40)}`;
  const ip = firstOf(line, names.ip);
  if (ip === undefined) return `has no ${names.ip.length === 1 ? `"${names.ip[0]}"` : 'address'}`;
  return { time, ip, field: by === 'ip' ? undefined : fieldOf(line, by) };
}

const firstOf = (line: object, names: readonly string[]): string | undefined => {
  for (const name of names) {
    const value = fieldOf(line, name);
    if (value !== undefined && value !== '') return value;
  }
  return undefined;
};

/** A property with this name, or on this path, whose parts are separated by dots. */
function fieldOf(line: object, name: string): string | undefined {
  let value: unknown = line;
  if (Object.hasOwn(line, name)) {
    value = (line as Record<string, unknown>)[name];
  } else {
    for (const part of name.split('.')) {
      if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return undefined;
      value = (value as Record<string, unknown>)[part];
    }
  }
  return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined;
}
