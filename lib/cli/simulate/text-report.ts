import { ALGORITHMS } from '../../rate-limit/algorithms/registry.ts';
import type { Streams } from '../command.ts';
import { oneLine, safe, styleFor } from '../terminal.ts';
import type { SimulateOptions } from './simulate-options.ts';
import type { Simulation } from './simulation.ts';
import type { WindowSummary } from './window-counts.ts';

const CELLS = 40;
const UNITS: readonly (readonly [string, number])[] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1_000],
];

const number = new Intl.NumberFormat('en-US');
const count = (value: number, one: string, many = `${one}s`): string =>
  `${number.format(value)} ${value === 1 ? one : many}`;
const share = (part: number, whole: number): string => `${whole === 0 ? 0 : ((100 * part) / whole).toFixed(1)} %`;
const clock = (time: number): string =>
  new Date(time)
    .toISOString()
    .replace('T', ' ')
    .replace(/\.\d+Z$/, '');

function duration(ms: number): string {
  if (ms < 1_000) return `${ms} ms`;
  const [unit, length] = UNITS.find(([, one]) => ms >= one) as readonly [string, number];
  return `${Number((ms / length).toFixed(1))} ${unit}`;
}

/** The report as text. It has colours only on a terminal, and never with NO_COLOR. */
export function textReport(
  simulation: Simulation,
  windows: readonly WindowSummary[],
  options: SimulateOptions,
  stdout: Streams['stdout'],
): string {
  const style = styleFor(stdout);
  const bold = (text: string): string => style('bold', text);
  const sections = [
    summary(simulation, options, bold),
    topClients(simulation, options, bold),
    perClient(windows, simulation, bold),
    overTime(simulation, bold),
    waitTimes(simulation, bold),
    remarks(simulation, options),
  ];
  return `${sections
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n')}\n`;
}

type Style = (text: string) => string;

function summary(
  simulation: Simulation,
  { logs, algorithm, limit, by, quotas }: SimulateOptions,
  bold: Style,
): string[] {
  const { requests, limited, clients, firstAt, lastAt } = simulation;
  const burst = ALGORITHMS[algorithm].isRefilled && quotas.length === 1 ? `, burst ${quotas[0]?.burst}` : '';
  const what = limit === undefined ? 'no --limit given' : `${algorithm}, ${limit}${burst}`;
  const lines = [bold(`${logs.map(safe).join(', ')}: ${what}, by ${safe(by)}`)];
  if (requests === 0) return [...lines, 'No requests.'];
  const span = `${clock(firstAt)} to ${clock(lastAt)} UTC (${duration(lastAt - firstAt)})`;
  lines.push(`${count(requests, 'request')} of ${count(clients.clients, 'client')}, ${span}`);
  if (limit === undefined) return lines;
  lines.push(`limited: ${count(limited, 'request')} (${share(limited, requests)})`);
  const hit = clients.limitedClients;
  lines.push(`         ${count(hit, 'client')} (${share(hit, clients.clients)})`);
  if (limited > 0) {
    lines.push(`first:   ${clock(simulation.firstLimitedAt)} UTC, ${safe(simulation.firstLimitedClient)}`);
  }
  return lines;
}

function topClients({ clients }: Simulation, { top }: SimulateOptions, bold: Style): string[] {
  const rows = clients.top(top);
  if (rows.length === 0) return [];
  const names = rows.map(({ client }) => safe(client));
  const width = Math.max(6, ...names.map((name) => name.length));
  return [
    bold(`${'client'.padEnd(width)}   limited    of requests   first limited (UTC)`),
    ...rows.map(({ limited, requests, firstLimitedAt }, i) => {
      const numbers = `${number.format(limited).padStart(10)}   ${number.format(requests).padStart(12)}`;
      return `${(names[i] as string).padEnd(width)}${numbers}   ${clock(firstLimitedAt)}`;
    }),
  ];
}

/** The numbers that help to choose a limit. */
function perClient(windows: readonly WindowSummary[], { requests, clients }: Simulation, bold: Style): string[] {
  if (requests === 0) return [];
  const widths = windows.map(({ windowMs }) => duration(windowMs));
  const cell = (value: number | string): string =>
    (typeof value === 'number' ? number.format(value) : value).padStart(12);
  const lines = [bold(`requests per client and window${['p50', 'p90', 'p99', 'max'].map(cell).join('')}`)];
  for (const [i, { p50, p90, p99, max }] of windows.entries()) {
    lines.push(`${`  in ${widths[i]}`.padEnd(30)}${[p50, p90, p99, max].map(cell).join('')}`);
  }
  lines.push('', bold('requests that a limit would reject, in fixed windows'));
  for (const [i, { limits }] of windows.entries()) {
    for (const { limit, limited, clients: hit } of limits) {
      const refused = `${count(limited, 'request')} (${share(limited, requests)})`;
      const who = `${count(hit, 'client')} (${share(hit, clients.clients)})`;
      lines.push(`  ${`${number.format(limit)} per ${widths[i]}`.padEnd(20)}${refused.padStart(28)}   ${who}`);
    }
  }
  return lines;
}

function overTime({ times, requests }: Simulation, bold: Style): string[] {
  if (requests === 0) return [];
  const { rows } = times;
  const most = Math.max(...rows.map((row) => row.requests));
  return [
    bold(`each ${duration(times.widthMs)}: + passed, # limited`),
    ...rows.map((row) => {
      const limited = Math.ceil((CELLS * row.limited) / most);
      const passed = Math.max(0, Math.round((CELLS * row.requests) / most) - limited);
      const numbers = `${number.format(row.requests)}, ${number.format(row.limited)} limited`;
      return `${clock(row.from)}  ${`${'#'.repeat(limited)}${'+'.repeat(passed)}`.padEnd(CELLS)}  ${numbers}`;
    }),
  ];
}

function waitTimes({ waits, limited }: Simulation, bold: Style): string[] {
  if (limited === 0) return [];
  const most = Math.max(...waits.rows.map((row) => row.count));
  return [
    bold(`Retry-After of limited requests (longest: ${duration(waits.longestMs)})`),
    ...waits.rows.map((row) => {
      const label = Number.isFinite(row.upToMs) ? `up to ${duration(row.upToMs)}` : 'longer';
      const bar = '#'.repeat(Math.ceil((CELLS * row.count) / most));
      return `${label.padEnd(19)}  ${bar.padEnd(CELLS)}  ${number.format(row.count)}`;
    }),
  ];
}

function remarks(simulation: Simulation, { maxKeys, format }: SimulateOptions): string[] {
  const lines: string[] = [];
  const { bad, badCount, badCounts, badShare, outOfOrder } = simulation;
  if (badCount > 0) {
    const part = `${(100 * badShare).toPrecision(2)} %`;
    lines.push(`${count(badCount, 'line')} left out (${part}, --format ${format}):`);
    lines.push(...[...badCounts].map(([problem, times]) => `  ${number.format(times)} × ${oneLine(problem)}`));
    for (const { log, number, problem, text } of bad) {
      lines.push(`  ${safe(log)}:${number} ${oneLine(problem)}${text === '' ? '' : `: ${safe(text)}`}`);
    }
    if (badCount > bad.length) lines.push('  ...');
  }
  if (outOfOrder > 0) {
    const late = `by ${duration(simulation.latestMs)} at most`;
    lines.push(`${count(outOfOrder, 'line')} out of order, ${late}: taken at the time of the latest line before.`);
  }
  if (simulation.clients.full || simulation.meterFull) {
    lines.push(`There are more clients than --max-keys ${maxKeys}: their numbers are estimates.`);
  }
  return lines;
}
